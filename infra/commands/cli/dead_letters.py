"""``adrelay dead-letters``: list, show, edit, replay and discard dead letters."""

from enum import StrEnum
from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples, exit_with, new_group

app = new_group("List, show, edit, replay and discard dead letters.")

Id = Annotated[str, typer.Argument(metavar="ID", help="An id, or a unique beginning of one.")]
Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Ids, or unique beginnings of ids.")
]
QueueOption = Annotated[str | None, typer.Option(help="Only those of this queue.")]
FingerprintOption = Annotated[str | None, typer.Option(help="Only those with this fingerprint.")]


class State(StrEnum):
    """States that a list can be limited to."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ALL = "all"


@app.command(
    "list",
    epilog=examples(
        "adrelay dead-letters list",
        "adrelay dead-letters list --queue metrics.record --state all --json",
    ),
)
def list_command(
    queue: QueueOption = None,
    fingerprint: FingerprintOption = None,
    state: Annotated[State, typer.Option(help="Only those in this state.")] = State.OPEN,
    as_json: Json = False,
) -> None:
    """List dead letters, the oldest failure first."""
    from infra.commands import dead_letters as run

    selection = run.Selection(
        queue=queue, fingerprint=fingerprint, state=None if state is State.ALL else state.value
    )
    exit_with(run.run(lambda session: run.list_selected(session, selection), as_json=as_json))


@app.command(epilog=examples("adrelay dead-letters show 79de3786"))
def show(
    dead_letter_id: Id,
    queue: QueueOption = None,
    fingerprint: FingerprintOption = None,
    as_json: Json = False,
) -> None:
    """Show a dead letter with its reason, properties and body."""
    from infra.commands import dead_letters as run

    selection = run.Selection((dead_letter_id,), queue, fingerprint)
    exit_with(run.run(lambda session: run.show(session, selection), as_json=as_json))


@app.command(
    epilog=examples(
        "adrelay dead-letters edit 79de3786 --set data.clicks=0",
        "adrelay dead-letters edit 79de3786 --body edited.json",
        "adrelay dead-letters edit 79de3786 --set id=e-17 --property content_type=application/json",
    ),
)
def edit(
    dead_letter_id: Id,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="FIELD=JSON", help="Set a field of the event, in binary mode too."
        ),
    ] = None,
    body: Annotated[
        str | None, typer.Option(metavar="FILE", help="Replace the body; - is standard input.")
    ] = None,
    headers: Annotated[
        list[str] | None,
        typer.Option("--header", metavar="NAME=TEXT", help="Set a header; empty removes it."),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=TEXT", help="Set a property; empty removes it."),
    ] = None,
    queue: QueueOption = None,
    fingerprint: FingerprintOption = None,
    as_json: Json = False,
) -> None:
    """Edit a dead letter, and say whether it is valid now."""
    if fields and body is not None:
        raise typer.BadParameter("--set and --body exclude each other")
    if not (fields or body is not None or headers or properties):
        raise typer.BadParameter("name what to edit: --set, --body, --header or --property")
    from infra.commands import dead_letters as run
    from infra.messaging.dead_letter_content import Changes

    selection = run.Selection((dead_letter_id,), queue, fingerprint)

    async def act(session: run.CommandSession) -> bool:
        limit = session.settings.max_event_bytes
        changes = Changes(
            fields=run.parse_fields(fields or ()),
            body=None if body is None else run.read_body_from(body, limit),
            headers=run.parse_pairs(headers or ()),
            properties=run.parse_pairs(properties or ()),
        )
        return await run.edit(session, selection, changes)

    exit_with(run.run(act, as_json=as_json))


@app.command(
    epilog=examples(
        "adrelay dead-letters replay 79de3786",
        "adrelay dead-letters replay --queue metrics.record",
        "adrelay dead-letters replay 79de3786 --new-id",
    ),
)
def replay(
    ids: Ids = None,
    queue: QueueOption = None,
    fingerprint: FingerprintOption = None,
    new_id: Annotated[bool, typer.Option("--new-id", help="Send it under a fresh id.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also one that the inbox may have forgotten, or over newer changes."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Send dead letters to their queues again."""
    _require_selection(ids, queue, fingerprint)
    from infra.commands import dead_letters as run
    from infra.messaging.replay import ReplayOptions

    selection, how = (
        run.Selection(tuple(ids or ()), queue, fingerprint),
        ReplayOptions(new_id, force),
    )
    exit_with(
        run.run(
            lambda session: run.replay_selected(session, selection, how),
            as_json=as_json,
            wake_relay=True,
        )
    )


@app.command(
    epilog=examples(
        "adrelay dead-letters discard 79de3786",
        "adrelay dead-letters discard --fingerprint 0123456789ab",
    ),
)
def discard(
    ids: Ids = None,
    queue: QueueOption = None,
    fingerprint: FingerprintOption = None,
    as_json: Json = False,
) -> None:
    """Close dead letters without a replay."""
    _require_selection(ids, queue, fingerprint)
    from infra.commands import dead_letters as run

    selection = run.Selection(tuple(ids or ()), queue, fingerprint)
    exit_with(run.run(lambda session: run.discard(session, selection), as_json=as_json))


def _require_selection(ids: list[str] | None, queue: str | None, fingerprint: str | None) -> None:
    if not (ids or queue or fingerprint):
        raise typer.BadParameter("name dead letters, or --queue, or --fingerprint")
