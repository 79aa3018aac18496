"""Whose a dead letter is: what a replay is authorized for."""

from typing import Any

import pytest
from pamqp.commands import Basic

from infra.amqp import topology
from infra.amqp.permissions import UPSTREAM_USER, WORKERS_USER
from infra.messaging.dead_letter import parse_dead_letter
from infra.messaging.delivery import Delivery
from infra.messaging.headers import KEY, REASON, USER

QUEUE = "metrics.record"
BY_BROKER = {"x-death": [{"reason": "delivery_limit", "routing-keys": ["campaign.x.v1"]}]}


def dead(user: str | None, headers: dict[str, Any]) -> Delivery:
    """Make what lies in a dead-letter queue, published last by ``user``."""
    properties = Basic.Properties(user_id=user, headers=headers)
    name = topology.dead_queue(QUEUE)
    return Delivery(
        1, name, topology.DEAD_LETTER_EXCHANGE, QUEUE, b"{}", properties, redelivered=False
    )


@pytest.mark.parametrize(
    ("user", "headers", "known"),
    [
        (WORKERS_USER, {REASON: "no", USER: UPSTREAM_USER}, UPSTREAM_USER),
        (WORKERS_USER, {REASON: "no"}, None),
        (UPSTREAM_USER, BY_BROKER, UPSTREAM_USER),
        (WORKERS_USER, BY_BROKER, WORKERS_USER),
        (None, BY_BROKER, None),
        # What anybody may have written counts only if the broker says the same.
        (UPSTREAM_USER, {**BY_BROKER, USER: WORKERS_USER}, None),
        (WORKERS_USER, {**BY_BROKER, USER: UPSTREAM_USER}, None),
        (UPSTREAM_USER, {**BY_BROKER, USER: UPSTREAM_USER}, UPSTREAM_USER),
        (None, {**BY_BROKER, USER: WORKERS_USER}, None),
    ],
)
def test_a_letter_is_its_first_publishers_or_nobodys(
    user: str | None, headers: dict[str, Any], known: str | None
) -> None:
    kept = parse_dead_letter(QUEUE, dead(user, headers)).properties["headers"]
    assert kept.get(USER) == known


def test_the_reason_of_what_the_broker_gave_up_is_the_brokers() -> None:
    forged = {**BY_BROKER, REASON: "forged", KEY: "campaign.y.v1"}
    letter = parse_dead_letter(QUEUE, dead(UPSTREAM_USER, forged))
    assert letter.reason == "the broker gave up: delivery_limit"
    assert (letter.stage, letter.error_class) == ("broker", "delivery_limit")
