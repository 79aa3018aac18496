"""The packages come from where pip gets them, and a failure says what to do."""

import os
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.deploy.services.directories import CHECKOUT
from infra.deploy.uv_install import uv_environment

SCRIPT = CHECKOUT / "infra" / "deploy" / "uv_install.py"
LOCK = "nothing-real==1.0 --hash=sha256:" + "0" * 64 + "\n"


class Index:
    """A package index that has nothing, and notes who asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                scheme, _, value = self.headers.get("Authorization", "").partition(" ")
                asked.append((self.path, b64decode(value).decode() if scheme else ""))
                self.send_error(404 if scheme else 401)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://somebody:sesame@127.0.0.1:{self.server.server_port}/simple"


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index()
    thread = threading.Thread(target=index.server.serve_forever)
    thread.start()
    yield index
    index.server.shutdown()
    thread.join()
    index.server.server_close()


def install(tmp_path: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    lock = tmp_path / "lock.txt"
    lock.write_text(LOCK)
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("PIP_", "UV_"))}
    own = {"PIP_CONFIG_FILE": os.devnull, "UV_CACHE_DIR": str(tmp_path / "cache")}
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, str(SCRIPT), str(lock)],
        env={**kept, **own, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_index_that_pip_is_told_is_asked_and_its_password_is_not_shown(
    index: Index, tmp_path: Path
) -> None:
    done = install(tmp_path, PIP_INDEX_URL=index.url)

    assert ("/simple/nothing-real/", "somebody:sesame") in index.asked
    assert done.returncode != 0
    assert "UV_DEFAULT_INDEX=<index>" in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_pips_configuration_file_is_read(index: Index, tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(f"[global]\nindex-url = {index.url}\n")

    install(tmp_path, PIP_CONFIG_FILE=str(file))

    assert ("/simple/nothing-real/", "somebody:sesame") in index.asked


def test_uvs_own_variables_win(index: Index, tmp_path: Path) -> None:
    install(tmp_path, PIP_INDEX_URL="http://127.0.0.1:9/simple", UV_DEFAULT_INDEX=index.url)

    assert index.asked


def test_all_that_pip_is_told_is_said_in_uvs_words() -> None:
    told = {
        "index-url": "http://a/simple",
        "extra-index-url": "http://b/simple\nhttp://c/simple",
        "find-links": "/wheels /more",
        "cert": "/ca.pem",
    }
    environment = uv_environment(told, {"UV_SYSTEM_CERTS": "0"})

    assert environment == {
        "UV_DEFAULT_INDEX": "http://a/simple",
        "UV_INDEX": "http://b/simple http://c/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_SYSTEM_CERTS": "0",
    }


@pytest.mark.parametrize("module", ["infra.deploy.demo", "infra.deploy.access_token"])
def test_where_nothing_answers_a_sentence_says_what_to_do(module: str) -> None:
    nowhere = {"ADRELAY_URL": "http://127.0.0.1:9", "OPS_RABBITMQ_URL": "amqp://h/v"}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", module],
        cwd=CHECKOUT,
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert "make up" in done.stderr
    assert "Traceback" not in done.stderr
