"""Options that the commands of ``adrelay history`` share, and the filter that they make."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.messaging.log_filter import LogFilter

TypeOption = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only this event type, or those that begin so. Repeatable."),
]
SubjectOption = Annotated[str | None, typer.Option(help="Only those with this subject.")]
SourceOption = Annotated[str | None, typer.Option(help="Only those of this source.")]
SinceOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="From a time with its offset on, or a duration such as 2h."),
]
UntilOption = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Up to a time with its offset, or a duration such as 1h."),
]
FieldOption = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="PATH=VALUE",
        help="Only those with this text or JSON value in a field. Repeatable.",
    ),
]
LimitOption = Annotated[int | None, typer.Option(min=1, help="End after so many events.")]
FollowOption = Annotated[
    bool, typer.Option("--follow", "-f", help="Go on with what is published (end with Ctrl-C).")
]


def parse_filter(
    types: list[str] | None,
    subject: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    fields: list[str] | None,
    event_id: str | None = None,
    *,
    at: datetime | None = None,
) -> "LogFilter":
    """Parse what was typed; durations are before ``at``, an aware time, or before now.

    Raises ``typer.BadParameter``.
    """
    from infra.commands.moments import parse_moment
    from infra.messaging.log_filter import LogFilter, parse_fields

    now = at or datetime.now(UTC)
    try:
        found = LogFilter(
            tuple(types or ()),
            subject,
            source,
            event_id,
            None if since is None else parse_moment(since, now),
            None if until is None else parse_moment(until, now),
            parse_fields(fields or ()),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if found.since is not None and found.until is not None and found.since > found.until:
        raise typer.BadParameter("--since is later than --until")
    return found
