"""Settings of the rate limits: ``1000/15 minutes``, or empty for no limit.

What each of them counts, and for whom, is in ``infra.ratelimit.limiter`` and
``infra.web.rate_limits``.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings

RATE = re.compile(r"[1-9]\d{0,11}/([1-9]\d{0,5} )?(second|minute|hour|day)s?")


def _checked(text: str) -> str:
    if text and not RATE.fullmatch(text):
        raise ValueError("must be like 1000/15 minutes (second, minute, hour, day), or empty")
    return text


LimitSetting = Annotated[str, AfterValidator(_checked)]


class RateLimitSettings(BaseSettings):
    """How much is allowed in a time; an empty setting switches a limit off."""

    limit_api: LimitSetting = Field(
        default="1000/15 minutes", description="Requests of an account, or else of an address"
    )
    limit_registration: LimitSetting = Field(
        default="20/hour", description="Registrations of an address"
    )
    limit_login: LimitSetting = Field(
        default="5/15 minutes", description="Failed logins by address and e-mail together"
    )
    limit_login_address: LimitSetting = Field(
        default="50/15 minutes", description="Failed logins by address, whatever the e-mail"
    )
    limit_refresh: LimitSetting = Field(
        default="100/15 minutes", description="Refresh tokens of an address that were not valid"
    )
    limit_password: LimitSetting = Field(
        default="5/15 minutes", description="Wrong current passwords in an account's changes"
    )
    limit_webhook_requests: LimitSetting = Field(
        default="5000/second", description="Genuine webhooks of a source, for each process"
    )
    limit_webhook_bytes: LimitSetting = Field(
        default="50000000/second", description="Bytes of these, for each process"
    )
    limit_event_requests: LimitSetting = Field(
        default="5000/second", description="POST /api/v1/events of an API key, for each process"
    )
    limit_event_bytes: LimitSetting = Field(
        default="50000000/second", description="Bytes of these, for each process"
    )
