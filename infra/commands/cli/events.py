"""``adrelay events``: find an event, where it is, and what it caused."""

from typing import TYPE_CHECKING, Annotated

import typer

from infra.commands.cli.options import Json, examples, exit_with, new_group

if TYPE_CHECKING:
    from schemas.events import EventField

app = new_group("Find events: where they are, and what they caused.")


@app.callback()
def events() -> None:
    """Make ``show`` a command of its own, although there is no other."""


@app.command(
    epilog=examples(
        "adrelay events show evt_123",
        "adrelay events show 42 --source urn:acme:crm --json",
        "adrelay events show --campaign 5f0c9ad4-3a55-4c0e-8a3e-6a1f1a0c4711",
    ),
)
def show(
    event_id: Annotated[str | None, typer.Argument(metavar="ID", help="The event's id.")] = None,
    source: Annotated[
        str | None, typer.Option(help="The event's source, where several use its id.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="All events with this subject.")] = None,
    correlation: Annotated[
        str | None, typer.Option(help="All events with this correlation id.")
    ] = None,
    operation: Annotated[str | None, typer.Option(help="The event of this operation.")] = None,
    campaign: Annotated[
        str | None, typer.Option(help="All events about the campaign with this id.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, help="The most events of a list, the newest first.")
    ] = 100,
    as_json: Json = False,
) -> None:
    """Show what became of events: accepted, handled, waiting or dead, and what they caused."""
    fields: dict[EventField, str | None] = {
        "id": event_id,
        "subject": subject,
        "correlation": correlation,
        "operation": operation,
        "campaign": campaign,
    }
    given = {name: value for name, value in fields.items() if value}
    if len(given) != 1:
        raise typer.BadParameter(
            "name one: an id, --subject, --correlation, --operation or --campaign"
        )
    if source and "id" not in given:
        raise typer.BadParameter("--source goes with an id")
    from infra.commands.events import show_events

    ((name, value),) = given.items()
    exit_with(show_events(name, value, source=source or None, limit=limit, as_json=as_json))
