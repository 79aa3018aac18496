"""What an ``Authorization`` header holds reaches no log and no answer, however broken it is.

Raw bytes are sent to the ingress as a process of its own, and all that it writes is read:
aiohttp's own error would log the beginning of a header that it cannot parse.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from infra.settings import Settings
from tests.processes import Process, running

SECRET = b"s3cretOfAda"
LINE = b"Authorization: Bearer " + SECRET
PATIENCE = 3.0  # seconds


def request(*lines: bytes, start: bytes = b"GET /api/v1/campaigns HTTP/1.1") -> bytes:
    return b"\r\n".join((start, b"Host: x", b"Connection: close", *lines, b"", b""))


BROKEN = {
    "a name with a space": request(b"Authorization : Bearer " + SECRET),
    "a name with a tab": request(b"Authorization\t: Bearer " + SECRET),
    "a name in brackets": request(b"(Authorization): Bearer " + SECRET),
    "no name": request(b": Bearer " + SECRET),
    "no colon": request(b"Authorization Bearer " + SECRET),
    "a NUL": request(LINE + b"\x00"),
    "a NUL in front": request(b"Authorization: \x00Bearer " + SECRET),
    "a bare carriage return": request(LINE + b"\rX: y"),
    "a control character": request(LINE + b"\x07"),
    "a delete character": request(LINE + b"\x7f"),
    "bytes that are no text": request(LINE + b"\xff\xfe"),
    "continued on a second line": request(b"Authorization: Bearer", b" " + SECRET),
    "line feeds alone": request(LINE).replace(b"\r\n", b"\n"),
    "no end of the line": request()[:-2] + LINE,
    "no end of the line, and long": request()[:-2] + LINE * 2000,
    "one byte too long": request(LINE + b"x" * (8191 - len(LINE))),
    "far too long": request(LINE + SECRET * 10_000),
    "in very many lines": request(*[LINE] * 20_000),
    "a long name": request(b"Authorization" + SECRET * 1000 + b": Bearer"),
    "in the request line": request(start=b"GET /x HTTP/1.1 " + LINE),
    "in a request line without an end": b"GET /?" + LINE * 3000,
    "in place of the request line": LINE + b"\r\n\r\n",
    "another version": request(LINE, start=b"GET / HTTP/3.0"),
    "no method": request(LINE, start=b" / HTTP/1.1"),
    "two lengths": request(LINE, b"Content-Length: 1", b"Content-Length: 2"),
    "a length and chunks": request(LINE, b"Content-Length: 1", b"Transfer-Encoding: chunked"),
    "a length that is none": request(LINE, b"Content-Length: -1"),
    "a chunk that is none": request(
        LINE,
        b"Content-Type: application/json",
        b"Transfer-Encoding: chunked",
        start=b"POST /api/v1/auth/login HTTP/1.1",
    )
    + SECRET,
    "in a trailer": request(
        b"Content-Type: application/json",
        b"Transfer-Encoding: chunked",
        start=b"POST /api/v1/auth/login HTTP/1.1",
    )
    + b"0\r\n"
    + LINE
    + b"\x00\r\n\r\n",
    "a handshake of another protocol": request(LINE, b"Upgrade: websocket", b"Expect: magic"),
    "basic": request(b"Authorization: Basic " + SECRET),
    "no scheme": request(b"Authorization: " + SECRET),
    "twice": request(LINE, LINE + b"2"),
    "a token of three parts": request(LINE + b"." + SECRET + b"." + SECRET),
    "an API key": request(b"X-API-Key: " + SECRET),
    "an API key, broken": request(b"X-API-Key: " + SECRET + b"\x00"),
}


@pytest.fixture
async def ingress(settings: Settings) -> AsyncIterator[Process]:
    loud = settings.model_copy(update={"log_level": "DEBUG"})
    async with running("workers.ingress", loud) as process:
        yield process


async def send(port: int, sent: bytes) -> bytes:
    """Send bytes in two parts; gives the first of what comes back.

    Nothing comes back to a request that has no end: the sender gives up after a while.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    half = len(sent) // 2
    answer = b""
    try:
        async with asyncio.timeout(PATIENCE):
            for part in (sent[:half], sent[half:]):
                writer.write(part)
                await writer.drain()
            answer = await reader.read(65536)
    except (OSError, TimeoutError):  # it has closed before it had read everything, or waits
        pass
    writer.close()
    return answer


async def test_a_broken_or_oversized_authorization_is_never_quoted(ingress: Process) -> None:
    sending = (send(ingress.port, sent) for sent in BROKEN.values())
    answers = dict(zip(BROKEN, await asyncio.gather(*sending), strict=True))
    await ingress.stop()
    log = ingress.output
    for name, answer in answers.items():
        assert SECRET not in answer, name
        status = answer.partition(b"\r\n")[0]
        assert not answer or status.split()[1] in {b"400", b"401", b"404", b"417"}, (name, status)
    assert sum(bool(answer) for answer in answers.values()) > len(BROKEN) * 3 // 4
    assert SECRET.decode() not in log
    for piece in (SECRET[:6].decode(), "Bearer"):
        assert piece not in log
    for code in ("MALFORMED_REQUEST", "INVALID_TOKEN"):
        assert code in log
