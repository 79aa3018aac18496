"""Tests that operation ids contain their owner and a MAC."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from events.envelope import CloudEventAttribute
from infra.security.operation_id import (
    LENGTH,
    create_operation_id,
    derive_campaign_id,
    idempotency_seed,
    parse_operation_id,
)

KEY = b"a key of the tests, 32 bytes long"
OWNER = UUID("00000000-0000-4000-8000-00000000000a")


def test_an_operation_id_contains_its_owner() -> None:
    found = parse_operation_id(KEY, create_operation_id(KEY, OWNER))
    assert found is not None
    assert found.owner == OWNER


def test_an_operation_id_without_an_owner_has_none() -> None:
    found = parse_operation_id(KEY, create_operation_id(KEY, None))
    assert found is not None
    assert found.owner is None


def test_an_operation_id_is_a_valid_event_id() -> None:
    assert TypeAdapter(CloudEventAttribute).validate_python(create_operation_id(KEY, OWNER))


def test_operation_ids_without_a_seed_differ() -> None:
    assert len({create_operation_id(KEY, OWNER) for _ in range(100)}) == 100


def test_the_same_seed_yields_the_same_id_only_for_the_same_owner_and_key() -> None:
    seed = idempotency_seed("POST", "/api/v1/campaigns", "abc")
    made = create_operation_id(KEY, OWNER, seed)
    assert made == create_operation_id(KEY, OWNER, seed)
    assert made != create_operation_id(KEY, uuid4(), seed)
    assert made != create_operation_id(b"another key of the tests, 32 byte", OWNER, seed)
    assert made != create_operation_id(
        KEY, OWNER, idempotency_seed("PATCH", "/api/v1/campaigns", "abc")
    )
    assert made != create_operation_id(
        KEY, OWNER, idempotency_seed("POST", "/api/v1/campaigns", "abd")
    )


def test_a_campaign_id_follows_from_the_operation_id() -> None:
    operation = create_operation_id(KEY, OWNER)
    assert derive_campaign_id(operation) == derive_campaign_id(operation)
    assert derive_campaign_id(operation) != derive_campaign_id(create_operation_id(KEY, OWNER))


@pytest.mark.parametrize("position", range(LENGTH))
def test_a_changed_character_makes_an_id_forged(position: int) -> None:
    made = create_operation_id(KEY, OWNER)
    other = "A" if made[position] != "A" else "B"
    assert parse_operation_id(KEY, made[:position] + other + made[position + 1 :]) is None


def test_an_id_of_another_key_is_forged() -> None:
    assert (
        parse_operation_id(b"another key of the tests, 32 byte", create_operation_id(KEY, OWNER))
        is None
    )


@given(st.text(max_size=80) | st.text(min_size=64, max_size=64).map("op_".__add__))
def test_anything_else_is_no_operation_id(text: str) -> None:
    assert parse_operation_id(KEY, text) is None
