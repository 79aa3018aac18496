"""``adrelay history``: read the event log, export it, and feed a queue from it again."""

from typing import Annotated

import typer

from infra.commands.cli.history_options import (
    FieldOption,
    FollowOption,
    LimitOption,
    SinceOption,
    SourceOption,
    SubjectOption,
    TypeOption,
    UntilOption,
    parse_filter,
)
from infra.commands.cli.history_replay import register
from infra.commands.cli.options import Json, examples, exit_with, new_group

app = new_group("Read the event log: every event that was published, in its order.")


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
    selected = parse_filter(types, subject, source, since, until, fields)
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
    selected = parse_filter(types, subject, source, since, until, fields, event_id)
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
    """Print one event with its properties and body.

    An id is looked up in the index of the log; one that is not there is searched for from the
    beginning.
    """
    from infra.commands import history as run

    if which.isascii() and which.isdecimal() and not by_id:
        exit_with(run.run(lambda session: run.show(session, int(which)), as_json=as_json))
    selected = parse_filter(None, None, source, since, until, None, which)
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
    selected = parse_filter(types, subject, source, since, until, fields)
    from infra.commands import history as run
    from infra.commands.history_export import export

    exit_with(
        run.run(
            lambda session: export(session, selected, file, from_offset=from_offset, limit=limit),
            as_json=True,
        )
    )


def _check_follow(until: str | None, *, follow: bool) -> None:
    if follow and until is not None:
        raise typer.BadParameter("--follow and --until exclude each other")


register(app)
