"""``adrelay keys``: generate the keys of an installation, and rotate the one that signs."""

from pathlib import Path
from typing import Annotated

import typer

from infra.commands.cli.options import Json, examples, new_group

app = new_group("Generate keys, rotate the signing key.")


@app.command(
    epilog=examples(
        "adrelay keys generate > keys.env",
        "adrelay keys generate --directory secrets",
        "adrelay keys generate --directory secrets --database postgres-rw",
    ),
)
def generate(
    directory: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write all secrets of an installation there."),
    ] = None,
    broker: Annotated[str, typer.Option(metavar="HOST", help="RabbitMQ.")] = "rabbitmq",
    management: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Its management API; port 15672 (with --tls 15671) by default.",
        ),
    ] = None,
    database: Annotated[str, typer.Option(metavar="HOST", help="Postgres.")] = "postgres",
    redis: Annotated[str, typer.Option(metavar="HOST", help="Redis or Valkey.")] = "valkey",
    tls: Annotated[bool, typer.Option("--tls", help="URLs for servers that speak TLS.")] = False,
    as_json: Json = False,
) -> None:
    """Print new keys as NAME=value lines, or write all secrets into a directory.

    Without --directory nothing is stored. With it, passwords, URLs, keys and webhook secrets
    are written as a file for each group of processes, as broker definitions and as Kubernetes
    Secrets. What exists stays: running it again adds only what is missing.
    """
    from infra.commands import generate_keys, secret_files

    if directory is None:
        generate_keys.print_keys(as_json=as_json)
        return
    api = management or f"{broker.partition(':')[0]}:{15671 if tls else 15672}"
    hosts = secret_files.ServerHosts(broker, api, database, redis, tls)
    raise typer.Exit(secret_files.write_and_report(directory, hosts, as_json=as_json))


@app.command(
    epilog=examples(
        "adrelay keys rotate", "adrelay keys rotate --env env --auth-env auth.env --json"
    ),
)
def rotate(
    env: Annotated[Path, typer.Option(metavar="FILE", help="Settings of every process.")] = Path(
        ".services/env"
    ),
    auth_env: Annotated[
        Path, typer.Option(metavar="FILE", help="Settings of the auth worker alone.")
    ] = Path(".services/auth.env"),
    as_json: Json = False,
) -> None:
    """Make the next step of a key rotation, and say what to restart and when to go on."""
    from infra.commands.rotate_keys import rotate_and_report

    raise typer.Exit(rotate_and_report(env, auth_env, as_json=as_json))
