"""Classifies errors of Redis: the server is not available, or one key holds an unexpected value.

Most error replies mean that the whole server is not usable: a replica, or a primary without its
replicas (READONLY, NOREPLICAS, MASTERDOWN), out of memory (OOM), not able to save (MISCONF),
loading or busy (LOADING, BUSY), rejecting our credentials (NOAUTH, NOPERM), or a cluster in
transition (CLUSTERDOWN, TRYAGAIN, MOVED). Only an error of a single key or command (WRONGTYPE,
ERR) says nothing about the others.

Every call to Redis catches ``REDIS_ERRORS``. Codes: https://redis.io/docs/latest/develop/reference/protocol-spec/
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

from infra.tls_errors import describe_tls_error

# What callers catch that can go on without Redis.
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
# Codes without a class in the client, and all codes as scripts quote them before Redis 7.
UNAVAILABLE_CODES = re.compile(
    r"(?:^|: -?)(BUSY|CLUSTERDOWN|LOADING|MASTERDOWN|MISCONF|NOAUTH|NOPERM|NOREPLICAS|OOM|READONLY"
    r"|TRYAGAIN|UNBLOCKED|UNKILLABLE)\b"
)
WRONG_VALUE = re.compile(r"WRONGTYPE|value is not an integer|not a valid float|would overflow")


def is_unavailable(error: BaseException) -> bool:
    """Return whether the error means that the server rejects every command at present."""
    if isinstance(error, UNAVAILABLE_ERRORS):
        return True
    return isinstance(error, ResponseError) and UNAVAILABLE_CODES.search(str(error)) is not None


def describe_redis_error(error: BaseException) -> str:
    """Name an error by its type, or say what is wrong with TLS; it quotes no data."""
    return describe_tls_error(error) or type(error).__name__


def is_wrong_value(error: BaseException) -> bool:
    """Return whether the error means that a key holds a value of another type or format."""
    return isinstance(error, ResponseError) and WRONG_VALUE.search(str(error)) is not None
