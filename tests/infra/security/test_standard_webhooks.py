"""Tests Standard Webhooks with published vectors and with inputs its Python library accepts."""

from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.security.hmac_signature import InvalidSignature
from infra.security.standard_webhooks import (
    V1,
    V1A,
    Scheme,
    derive_webhook_public_key,
    make_webhook_secret,
    sign,
    verify,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLIC_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
DELIVERY = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP = 1614265330
NOW = datetime.fromtimestamp(TIMESTAMP, UTC)
BODY = b'{"test": 2432232314}'

GOOD = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
WRONG = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="
GOOD_V1A = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)
OTHERS = " ".join(f"v{n},Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc=" for n in (1, 2))


def signed_with(signature: str, **changes: str) -> dict[str, str]:
    named = {"id": DELIVERY, "timestamp": str(TIMESTAMP), "signature": signature, **changes}
    return {f"webhook-{name}": value for name, value in named.items()}


def is_accepted(
    headers: dict[str, str],
    *secrets: str,
    scheme: Scheme = V1,
    body: bytes = BODY,
    now: datetime = NOW,
) -> bool:
    try:
        found = verify(scheme, headers, body, secrets, now).delivery
        return found == headers["webhook-id"]
    except InvalidSignature:
        return False


@pytest.mark.parametrize(
    ("scheme", "key", "signature", "accepted"),
    [
        pytest.param(V1, SECRET, GOOD, True, id="published v1"),
        pytest.param(V1, SECRET.removeprefix("whsec_"), GOOD, True, id="secret without prefix"),
        pytest.param(V1, SECRET, WRONG, False, id="published wrong v1"),
        pytest.param(V1A, PUBLIC_KEY, GOOD_V1A, True, id="published v1a"),
        pytest.param(V1A, PUBLIC_KEY, GOOD_V1A.replace("hnO", "hnP"), False, id="wrong v1a"),
        pytest.param(V1, SECRET, f"{OTHERS} {GOOD}", True, id="several, the last fits"),
        pytest.param(V1, SECRET, f"{GOOD} {OTHERS}", True, id="several, the first fits"),
        pytest.param(V1, SECRET, f"v1,a,b  garbage {GOOD}", True, id="two spaces and garbage"),
        pytest.param(V1, SECRET, OTHERS, False, id="several, none fits"),
        pytest.param(V1, SECRET, f"{GOOD} " * 17, False, id="too many"),
        pytest.param(V1, SECRET, "garbage", False, id="no comma"),
        pytest.param(V1, SECRET, "v1,a,b", False, id="two commas"),
        pytest.param(V1, SECRET, "v1,abc", False, id="no base64"),
        pytest.param(V1, SECRET, "v1,", False, id="nothing after the comma"),
        pytest.param(V1, SECRET, "", False, id="empty"),
        pytest.param(V1, SECRET, GOOD.replace("+", "!!+"), False, id="junk in the base64"),
        pytest.param(V1, SECRET, GOOD.removesuffix("="), False, id="without padding"),
        pytest.param(V1, SECRET, GOOD.replace("OE=", "OF="), False, id="not canonical"),
        pytest.param(V1, SECRET, GOOD.replace("v1,", "v2,"), False, id="another version"),
        pytest.param(V1, SECRET, GOOD.replace("v1,", "V1,"), False, id="another case"),
        pytest.param(V1, SECRET, GOOD_V1A, False, id="v1a where v1 is agreed"),
        pytest.param(V1A, PUBLIC_KEY, GOOD, False, id="v1 where v1a is agreed"),
    ],
)
def test_a_signature_is_accepted_only_if_it_fits(
    scheme: Scheme, key: str, signature: str, *, accepted: bool
) -> None:
    assert is_accepted(signed_with(signature), key, scheme=scheme) is accepted


@pytest.mark.parametrize(
    "timestamp",
    [
        *("161426533.0", "invalid", "-161426533", " 1614265330 ", "1_614_265_330", "", "0"),
        *("1614265330.7", "+1614265330", "01614265330", "1614265330\n", "١٦١٤٢٦٥٣٣٠", "9" * 13),
    ],
)
def test_a_timestamp_is_a_plain_decimal_number(timestamp: str) -> None:
    headers = sign(V1, [SECRET], DELIVERY, TIMESTAMP, BODY)
    for value in (headers["webhook-signature"], _signature_over(timestamp)):
        assert not is_accepted(signed_with(value, timestamp=timestamp), SECRET)


def _signature_over(timestamp: str) -> str:
    """Sign a timestamp that ``sign`` would never write."""
    content = f"{DELIVERY}.{timestamp}.".encode() + BODY
    return f"v1,{b64encode(V1.signer(SECRET)(content)).decode()}"


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_five_minutes_are_tolerated_both_ways(seconds: int) -> None:
    headers = sign(V1, [SECRET], DELIVERY, TIMESTAMP + seconds, BODY)
    assert is_accepted(headers, SECRET)


@pytest.mark.parametrize("seconds", [-301, 301])
def test_more_than_five_minutes_are_refused_both_ways(seconds: int) -> None:
    for scheme, key in ((V1, SECRET), (V1A, make_webhook_secret(V1A))):
        headers = sign(scheme, [key], DELIVERY, TIMESTAMP + seconds, BODY)
        assert not is_accepted(headers, key, scheme=scheme)
        later = NOW + timedelta(seconds=seconds)
        assert is_accepted(headers, key, scheme=scheme, now=later)


@pytest.mark.parametrize("scheme", [V1, V1A], ids=lambda scheme: scheme.identifier)
def test_the_matching_slot_and_the_skew_are_told(scheme: Scheme) -> None:
    newest, oldest = make_webhook_secret(scheme), make_webhook_secret(scheme)
    headers = sign(scheme, [oldest], DELIVERY, TIMESTAMP - 7, BODY)

    found = verify(scheme, headers, BODY, [newest, "malformed", oldest], NOW)

    assert (found.delivery, found.slot, found.skew) == (DELIVERY, 3, 7)


def test_a_wrong_time_tells_slot_and_skew_and_a_wrong_mac_does_not() -> None:
    late = sign(V1, [SECRET], DELIVERY, TIMESTAMP - 400, BODY)

    with pytest.raises(InvalidSignature) as refusal:
        verify(V1, late, BODY, [SECRET], NOW)
    assert (refusal.value.slot, refusal.value.skew) == (1, 400)
    with pytest.raises(InvalidSignature) as refusal:
        verify(V1, late, BODY, [make_webhook_secret(V1)], NOW)
    assert (refusal.value.slot, refusal.value.skew) == (None, None)


def test_the_mac_is_checked_before_the_timestamp() -> None:
    old = sign(V1, [make_webhook_secret(V1)], DELIVERY, TIMESTAMP - 9999, BODY)
    with pytest.raises(InvalidSignature, match="no signature matches"):
        verify(V1, old, BODY, [SECRET], NOW)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_AA==", "whsec_" + b64encode(bytes(23)).decode(), "whsec_!", "é",
     "whsec_" + b64encode(bytes(65)).decode(), "whsk_" + b64encode(bytes(32)).decode() + "!"],
)  # fmt: skip
def test_a_weak_or_malformed_secret_neither_signs_nor_verifies(secret: str) -> None:
    with pytest.raises(ValueError, match=r"base64|padding|ASCII|characters"):
        sign(V1, [secret], DELIVERY, TIMESTAMP, BODY)
    assert not is_accepted(signed_with(GOOD), secret)
    assert is_accepted(signed_with(GOOD), secret, SECRET)


@pytest.mark.parametrize(
    "key",
    ["", "whsk_", "whpk_", PUBLIC_KEY.replace("whpk_", ""), PUBLIC_KEY.replace("whpk", "whsec"),
     "whsk_" + b64encode(bytes(64)).decode(), "whpk_" + b64encode(bytes(31)).decode()],
)  # fmt: skip
def test_a_malformed_key_verifies_nothing(key: str) -> None:
    assert not is_accepted(signed_with(GOOD_V1A), key, scheme=V1A)
    assert is_accepted(signed_with(GOOD_V1A), key, PUBLIC_KEY, scheme=V1A)


def test_a_null_public_key_does_not_let_a_null_signature_through() -> None:
    null = f"v1a,{b64encode(bytes(64)).decode()}"
    assert not is_accepted(signed_with(null), f"whpk_{b64encode(bytes(32)).decode()}", scheme=V1A)


def test_private_and_public_keys_of_either_length_verify() -> None:
    private = make_webhook_secret(V1A)
    public = derive_webhook_public_key(private)
    halves = b64decode_key(private) + b64decode_key(public)
    long = f"whsk_{b64encode(halves).decode()}"
    for signer in (private, long):
        headers = sign(V1A, [signer], DELIVERY, TIMESTAMP, BODY)
        for verifier in (private, public, long):
            assert is_accepted(headers, verifier, scheme=V1A)


def b64decode_key(key: str) -> bytes:
    return b64decode(key.partition("_")[2])


@pytest.mark.parametrize("scheme", [V1, V1A])
def test_old_and_new_secrets_work_while_they_are_exchanged(scheme: Scheme) -> None:
    old, new, other = (make_webhook_secret(scheme) for _ in range(3))
    both = sign(scheme, [new, old], DELIVERY, TIMESTAMP, BODY)
    assert is_accepted(both, old, scheme=scheme)
    assert is_accepted(both, other, new, scheme=scheme)
    assert not is_accepted(both, other, scheme=scheme)
    assert not is_accepted(both, scheme=scheme)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"not json", b'{"n":10.0,"e":"\\u00e9"}'])
def test_the_bytes_count_not_what_they_mean(body: bytes) -> None:
    headers = sign(V1, [SECRET], DELIVERY, TIMESTAMP, body)
    assert is_accepted(headers, SECRET, body=body)
    assert not is_accepted(headers, SECRET, body=body + b" ")


@pytest.mark.parametrize("delivery", ["", "a.b", "a b", "a\n", "ü", "x" * 181])
def test_an_id_is_printable_and_has_no_full_stop(delivery: str) -> None:
    assert not is_accepted(sign(V1, [SECRET], delivery, TIMESTAMP, BODY), SECRET)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_or_doubled_header_is_refused(name: str) -> None:
    headers = signed_with(GOOD)
    assert not is_accepted({**headers, name.title(): headers[name]}, SECRET)
    value = headers.pop(name)
    with pytest.raises(InvalidSignature):
        verify(V1, headers, BODY, [SECRET], NOW)
    assert verify(V1, {**headers, name.title(): value}, BODY, [SECRET], NOW).delivery == DELIVERY


@given(body=st.binary(), scheme=st.sampled_from([V1, V1A]), flip=st.integers(0, 10_000))
def test_what_is_signed_verifies_and_a_changed_byte_does_not(
    body: bytes, scheme: Scheme, flip: int
) -> None:
    key = make_webhook_secret(scheme)
    headers = sign(scheme, [key], DELIVERY, TIMESTAMP, body)
    assert is_accepted(headers, key, scheme=scheme, body=body)
    changed = bytearray(body or b"\0")
    changed[flip % len(changed)] ^= 1
    assert not is_accepted(headers, key, scheme=scheme, body=bytes(changed))
