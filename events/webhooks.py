"""Webhooks that were genuine but said nothing we know."""

from typing import Literal

from events.envelope import CloudEventAttribute, Event, EventData


class WebhookUnrecognisedData(EventData):
    """A verified body, kept as text; bytes that are not UTF-8 are escaped in hex.

    ``delivery`` is the id that the sender gave outside the body, if any. Of a large body only
    the beginning is kept; then ``body_bytes`` says how many bytes it had.
    """

    webhook: CloudEventAttribute
    reason: str
    body: str
    delivery: CloudEventAttribute | None = None
    body_bytes: int | None = None


class WebhookUnrecognised(Event):
    """A verified webhook that means none of our events; kept, counted, never an error."""

    type: Literal["webhook.unrecognised.v1"] = "webhook.unrecognised.v1"
    data: WebhookUnrecognisedData
