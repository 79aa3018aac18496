"""Webhooks with a valid signature whose content is unknown."""

from typing import Literal

from events.envelope import CloudEventAttribute, Event, EventData


class WebhookUnrecognisedData(EventData):
    """A verified body as text; bytes that are not UTF-8 are escaped in hex.

    ``delivery`` is the id that the sender gave outside the body, if any. A large body is cut;
    ``body_bytes`` is then its full length in bytes.
    """

    webhook: CloudEventAttribute
    reason: str
    body: str
    delivery: CloudEventAttribute | None = None
    body_bytes: int | None = None


class WebhookUnrecognised(Event):
    """A verified webhook maps to no event type; it is filed as a dead letter and counted."""

    type: Literal["webhook.unrecognised.v1"] = "webhook.unrecognised.v1"
    data: WebhookUnrecognisedData
