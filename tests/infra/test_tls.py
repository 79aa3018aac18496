"""TLS to Postgres and Redis: what is right connects, what is wrong is said in a sentence."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.commands.migrate import ReleaseRefused, release
from infra.settings import Settings
from infra.tls import TlsFiles, UnusableTlsFiles, get_tls_context
from tests.certificates import Authority
from tests.infra.tls_clients import STORAGE, Files, find_failures
from tests.tls_servers import open_tls_servers


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    pair = authority.sign("localhost")
    with open_tls_servers(folder / "servers", authority, pair, broker=False) as servers:
        yield Files(servers, folder, authority)


@pytest.fixture(autouse=True)
def _right(files: Files) -> Iterator[None]:
    yield
    files.servers.present(files.authority.sign("localhost"))


def assert_all(failures: dict[str, str], sentence: str) -> None:
    assert failures.keys() == STORAGE.keys()
    for text in failures.values():
        assert sentence in text


def test_the_right_certificates_connect(files: Files) -> None:
    assert find_failures(STORAGE, files.settings()) == {}


def test_an_expired_certificate_is_named(files: Files) -> None:
    files.servers.present(files.authority.sign("localhost", days=-1))
    assert_all(find_failures(STORAGE, files.settings()), "its certificate has expired")


def test_another_address_and_another_name_are_named(files: Files) -> None:
    there = files.settings(host="127.0.0.1")
    assert_all(find_failures(STORAGE, there), "is for another address than the URL's host")
    files.servers.present(files.authority.sign("elsewhere.example"))
    assert_all(find_failures(STORAGE, files.settings()), "is for another name than the URL's host")


def test_another_authority_is_named(files: Files) -> None:
    other = files.settings(ca=files.other_ca)
    assert_all(find_failures(STORAGE, other), "not of an authority that is trusted here")


def test_a_missing_client_certificate_is_named(files: Files) -> None:
    assert_all(find_failures(STORAGE, files.settings(client=False)), "client certificate")


def test_a_renewed_authority_counts_without_a_restart(files: Files) -> None:
    renewed = Authority()
    settings = files.settings()
    files.servers.present(renewed.sign("localhost"))
    assert_all(find_failures(STORAGE, settings), "not of an authority that is trusted here")
    files.ca.write_bytes(files.authority.pem + renewed.pem)
    assert find_failures(STORAGE, settings) == {}


async def test_the_release_step_refuses_at_once(files: Files) -> None:
    files.servers.present(files.authority.sign("localhost", days=-1))
    with pytest.raises(ReleaseRefused, match=r"database refuses: .*has expired") as raised:
        async with asyncio.timeout(20):
            await release(files.settings())
    assert files.servers.directory.passwords()["DATABASE_PASSWORD"] not in str(raised.value)


def test_a_key_with_a_passphrase_is_refused_without_a_question(tmp_path: Path) -> None:
    pair = Authority().sign("client", passphrase=b"hunter2")
    certificate, key = pair.write(tmp_path, "client")
    with pytest.raises(UnusableTlsFiles, match="REDIS_KEY_FILE its key, without a passphrase"):
        get_tls_context(TlsFiles("REDIS", certificate=certificate, key=key))


@pytest.mark.parametrize("mode", ["disable", "prefer", "require"])
def test_modes_of_the_url_do_not_weaken_the_files(files: Files, mode: str) -> None:
    url = f"{files.servers.urls()['database_url']}?sslmode={mode}"
    with pytest.raises(ValueError, match="must have no options of TLS beside DATABASE_CA_FILE"):
        Settings.model_validate({"database_url": url, "database_ca_file": str(files.ca)})
