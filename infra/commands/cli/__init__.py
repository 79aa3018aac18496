"""The command line ``adrelay``: a module for each group of commands.

Only the arguments are read here; each command imports what it runs when it is called, so that
help and completion are quick. Exit status: 0 done, 1 not found or refused, 2 usage; that of
``doctor`` says the worst finding.
"""

import typer

from infra.commands.cli import (
    broker,
    database,
    dead_letters,
    doctor,
    events,
    history,
    keys,
    queues,
    restore,
    settings,
    topology,
    webhooks,
)

app = typer.Typer(
    name="adrelay",
    help="Operate Adrelay: dead letters, events, queues, the broker, the database, keys, settings.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(queues.app, name="queues")
app.add_typer(broker.app, name="broker")
app.add_typer(topology.app, name="topology")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(history.app, name="history")
app.add_typer(keys.app, name="keys")
database.register(app)
restore.register(app)
settings.register(app)
doctor.register(app)


def main() -> None:
    """Run the command of the process's arguments, and exit with its status."""
    app(prog_name="adrelay")
