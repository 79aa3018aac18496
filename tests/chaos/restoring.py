"""``adrelay restore --from-log`` with chaos' own handler: ``python -m tests.chaos.restoring``.

It writes its JSON lines where the tests read what a process says.
"""

import sys
from contextlib import redirect_stdout

import uvloop

from infra import logs
from infra.commands.restore import restore
from infra.commands.restore_output import RestoreOutput
from infra.settings import load_settings
from tests.chaos.worker import SUBSCRIPTIONS


def main() -> None:
    """Restore, and exit with the status of the command."""
    settings = load_settings()
    logs.configure_logging(settings.log_level)
    output = RestoreOutput(as_json=True, confirms=False)
    with redirect_stdout(sys.stderr):
        restoring = restore(settings, SUBSCRIPTIONS, output, dry_run=False, accept_gap=False)
        raise SystemExit(uvloop.run(restoring))


if __name__ == "__main__":
    main()
