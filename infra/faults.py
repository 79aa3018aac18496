"""What an exception says about whose fault it is: the infrastructure's, a race's, the data's.

Classes of SQLSTATE follow the Postgres manual, appendix A.
"""

from enum import Enum, auto

from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import TimeoutError as RedisSilent
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolExhausted

from infra.errors import Outage, Permanent


class Fault(Enum):
    """Who is to blame, and so what to do."""

    OUTAGE = auto()  # pause, spend nothing
    SUSPECTED_OUTAGE = auto()  # pause, unless the infrastructure answers a probe
    CONFLICT = auto()  # run the same batch again
    DATA = auto()  # find the guilty event: it will never succeed
    BUG = auto()  # find the guilty event: it may succeed later


OUTAGE_CLASSES = ("08", "53", "57P", "58", "XX")
CONFLICTS = ("40001", "40P01", "55P03", "57014")  # serialisation, deadlock, lock, cancelled
DATA_CLASS = "22"


def fault_of(error: BaseException) -> Fault:
    """Classify an exception that left a handler or a transaction."""
    if isinstance(error, Outage | RedisGone | RedisSilent | PoolExhausted):
        return Fault.OUTAGE
    if isinstance(error, DBAPIError):
        return _database_fault(error)
    if isinstance(error, OSError):  # TimeoutError and ConnectionError among them
        return Fault.SUSPECTED_OUTAGE
    return Fault.BUG


def _database_fault(error: DBAPIError) -> Fault:
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state in CONFLICTS:
        return Fault.CONFLICT
    if error.connection_invalidated or state.startswith(OUTAGE_CLASSES):
        return Fault.OUTAGE
    if state.startswith(DATA_CLASS):
        return Fault.DATA
    return Fault.BUG if state else Fault.SUSPECTED_OUTAGE


def blame(error: BaseException, fault: Fault) -> BaseException:
    """Say of a single guilty event why it failed, without quoting its data."""
    if fault is Fault.DATA and isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return Permanent(f"Postgres refuses the data (SQLSTATE {state})", code="INVALID_DATA")
    return error
