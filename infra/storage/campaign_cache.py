"""The campaign cache: copies of campaigns in Redis under ``campaign:{id}``, for an hour.

A value is the version, a space, and the campaign's JSON; for a deleted campaign it is the version
alone, a tombstone that an older copy cannot overwrite. A script compares versions inside Redis, so
concurrent writers leave the newest. Every failure counts as a miss: Postgres is authoritative.

A Redis that rejects writes may hold copies that are older than the last write. When it is out of
memory, the script deletes the copy instead, which Redis allows. When it is a replica or cannot
save, it is not read either, because reads use a command that counts as a write (``GETEX``).
"""

import logging
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from redis.asyncio import Redis

from infra import metrics
from infra.redis_errors import REDIS_ERRORS
from schemas.campaigns import Campaign

PREFIX = "campaign:"
TTL = 3600  # seconds

# Returns the number of copies that were not written. A key of another type is replaced.
PUT = """
local refused = 0
for i, key in ipairs(KEYS) do
    local version, body = tonumber(ARGV[2 * i]), ARGV[2 * i + 1]
    local value = redis.pcall('GET', key)
    local newest = type(value) == 'string' and tonumber(string.match(value, '^%d+')) or -1
    if version >= newest then
        local done = redis.pcall('SET', key, ARGV[2 * i] .. ' ' .. body, 'EX', ARGV[1])
        if done.err then
            redis.call('DEL', key)
            refused = refused + 1
        end
    end
end
return refused
"""

log = logging.getLogger(__name__)


async def put_campaigns(redis: Redis, campaigns: Sequence[Campaign]) -> None:
    """Write campaigns to the cache unless it holds a newer version of them; raises nothing."""
    if not campaigns:
        return
    keys = [_key(campaign.id) for campaign in campaigns]
    values = [value for campaign in campaigns for value in _value(campaign)]
    try:
        refused = await redis.register_script(PUT)(keys=keys, args=[TTL, *values])
    except REDIS_ERRORS as error:
        metrics.CACHE["put_failed"].inc()
        log.warning(
            "the campaign cache could not be written", extra={"reason": type(error).__name__}
        )
        return
    if refused:
        metrics.CACHE["put_failed"].inc()
        log.warning(
            "Redis rejected copies of the campaign cache", extra={"reason": f"{refused} rejected"}
        )


async def get_campaign(redis: Redis, campaign_id: UUID) -> Campaign | None:
    """Read a campaign; None when it is missing, deleted, unreadable or Redis is not available."""
    try:
        value: Any = await redis.getex(_key(campaign_id))
    except REDIS_ERRORS:
        metrics.CACHE["unavailable"].inc()
        return None
    _, _, body = (value or b"").partition(b" ")
    if not body:
        metrics.CACHE["miss"].inc()
        return None
    try:
        campaign = Campaign.model_validate_json(body)
    except ValidationError:  # written by another release
        metrics.CACHE["miss"].inc()
        return None
    metrics.CACHE["hit"].inc()
    return campaign


def _key(campaign_id: UUID) -> str:
    return f"{PREFIX}{campaign_id}"


def _value(campaign: Campaign) -> tuple[int, str]:
    body = "" if campaign.status == "deleted" else campaign.model_dump_json()
    return campaign.version, body
