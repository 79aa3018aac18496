"""``adrelay webhooks verify``: reads a webhook from files and options, prints what becomes of it.

``infra`` imports no handlers, so the command line starts this module by its name.
"""

import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson
from multidict import CIMultiDict
from pydantic import SecretStr

from events import WebhookUnrecognised
from events.envelope import encode
from events.envelope import now as current_time
from handlers.webhooks import SOURCES
from handlers.webhooks.verification import WebhookVerification, verify_webhook
from infra.commands.output import print_json, print_table
from infra.settings import load_settings
from infra.settings.rules import check_webhook_secrets

HEADER = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*", re.DOTALL
)  # RFC 9110, 5.6.2
EVENT_COLUMNS = ("EVENT", "ID", "SUBJECT", "ROUTING KEY", "DATA")


def run(
    source: str,
    headers: Sequence[str],
    body: str,
    secret_file: Path | None,
    now: str | None,
    *,
    as_json: bool,
) -> int:
    """Verify a webhook and print the outcome; returns 0 if every check succeeds, else 1.

    ``body`` is a file, or ``-`` for standard input. Raises ``ValueError`` with a sentence for an
    argument that cannot be understood.
    """
    if source not in SOURCES:
        raise ValueError(f"{source} is no webhook source; there are {', '.join(sorted(SOURCES))}")
    settings = load_settings()
    secrets: Sequence[str] = settings.webhook_secrets(source)
    if secret_file is not None:
        secrets = _read_secrets(source, secret_file)
    at = current_time() if now is None else _parse_time(now)
    found = verify_webhook(
        source,
        _parse_headers(headers),
        _read_body(body),
        secrets,
        at,
        max_bytes=settings.max_body_bytes,
    )
    if as_json:
        _print_json(source, found, len(secrets))
    else:
        _print_for_people(source, found, len(secrets))
    return int(found.failed is not None)


def _parse_headers(lines: Sequence[str]) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        match = HEADER.fullmatch(line)
        if match is None:
            raise ValueError("a header is written as 'Name: value'")
        headers.add(match[1], match[2])
    return headers


def _read_body(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None


def _read_secrets(source: str, file: Path) -> tuple[str, ...]:
    """Read secrets, separated by white space, the newest first; their form is checked."""
    try:
        secrets = tuple(file.read_text().split())
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    if not secrets:
        raise ValueError(f"{file} has no secret")
    check_webhook_secrets(source, SecretStr(" ".join(secrets)))
    return secrets


def _parse_time(text: str) -> datetime:
    try:
        at = datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else _parse_iso(text)
    except (ValueError, OverflowError, OSError):
        raise ValueError("--now is Unix seconds, or ISO 8601 with an offset such as Z") from None
    return at


def _parse_iso(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("without a time zone")
    return at.astimezone(UTC)


def _print_json(source: str, found: WebhookVerification, secrets: int) -> None:
    print_json(
        {
            "source": source,
            "valid": found.failed is None,
            "failed": found.failed,
            "reason": found.reason,
            "answer": found.answer,
            "slot": found.slot,
            "secrets": secrets,
            "skew_seconds": found.skew,
            "delivery": found.delivery,
            "events": [
                {
                    "routing_key": event.routing_key,
                    "event": orjson.loads(encode(event, with_time=event.has_time)),
                }
                for event in found.events
            ],
        }
    )


def _print_for_people(source: str, found: WebhookVerification, secrets: int) -> None:
    rows = [("webhook", f"{source}: {'valid' if found.failed is None else 'not valid'}")]
    rows += [("failed check", str(found.failed))] if found.failed else []
    rows += [("reason", found.reason)] if found.failed else []
    matched = "none matched" if found.slot is None else f"number {found.slot} matched"
    rows.append(("secrets", f"{secrets}, {matched} (1 is the newest)"))
    if found.skew is not None:
        side = "behind" if found.skew >= 0 else "ahead of"
        rows.append(("timestamp", f"{abs(found.skew):.0f} s {side} the time of this check"))
    rows += [("delivery", found.delivery)] if found.delivery else []
    rows.append(("answer", f"{found.answer} {_explain_answer(found)}".strip()))
    print_table((), rows, header=False)
    events = [
        (
            event.type,
            event.id,
            event.subject or "",
            event.routing_key,
            orjson.dumps(orjson.loads(encode(event))["data"]).decode(),
        )
        for event in found.events
    ]
    if events:
        print_table(EVENT_COLUMNS, events)


def _explain_answer(found: WebhookVerification) -> str:
    if any(isinstance(event, WebhookUnrecognised) for event in found.events):
        return "(what is not recognised becomes a dead letter of webhooks.unrecognised)"
    return ""
