"""Webhooks that were genuine but said nothing we know."""

from typing import Literal

from events.base import Attribute, Data, Event


class UnrecognisedWebhook(Data):
    """A verified body, kept whole as text; bytes that are not UTF-8 are escaped in hex."""

    webhook: Attribute
    reason: str
    body: str


class WebhookUnrecognised(Event):
    """A verified webhook that means none of our events; kept, counted, never an error."""

    type: Literal["webhook.unrecognised.v1"] = "webhook.unrecognised.v1"
    data: UnrecognisedWebhook
