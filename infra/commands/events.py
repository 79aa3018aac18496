"""Finds events in the database, and prints what became of them."""

from sqlalchemy.exc import SQLAlchemyError

from infra.commands.event_output import print_events
from infra.commands.output import print_error, print_json, replace_unencodable
from infra.messaging.event_search import EventQuery, search_events
from infra.settings import load_settings
from infra.storage.engine import describe_error, open_engine
from schemas.events import EventField, EventIndexState

USUAL_LAG = 15.0  # seconds; the index is noted as complete every 5 s


async def show_events(
    field: EventField, value: str, *, source: str | None, limit: int, as_json: bool
) -> int:
    """Print the events that are found; returns 1 when there is none, or no answer."""
    replace_unencodable()
    engine = open_engine(load_settings())
    query = EventQuery(field, _to_text(value), source and _to_text(source), limit=limit)
    try:
        async with engine.connect() as tx:
            found = await search_events(tx, query)
    except (SQLAlchemyError, OSError) as error:
        print_error(f"the database does not answer: {describe_error(error)}")
        return 1
    finally:
        await engine.dispose()
    if as_json:
        for event in found.events:
            print_json(event.model_dump(mode="json"))
    else:
        print_events(found.events)
    if warning := describe_lag(found.index):
        print_error(warning)
    if found.next is not None:
        print_error(f"there are more than {limit} events: the newest are shown (--limit)")
    if not found.events:
        print_error(f"nothing is known of an event with this {field}")
    return 0 if found.events else 1


def describe_lag(index: EventIndexState) -> str | None:
    """Say how far the index is behind the event log; None when that is as usual."""
    if index.lag_seconds is None:
        return "the event log has not been indexed yet: what is only there is missing"
    if index.lag_seconds <= USUAL_LAG:
        return None
    return (
        f"the index of the event log is {index.lag_seconds:.0f} s behind:"
        " later events may be missing"
    )


def _to_text(argument: str) -> str:
    """Replace what no database stores: bytes of an argument that are not UTF-8."""
    return argument.encode(errors="replace").decode()
