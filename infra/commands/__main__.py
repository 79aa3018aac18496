"""Runs the command line as ``python -m infra.commands``."""

from infra.commands.cli import main

main()
