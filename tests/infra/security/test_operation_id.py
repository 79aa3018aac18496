"""Operation ids carry their owner and a MAC."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from events.envelope import CloudEventAttribute
from infra.security.operation_id import LENGTH, campaign_id_of, mint, parse, seed_of

KEY = b"a key of the tests, 32 bytes long"
OWNER = UUID("00000000-0000-4000-8000-00000000000a")


def test_an_operation_id_tells_its_owner() -> None:
    found = parse(KEY, mint(KEY, OWNER))
    assert found is not None
    assert found.owner == OWNER


def test_an_operation_of_nobody_has_no_owner() -> None:
    found = parse(KEY, mint(KEY, None))
    assert found is not None
    assert found.owner is None


def test_an_operation_id_is_a_valid_event_id() -> None:
    assert TypeAdapter(CloudEventAttribute).validate_python(mint(KEY, OWNER))


def test_operation_ids_without_a_seed_differ() -> None:
    assert len({mint(KEY, OWNER) for _ in range(100)}) == 100


def test_the_same_seed_yields_the_same_id_only_for_the_same_owner_and_key() -> None:
    seed = seed_of("POST", "/api/v1/campaigns", "abc")
    made = mint(KEY, OWNER, seed)
    assert made == mint(KEY, OWNER, seed)
    assert made != mint(KEY, uuid4(), seed)
    assert made != mint(b"another key of the tests, 32 byte", OWNER, seed)
    assert made != mint(KEY, OWNER, seed_of("PATCH", "/api/v1/campaigns", "abc"))
    assert made != mint(KEY, OWNER, seed_of("POST", "/api/v1/campaigns", "abd"))


def test_a_campaign_id_follows_from_the_operation_id() -> None:
    operation = mint(KEY, OWNER)
    assert campaign_id_of(operation) == campaign_id_of(operation)
    assert campaign_id_of(operation) != campaign_id_of(mint(KEY, OWNER))


@pytest.mark.parametrize("position", range(LENGTH))
def test_a_changed_character_makes_an_id_forged(position: int) -> None:
    made = mint(KEY, OWNER)
    other = "A" if made[position] != "A" else "B"
    assert parse(KEY, made[:position] + other + made[position + 1 :]) is None


def test_an_id_of_another_key_is_forged() -> None:
    assert parse(b"another key of the tests, 32 byte", mint(KEY, OWNER)) is None


@given(st.text(max_size=80) | st.text(min_size=64, max_size=64).map("op_".__add__))
def test_anything_else_is_no_operation_id(text: str) -> None:
    assert parse(KEY, text) is None
