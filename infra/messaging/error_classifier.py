"""Classifies an exception by its cause: infrastructure, a conflict, the data or our own code.

    OUTAGE            pause and spend nothing
    SUSPECTED_OUTAGE  the same, unless a probe says that all is well
    CONFLICT          run the same batch again, for a bounded time
    DATA              divide the batch; the event that Postgres refuses is a dead letter
    BUG               divide the batch; the event may succeed later
    (``infra.messaging.queue_breaker`` counts them)

SQLSTATE as in the Postgres manual, appendix A. An error at connect time carries none here: it
is ``OSError`` (``infra.storage.engine``), whatever the server said.
"""

from enum import Enum, auto

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from infra.errors import Outage, Permanent, Transient
from infra.redis_errors import is_unavailable
from infra.storage.database_address import DatabaseUnreachable


class ErrorKind(Enum):
    """What caused an exception, and so what to do."""

    OUTAGE = auto()
    SUSPECTED_OUTAGE = auto()
    CONFLICT = auto()
    DATA = auto()
    BUG = auto()


# The longest prefix of a SQLSTATE decides; what is not listed is BUG.
SQLSTATES: dict[str, ErrorKind] = {
    "08": ErrorKind.OUTAGE,  # connection exception
    "22": ErrorKind.DATA,  # data exception
    "23": ErrorKind.DATA,  # integrity constraint violation
    "25006": ErrorKind.OUTAGE,  # read-only transaction: a standby, or a failover under way
    "25P03": ErrorKind.CONFLICT,  # the session was idle in its transaction for too long
    "25P04": ErrorKind.CONFLICT,  # transaction timeout
    "28": ErrorKind.OUTAGE,  # invalid authorization: a password is being changed
    "40": ErrorKind.CONFLICT,  # serialization failure, deadlock
    "53": ErrorKind.OUTAGE,  # insufficient resources: disk, memory, connections
    "54000": ErrorKind.DATA,  # program limit exceeded: a value too long for an index
    "55006": ErrorKind.CONFLICT,  # object in use
    "55P03": ErrorKind.CONFLICT,  # lock not available
    "57014": ErrorKind.CONFLICT,  # query cancelled: statement timeout
    "57P": ErrorKind.OUTAGE,  # operator intervention: shutdown, crash, starting
    "58": ErrorKind.OUTAGE,  # system error outside Postgres
    # An internal error may be one broken row or the whole server.
    "XX": ErrorKind.SUSPECTED_OUTAGE,
}
# A plan that was prepared before a table changed: the driver prepares it again.
NOT_SUPPORTED = "0A000"
CACHED_PLAN = ("cached plan", "cached statement")
# These may be lost races: another transaction wrote first, or has not yet.
RACES = ("23503", "23505", "23P01")
RACE_SECONDS = 60.0


def classify_error(error: BaseException) -> ErrorKind:
    """Classify an exception that left a handler or a transaction."""
    if isinstance(error, Outage | PoolExhausted | DatabaseUnreachable) or is_unavailable(error):
        return ErrorKind.OUTAGE
    if isinstance(error, DBAPIError):
        return _database_fault(error)
    if isinstance(error, OSError):  # TimeoutError and ConnectionError among them
        return ErrorKind.SUSPECTED_OUTAGE
    return ErrorKind.BUG


def _database_fault(error: DBAPIError) -> ErrorKind:
    state = _state(error)
    if state in ("", NOT_SUPPORTED) and any(w in str(error.orig).lower() for w in CACHED_PLAN):
        return ErrorKind.CONFLICT
    if error.connection_invalidated and not state:
        return ErrorKind.OUTAGE
    for length in (5, 3, 2):
        if state[:length] in SQLSTATES:
            return SQLSTATES[state[:length]]
    # Without a state the driver speaks: a session that is closed or in another's hands.
    return ErrorKind.BUG if state else ErrorKind.SUSPECTED_OUTAGE


def to_failure(error: BaseException, fault: ErrorKind) -> BaseException:
    """Make an error the failure of a single event, without quoting its data."""
    if fault is ErrorKind.DATA and isinstance(error, DBAPIError):
        state = _state(error)
        reason = f"Postgres refuses the data (SQLSTATE {state})"
        if state in RACES:
            return Transient(reason, code="INVALID_DATA", within=RACE_SECONDS)
        return Permanent(reason, code="INVALID_DATA")
    return error


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", None) or "")
