"""``adrelay history``: read the event log, export it, and feed a queue from it again."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from infra.commands.cli.options import Json, examples, exit_with, new_group

if TYPE_CHECKING:
    from infra.messaging.log_filter import LogFilter

app = new_group("Read the event log: every event that was published, in its order.")

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


@app.command(
    epilog=examples(
        "adrelay history tail",
        "adrelay history tail -n 5 --type campaign. --follow",
    )
)
def tail(
    *,
    count: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=1_000_000, help="How many.")
    ] = 20,
    types: TypeOption = None,
    subject: SubjectOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    fields: FieldOption = None,
    limit: LimitOption = None,
    follow: FollowOption = False,
    as_json: Json = False,
) -> None:
    """Print the last events, the newest last."""
    _check_follow(until, follow=follow)
    selected = _parse_filter(types, subject, source, since, until, fields)
    from infra.commands import history as run

    number = count if limit is None else min(count, limit)
    exit_with(
        run.run(lambda session: run.tail(session, selected, number, follow=follow), as_json=as_json)
    )


@app.command(
    epilog=examples(
        "adrelay history grep --type campaign.saved.v1 --since 2h",
        "adrelay history grep --field data.platform=claude --field data.clicks=0 --json",
    )
)
def grep(
    *,
    types: TypeOption = None,
    subject: SubjectOption = None,
    source: SourceOption = None,
    event_id: Annotated[str | None, typer.Option("--id", help="Only those with this id.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    fields: FieldOption = None,
    limit: LimitOption = None,
    follow: FollowOption = False,
    as_json: Json = False,
) -> None:
    """Print matching events, the oldest first."""
    _check_follow(until, follow=follow)
    selected = _parse_filter(types, subject, source, since, until, fields, event_id)
    from infra.commands import history as run

    exit_with(
        run.run(lambda session: run.grep(session, selected, limit, follow=follow), as_json=as_json)
    )


@app.command(
    epilog=examples(
        "adrelay history show 1234",
        "adrelay history show evt_1/0 --source urn:adrelay:webhook:claude",
    )
)
def show(
    which: Annotated[str, typer.Argument(metavar="OFFSET|ID", help="An offset, or an event's id.")],
    by_id: Annotated[bool, typer.Option("--id", help="It is an id although a number.")] = False,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: Json = False,
) -> None:
    """Print one event with its properties and body; an id is searched for from the beginning."""
    from infra.commands import history as run

    if which.isascii() and which.isdecimal() and not by_id:
        exit_with(run.run(lambda session: run.show(session, int(which)), as_json=as_json))
    selected = _parse_filter(None, None, source, since, until, None, which)
    exit_with(run.run(lambda session: run.show_matching(session, selected), as_json=as_json))


@app.command(
    epilog=examples(
        "adrelay history export events.jsonl --since 1d",
        "adrelay history export events.jsonl --from-offset 123456",
        "adrelay history export - --type campaign. | gzip > campaigns.jsonl.gz",
    )
)
def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="- is standard output.")],
    *,
    types: TypeOption = None,
    subject: SubjectOption = None,
    source: SourceOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    fields: FieldOption = None,
    from_offset: Annotated[
        int | None, typer.Option(min=0, max=2**62, help="Go on here, behind what is in the file.")
    ] = None,
    limit: LimitOption = None,
) -> None:
    """Write events as JSON lines: structured CloudEvents with their offsets."""
    selected = _parse_filter(types, subject, source, since, until, fields)
    from infra.commands import history as run

    exit_with(
        run.run(
            lambda session: run.export(
                session, selected, file, from_offset=from_offset, limit=limit
            ),
            as_json=True,
        )
    )


def _check_follow(until: str | None, *, follow: bool) -> None:
    if follow and until is not None:
        raise typer.BadParameter("--follow and --until exclude each other")


def _parse_filter(
    types: list[str] | None,
    subject: str | None,
    source: str | None,
    since: str | None,
    until: str | None,
    fields: list[str] | None,
    event_id: str | None = None,
) -> "LogFilter":
    from infra.commands.moments import parse_moment
    from infra.messaging.log_filter import LogFilter, parse_fields

    now = datetime.now(UTC)
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
