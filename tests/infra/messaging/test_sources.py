"""Sources in our namespace belong to us in whatever spelling, over HTTP and over AMQP."""

from uuid import uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from infra.storage.publishers import RegisteredPublisher, list_publishers, put_publisher
from schemas.api_keys import ApiKeyCreate
from schemas.source_namespace import is_reserved_source

OURS = [
    "urn:adrelay",
    "urn:adrelay:api",
    "URN:ADRELAY:api",
    "Urn:AdRelay",
    "urn:ADRELAY:webhook:claude",
    "urn%3Aadrelay:api",
    "urn:%61drelay:api",
    "urn:%41DRELAY:api",
    "%75%72%6e%3a%61%64%72%65%6c%61%79%3aapi",
    "urn:%2561drelay:api",
    "\uff35\uff32\uff2e:\uff41drelay:api",
    "urn\uff1aadrelay:api",
    "urn:adrelay\uff1aapi",
    "urn:ad\u200brelay:api",
    "urn:adre\u00adlay:api",
    "\ufeffurn:adrelay:api",
    " urn:adrelay:api",
    "urn:adrelay?+x",
    "urn:adrelay#x",
    "urn:adrelay/x",
    "urn:adrelay%3Aapi",
]
THEIRS = [
    "urn:acme:crm",
    "urn:adrelays:api",
    "urn:adrelay-shop:api",
    "urn:adrelay2:api",
    "urn:acme:adrelay",
    "https://example.com/urn:adrelay:api",
    "urn:acme:urn:adrelay",
    "urn:acme:100%",
    "b\u00fccher",
]


@pytest.mark.parametrize("source", OURS)
def test_no_publisher_may_be_given_a_reserved_source(source: str) -> None:
    assert is_reserved_source(source)
    with pytest.raises(ValidationError, match="must not begin with urn:adrelay:, in any spelling"):
        ApiKeyCreate(name="crm", scopes=("events:publish",), sources=(source,))
    with pytest.raises(ValueError, match="it is a source of Adrelay"):
        RegisteredPublisher("crm", frozenset({"urn:acme:crm", source}), uuid4())


@pytest.mark.parametrize("source", THEIRS)
def test_other_sources_may_be_given(source: str) -> None:
    assert not is_reserved_source(source)
    assert ApiKeyCreate(name="crm", scopes=("events:publish",), sources=(source,)).sources
    assert RegisteredPublisher("crm", frozenset({source}), uuid4()).sources


async def test_a_reserved_source_that_was_entered_by_hand_does_not_count(
    engine: AsyncEngine,
) -> None:
    owner = uuid4()
    async with engine.begin() as tx:
        await tx.execute(
            text(
                "insert into users (id, email, password_hash, role) "
                "values (:id, 'crm@example.com', 'x', 'manager')"
            ),
            {"id": owner},
        )
        await put_publisher(tx, RegisteredPublisher("crm", frozenset({"urn:acme:crm"}), owner))
        await tx.execute(text("update publishers set sources = sources || :ours"), {"ours": OURS})
        found = await list_publishers(tx)
    assert found["crm"].sources == {"urn:acme:crm"}
