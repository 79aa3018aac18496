"""What a person sees: the short screen after a start, and the table of ``make status``."""

from collections.abc import Mapping
from datetime import UTC, datetime

from infra.deploy import readiness
from infra.deploy.env_files import env_file
from infra.deploy.process_status import ProcessStatus, read_status
from infra.deploy.procfile import Process, planned
from infra.deploy.services import postgres, rabbitmq, redis
from infra.deploy.services.daemon import Daemon
from infra.deploy.services.directories import CHECKOUT, ServerDirectory
from infra.deploy.services.local_servers import STOP_SIGNALS
from infra.deploy.services.ports import kept_ports
from infra.deploy.services.prometheus import NAME as PROMETHEUS
from infra.deploy.services.provisioning import MANAGEMENT_URL
from infra.deploy.stack import SUPERVISOR
from infra.env_file import read_env_file

EXAMPLE_CAMPAIGN = (
    '{"name": "First", "budget": 100, "platform": "claude",'
    ' "targeting": {"interests": ["tea"], "age_range": [25, 45]}}'
)


def ready_text(directory: ServerDirectory) -> str:
    """Write the screen: addresses, how to log in, three lines to try, where the metrics are."""
    file = env_file(directory).relative_to(CHECKOUT)
    env = read_env_file(env_file(directory))
    url = env["ADRELAY_URL"]
    return f"""
Adrelay is ready.

  API         {url}     (OpenAPI: {url}/openapi.json)
{_console(directory)}  sandbox     {env["SANDBOX_URL"]}     (plays the three ad platforms)
  Prometheus  {env["PROMETHEUS_URL"]}     (every process has /metrics, /healthz, /readyz)
{_management(directory)}  logs        {directory.logs.relative_to(CHECKOUT)}/<name>.log
  settings    {file}     (admin {env["ADRELAY_ADMIN_EMAIL"]}; has passwords and keys)

Try it:

  . {file}
  TOKEN=$(.venv/bin/python -m infra.deploy.access_token)
  curl -sS $ADRELAY_URL/api/v1/campaigns -H "authorization: Bearer $TOKEN"
  curl -sS $ADRELAY_URL/api/v1/campaigns -H "authorization: Bearer $TOKEN" -H 'prefer: wait=5' \\
    -H 'content-type: application/json' -d '{EXAMPLE_CAMPAIGN}'
  .venv/bin/adrelay dead-letters list

'make demo' shows the whole story, 'make status' what runs, 'make down' (or Ctrl-C) ends it.
"""


def _console(directory: ServerDirectory) -> str:
    """Name the console, where admins see and mend everything."""
    urls = {process.name: process.url for process in planned(directory)}
    return f"  console     {urls['ops']}     (for admins: what happens, and mending it)\n"


def _management(directory: ServerDirectory) -> str:
    """Name RabbitMQ's own page, where the broker is a private one."""
    ports = kept_ports(directory)
    if ports is None or not Daemon(directory, rabbitmq.NAME).pid():
        return ""
    where = env_file(directory, "release").relative_to(CHECKOUT)
    name = f"{MANAGEMENT_URL} in {where} has user and password"
    return f"  RabbitMQ    http://127.0.0.1:{ports.management}     ({name})\n"


async def status_table(directory: ServerDirectory) -> str:
    """Write the table: name, state, port, process id, since when, restarts."""
    processes = planned(directory)
    if not processes:
        return "nothing has been started here yet ('make run' or 'make up')"
    rows = [("NAME", "STATE", "PORT", "PID", "SINCE (UTC)", "RESTARTS")]
    ports = _ports(directory)
    for name in (*STOP_SIGNALS, PROMETHEUS, SUPERVISOR):
        daemon = Daemon(directory, name)
        pid, since = daemon.pid(), daemon.started_at()
        if pid and since:
            rows.append((name, "running", ports.get(name, ""), str(pid), _format_time(since), ""))
    answers, statuses = await readiness.check_all_ready(processes), read_status(directory)
    rows += [_row(process, statuses.get(process.name), answers) for process in processes]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _ports(directory: ServerDirectory) -> dict[str, str]:
    """Give the ports of the servers by name; RabbitMQ's for clients and for its own page."""
    kept = kept_ports(directory)
    if kept is None:
        return {}
    return {
        postgres.NAME: str(kept.postgres),
        redis.NAME: str(kept.redis),
        rabbitmq.NAME: f"{kept.amqp} {kept.management}",
        rabbitmq.EPMD: str(kept.epmd),
        PROMETHEUS: str(kept.prometheus),
    }


def _row(
    process: Process, seen: ProcessStatus | None, answers: Mapping[str, str]
) -> tuple[str, str, str, str, str, str]:
    port = str(process.port)
    if seen is None or not seen.is_alive:
        state = f"down ({seen.last_exit})" if seen and seen.last_exit else "down"
        return (process.name, state, port, "", "", "")
    state = "not ready" if answers[process.name] else "ready"
    since = _format_time(datetime.fromisoformat(seen.since))
    return (process.name, state, port, str(seen.pid), since, str(seen.restarts))


def _format_time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
