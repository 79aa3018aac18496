"""Checks of Redis. Whether it persists is of no account: Postgres decides what is valid."""

from collections.abc import Iterator, Mapping
from typing import Any

from redis.exceptions import RedisError

from infra.commands.doctor.examination import Examination
from infra.commands.doctor.finding import Finding, Level, ok
from infra.commands.doctor.versions import REDIS, judge_version
from infra.redis_errors import describe_redis_error
from infra.storage.redis import open_redis

FULL = 0.9  # of maxmemory


async def check_redis(examination: Examination) -> list[Finding]:
    """Connect, and judge version, role and what happens when the memory is full."""
    client = open_redis(examination.settings)
    try:
        info: Mapping[str, Any] = await client.info()
    except (RedisError, OSError) as error:
        why = "nobody can log in, and limits are counted by each process for itself"
        found, action = (
            f"it does not answer: {describe_redis_error(error)}",
            "start it, or correct REDIS_URL",
        )
        return [Finding(Level.ERROR, "redis", found, why, action)]
    finally:
        await client.aclose()
    findings = [*judge_version(REDIS, str(info["redis_version"])), *_judge_memory(info)]
    return [ok("redis", "it accepts connections"), *findings]


def _judge_memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("role") != "master":
        why = "it takes no writes: nobody can log in"
        action = "connect to the primary"
        yield Finding(Level.ERROR, "redis", f"it is a {info.get('role')}", why, action)
    policy, most = info.get("maxmemory_policy", "noeviction"), int(info.get("maxmemory", 0))
    if policy != "noeviction":
        found = f"maxmemory-policy is {policy}"
        why = "when it is full it drops refresh tokens and counters: people are logged out"
        action = "set maxmemory-policy to noeviction"
        yield Finding(Level.WARNING, "redis", found, why, action)
    used = int(info.get("used_memory", 0))
    if most and used > FULL * most:
        found = f"{used * 100 // most}% of maxmemory is used"
        why = "when it is full nobody can log in"
        yield Finding(Level.WARNING, "redis", found, why, "raise maxmemory")
    if policy == "noeviction" and not (most and used > FULL * most):
        yield ok("redis", f"it evicts nothing, and has memory ({used // 1024**2} MiB used)")
