"""What an error of Redis means: it takes nothing from us now, or one value is not what we wrote.

A Redis that answers an error is as good as gone: a replica or a primary without its replicas
(READONLY, NOREPLICAS, MASTERDOWN), a full one (OOM), one that cannot save (MISCONF), that
loads, is busy or has no free connection (LOADING, BUSY), that does not know us any more
(NOAUTH, NOPERM), a cluster in between (CLUSTERDOWN, TRYAGAIN, MOVED). Only what is wrong with a
single key or command (WRONGTYPE, ERR) says nothing about the rest.

Every use catches ``REDIS_ERRORS``. Codes: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

import re

from redis.exceptions import (
    AskError,
    ClusterError,
    ConnectionError,  # noqa: A004 - Redis' own, as its documentation names it
    ExecAbortError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the same
    TryAgainError,
)

# What a use that can do without Redis catches.
REDIS_ERRORS = (RedisError, OSError)
UNAVAILABLE_ERRORS = (
    AskError,
    ClusterError,
    ConnectionError,
    ExecAbortError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    TimeoutError,
    TryAgainError,
)
# Codes that the client has no class for, and all of them as scripts quote them (before Redis 7).
UNAVAILABLE_CODES = re.compile(
    r"(?:^|: -?)(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY"
    r"|TRYAGAIN|UNBLOCKED|UNKILLABLE)\b"
)
WRONG_VALUE = re.compile(r"WRONGTYPE|value is not an integer|not a valid float|would overflow")


def is_unavailable(error: BaseException) -> bool:
    """Tell whether Redis takes nothing from us now, whatever we ask."""
    if isinstance(error, UNAVAILABLE_ERRORS):
        return True
    return isinstance(error, ResponseError) and UNAVAILABLE_CODES.search(str(error)) is not None


def is_wrong_value(error: BaseException) -> bool:
    """Tell whether a key holds something else than we write there."""
    return isinstance(error, ResponseError) and WRONG_VALUE.search(str(error)) is not None
