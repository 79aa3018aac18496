"""TLS to the broker and its management API, and processes on servers that all require it."""

from collections.abc import Iterator

import aiohttp
import pytest

from infra.commands.migrate import release
from infra.deploy.secrets import make_secrets
from infra.settings import Settings
from tests.certificates import Authority
from tests.infra.tls_clients import BROKER, STORAGE, Files, find_failures
from tests.processes import Process, running
from tests.tls_servers import open_tls_servers

pytestmark = pytest.mark.long  # RabbitMQ takes its time to start


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    pair = authority.sign("localhost")
    with open_tls_servers(folder / "servers", authority, pair, broker=True) as servers:
        yield Files(servers, folder, authority)


def assert_all(failures: dict[str, str], sentence: str) -> None:
    assert failures.keys() == BROKER.keys()
    for text in failures.values():
        assert sentence in text


def test_the_broker_says_what_is_wrong(files: Files) -> None:
    assert find_failures(BROKER, files.settings()) == {}
    there = files.settings(host="127.0.0.1")
    assert_all(find_failures(BROKER, there), "is for another address than the URL's host")
    other = files.settings(ca=files.other_ca)
    assert_all(find_failures(BROKER, other), "not of an authority that is trusted here")
    assert_all(find_failures(BROKER, files.settings(client=False)), "client certificate")
    try:
        files.servers.present(files.authority.sign("elsewhere.example"))
        name = "is for another name than the URL's host"
        assert_all(find_failures(BROKER, files.settings()), name)
        files.servers.present(files.authority.sign("localhost", days=-1))
        assert_all(find_failures(BROKER, files.settings()), "its certificate has expired")
    finally:
        files.servers.present(files.authority.sign("localhost"))
    assert find_failures({**BROKER, **STORAGE}, files.settings()) == {}


def complete(settings: Settings) -> Settings:
    keys = {name.lower(): value for name, value in make_secrets().items()}
    return Settings.model_validate({**settings.model_dump(), **keys})


async def read_readiness(process: Process) -> str:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{process.port}/readyz") as answer,
    ):
        return await answer.text()


async def test_processes_run_over_tls_and_say_why_they_are_not_ready(files: Files) -> None:
    settings = complete(files.settings())
    await release(settings)
    passwords = files.servers.directory.passwords().values()
    for module in ("workers.relay", "workers.metrics"):
        async with running(module, settings) as process:
            assert await process.stop() == 0
            assert "Traceback" not in process.output
            assert not any(secret in process.output for secret in passwords)
    wrong = complete(files.settings(ca=files.other_ca))
    process = Process("workers.metrics", wrong)
    await process.start()
    try:
        await process.ready(60, status=503)
        report = await read_readiness(process)
        assert "the broker is gone: TLS fails: its certificate is not of an authority" in report
        assert "no connection to the database: TLS fails: its certificate is not of" in report
        assert '"cannot publish"' in process.output
        assert "TLS fails" in process.output
        assert not any(secret in report + process.output for secret in passwords)
    finally:
        await process.kill()
        process.forget()
