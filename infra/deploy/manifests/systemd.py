"""Writes the units of systemd: one for each process, one for the release, and a target."""

from collections.abc import Sequence

from infra.commands.secret_files import PROCESS_FILES
from infra.deploy.manifests.processes import STOP_SECONDS, ProcessPlan, plan_processes
from infra.deploy.procfile import RELEASE, read_procfile

PREFIX = "/opt/adrelay"
CONFIGURATION = "/etc/adrelay"
TARGET = "adrelay.target"
# What a process of Adrelay never needs (systemd.exec(5)).
SANDBOXING = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
CapabilityBoundingSet=
UMask=0077
"""


def write_units() -> dict[str, str]:
    """Write every unit, by its file name."""
    plans = plan_processes()
    return {
        TARGET: _target([RELEASE, *(plan.name for plan in plans)]),
        f"adrelay-{RELEASE}.service": _release(),
        **{f"adrelay-{plan.name}.service": _process(plan) for plan in plans},
    }


def _target(names: Sequence[str]) -> str:
    wanted = "".join(f"Wants=adrelay-{name}.service\n" for name in names)
    return (
        "# systemctl enable --now adrelay.target starts all of Adrelay.\n"
        "[Unit]\nDescription=Adrelay\nDocumentation=file:/opt/adrelay/docs/deploying.md\n"
        f"{wanted}\n[Install]\nWantedBy=multi-user.target\n"
    )


def _environment(name: str) -> str:
    """List the files that a process reads, the later ones over the earlier ones."""
    files = [f"{CONFIGURATION}/settings.env"]
    files += [f"{CONFIGURATION}/secrets/{file}.env" for file in PROCESS_FILES[name]]
    optional = f"EnvironmentFile=-{CONFIGURATION}/local.env\n"
    return "".join(f"EnvironmentFile={file}\n" for file in files) + optional


def _command(command: str) -> str:
    return command.replace("python", f"{PREFIX}/.venv/bin/python", 1)


def _release() -> str:
    command = read_procfile()[RELEASE]
    return (
        "[Unit]\nDescription=Adrelay: migrate the database, declare the broker's queues\n"
        "After=network-online.target postgresql.service rabbitmq-server.service\n"
        "Wants=network-online.target\n\n"
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=adrelay\nGroup=adrelay\n"
        f"WorkingDirectory={PREFIX}\n{_environment(RELEASE)}ExecStart={_command(command)}\n"
        f"Restart=on-failure\nRestartSec=5\nTimeoutStartSec=300\n{SANDBOXING}"
    )


def _process(plan: ProcessPlan) -> str:
    return (
        f"[Unit]\nDescription=Adrelay: {plan.name}\nPartOf={TARGET}\n"
        f"Wants=adrelay-{RELEASE}.service\nAfter=adrelay-{RELEASE}.service\n"
        "StartLimitIntervalSec=0\n\n"
        "[Service]\nType=exec\nUser=adrelay\nGroup=adrelay\n"
        f"WorkingDirectory={PREFIX}\n{_environment(plan.name)}"
        f"Environment=HOST=127.0.0.1 PORT={plan.port}\n"
        f"ExecStartPre={_command(read_procfile()[RELEASE])} --wait\n"
        f"ExecStart={_command(plan.command)}\nTimeoutStartSec=infinity\n"
        "Restart=always\nRestartSec=2\n"
        f"TimeoutStopSec={STOP_SECONDS}\nMemoryMax={4 * plan.scale.memory}M\n"
        f"{SANDBOXING}"
    )
