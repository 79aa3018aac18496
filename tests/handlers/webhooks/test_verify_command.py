"""``adrelay webhooks verify`` says which check of a webhook fails, and never a secret."""

import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from handlers.webhooks import SOURCES
from handlers.webhooks.verification import verify_webhook
from infra.deploy.secrets import make_secrets
from infra.security.standard_webhooks import V1, V1A, make_webhook_secret, sign
from tests.fork_server import run_module

PAYLOADS = sorted((Path(__file__).parent / "payloads").glob("*/*.json"))
METRICS = (
    '{"event": "campaign.metrics_updated", "data": {"campaignId": "c-1", "date": "2026-11-22",'
    ' "impressions": 10, "clicks": 2, "conversions": 1, "spend": 1.25}}'
)
NEW, OLD = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# Made with standardwebhooks 1.1.0 of PyPI: Webhook(OLD).sign("msg_1", 2026-11-22T08:00Z, METRICS).
OFFICIAL = "v1,TlxFZohq2TazTIqTyhJfvltZ7OmNLrEj1sQ72CkoYH8="
MOMENT = 1795334400
KEY = make_webhook_secret(V1A)
CLAUDE_SECRET = "a shared secret of Claude".replace(" ", "-")
MADE = make_secrets()
SECRETS = (NEW, OLD, KEY, CLAUDE_SECRET)


@dataclass(frozen=True)
class Outcome:
    status: int
    printed: str
    error: str

    @property
    def found(self) -> dict[str, Any]:
        (line,) = self.printed.splitlines()
        parsed: dict[str, Any] = json.loads(line)
        return parsed


def verify(source: str, headers: dict[str, str], body: bytes | str, *more: str) -> Outcome:
    given = body if isinstance(body, bytes) else body.encode()
    lines = [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
    variables = {
        "PATH": os.environ["PATH"],
        **{name: value for name, value in MADE.items() if name.endswith("_WEBHOOK_SECRET")},
        "CHATGPT_WEBHOOK_SECRET": f"{NEW} {OLD}",
        "GEMINI_WEBHOOK_SECRET": KEY,
        "CLAUDE_WEBHOOK_SECRET": CLAUDE_SECRET,
    }
    words = ("webhooks", "verify", source, *lines, "--body", "-", *more)
    done = run_module("infra.commands", *words, env=variables, given=given)
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
    assert "Traceback" not in done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def standard(**changes: str) -> dict[str, str]:
    named = {"id": "msg_1", "timestamp": str(MOMENT), "signature": OFFICIAL, **changes}
    return {f"webhook-{name}": value for name, value in named.items() if value}


def at(seconds: int) -> tuple[str, str, str]:
    return "--json", "--now", str(MOMENT + seconds)


def claude(body: str) -> dict[str, str]:
    signature = hmac.new(CLAUDE_SECRET.encode(), body.encode(), hashlib.sha256).hexdigest()
    return {"X-Claude-Signature": signature}


def test_a_webhook_of_the_official_library_is_valid_by_the_secret_that_signed_it() -> None:
    outcome = verify("chatgpt", standard(), METRICS, *at(12))
    found = outcome.found
    assert (outcome.status, found["valid"], found["failed"]) == (0, True, None)
    assert (found["slot"], found["secrets"], found["skew_seconds"]) == (2, 2, 12)
    assert (found["delivery"], found["answer"]) == ("msg_1", 200)
    (event,) = found["events"]
    assert event["routing_key"] == "campaign.metrics_reported.v1.chatgpt"
    assert event["event"]["id"] == "msg_1"
    assert event["event"]["data"]["clicks"] == 2


def test_people_read_the_outcome_in_a_table() -> None:
    outcome = verify("chatgpt", standard(), METRICS, "--now", "2026-11-22T08:10:00Z")
    lines = {line.split("  ")[0]: line for line in outcome.printed.splitlines()}
    assert outcome.status == 1
    assert lines["webhook"].endswith("chatgpt: not valid")
    assert lines["failed check"].endswith("timestamp")
    assert lines["secrets"].endswith("2, number 2 matched (1 is the newest)")
    assert lines["timestamp"].endswith("600 s behind the time of this check")
    assert lines["answer"].endswith("401")


FAILING: dict[str, tuple[str, dict[str, str], str, str, str]] = {
    "a missing header": ("chatgpt", standard(id=""), METRICS, "headers", "webhook-id is missing"),
    "a malformed timestamp": (
        "chatgpt",
        standard(timestamp="+1795334400"),
        METRICS,
        "headers",
        "webhook-timestamp is malformed",
    ),
    "a malformed id": (
        "chatgpt",
        standard(id="a.b"),
        METRICS,
        "headers",
        "webhook-id is malformed",
    ),
    "another scheme": (
        "chatgpt",
        standard(signature=OFFICIAL.replace("v1", "v1a")),
        METRICS,
        "headers",
        "webhook-signature has no v1 signature",
    ),
    "a changed body": ("chatgpt", standard(), METRICS + "\n", "signature", "no signature matches"),
    "a signature that is no hexadecimal": (
        "claude",
        {"X-Claude-Signature": "A" * 64},
        METRICS,
        "headers",
        "not 64 lower-case hexadecimal digits",
    ),
    "another secret": (
        "claude",
        {"X-Claude-Signature": "a" * 64},
        METRICS,
        "signature",
        "matches no secret",
    ),
    "no JSON": ("claude", claude("{"), "{", "body", "Invalid JSON"),
    "values that no event holds": (
        "claude",
        claude(METRICS.replace("10", "-1")),
        METRICS.replace("10", "-1"),
        "body",
        "impressions",
    ),
    "an unknown kind": (
        "claude",
        claude('{"event": "campaign.renamed"}'),
        '{"event": "campaign.renamed"}',
        "kind",
        "campaign.renamed",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_the_check_that_fails_is_named(name: str) -> None:
    source, headers, body, check, words = FAILING[name]
    outcome = verify(source, headers, body, *at(0))
    found = outcome.found
    assert (outcome.status, found["valid"], found["failed"]) == (1, False, check)
    assert words in found["reason"]
    types = [entry["event"]["type"] for entry in found["events"]]
    is_signed = check in ("body", "kind")
    assert types == (["webhook.unrecognised.v1"] if is_signed else [])
    assert found["answer"] == (200 if is_signed else 401)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_timestamp_that_is_off_has_its_seconds_and_the_secret_that_matched(seconds: int) -> None:
    outcome = verify("chatgpt", standard(), METRICS, *at(seconds))
    found = outcome.found
    assert (outcome.status, found["failed"], found["skew_seconds"]) == (1, "timestamp", seconds)
    assert found["slot"] == 2


def test_a_header_that_occurs_twice_is_named() -> None:
    again = ("--header", "Webhook-Id: msg_2")
    outcome = verify("chatgpt", standard(), METRICS, *again, *at(0))
    assert (outcome.status, outcome.found["failed"]) == (1, "headers")
    assert "webhook-id occurs twice" in outcome.found["reason"]


def test_secrets_of_a_file_replace_those_of_the_settings(tmp_path: Path) -> None:
    other = make_webhook_secret(V1)
    file = tmp_path / "secrets"
    file.write_text(f"{other}\n{NEW}\n")
    headers = sign(V1, [other], "msg_9", MOMENT, METRICS.encode())
    assert verify("chatgpt", headers, METRICS, *at(0)).status == 1
    outcome = verify("chatgpt", headers, METRICS, "--secret-file", str(file), *at(0))
    assert (outcome.status, outcome.found["slot"]) == (0, 1)
    assert other not in outcome.printed


def test_an_unknown_item_of_a_batch_is_named_and_the_others_become_events() -> None:
    payload = json.loads(next(p for p in PAYLOADS if p.stem == "batch-partly-unknown").read_text())
    body = payload["body"].encode()
    headers = sign(V1A, [KEY], "msg_3", MOMENT, body)
    outcome = verify("gemini", headers, body, *at(0))
    types = [entry["event"]["type"] for entry in outcome.found["events"]]
    assert (outcome.status, outcome.found["failed"]) == (1, "item")
    assert types.count("webhook.unrecognised.v1") < len(types)
    assert "webhook.unrecognised.v1" in types


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recorded_payload_is_judged_as_the_ingress_does(path: Path) -> None:
    payload, source = json.loads(path.read_text()), path.parent.name
    found = verify_webhook(
        source,
        payload["headers"],
        payload["body"].encode(),
        payload["secrets"],
        datetime.fromisoformat(payload["now"]),
        max_bytes=1024 * 1024,
    )
    assert (found.answer, found.delivery) == (200, payload["delivery"])
    expected = [event["type"] for event in payload["events"]]
    assert [event.type for event in found.events] == expected
    assert (found.failed is None) is ("webhook.unrecognised.v1" not in expected)


@pytest.mark.parametrize(
    "words",
    [
        ("meta", "--body", "-"),
        ("claude",),
        ("claude", "--body", "/nowhere"),
        ("claude", "--body", "-", "--header", "no colon"),
        ("claude", "--body", "-", "--now", "2026-11-22T08:00:00"),
        ("chatgpt", "--body", "-", "--secret-file", "/nowhere"),
        ("chatgpt", "--body", "-", "--secret-file", "/dev/null"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_understood_exits_with_2(words: tuple[str, ...]) -> None:
    done = run_module("infra.commands", "webhooks", "verify", *words, env=os.environ, given=b"{}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_malformed_secret_is_described_by_its_rule_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("whsec_short")
    outcome = verify("chatgpt", standard(), METRICS, "--secret-file", str(file))
    assert outcome.status == 2
    assert "24 to 64 bytes" in outcome.error
    assert "whsec_short" not in outcome.error


def test_a_source_without_secrets_is_told_its_variable() -> None:
    variables = {"PATH": os.environ["PATH"], "GEMINI_WEBHOOK_SECRET": ""}
    words = ("webhooks", "verify", "gemini", "--body", "-", "--json")
    done = run_module("infra.commands", *words, env=variables, given=b"{}")
    assert (done.returncode, json.loads(done.stdout)["failed"]) == (1, "secrets")
    assert "GEMINI_WEBHOOK_SECRET" in done.stdout


def test_every_source_can_be_verified() -> None:
    for source in SOURCES:
        assert verify(source, {}, b"{}", *at(0)).found["failed"] == "headers"
