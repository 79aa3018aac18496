"""One line of the Procfile is one worker, and everything in the repository that repeats it."""

from infra.deploy.procfile import FIRST_PROBE_PORT, OWN_PORTS, RELEASE, commands, read_procfile
from infra.deploy.services.directories import CHECKOUT
from infra.process import PORTS


def workers() -> set[str]:
    entries = (CHECKOUT / "workers").iterdir()
    return {entry.stem for entry in entries if not entry.name.startswith(("__", "."))}


def test_every_line_but_the_release_is_one_module_of_workers() -> None:
    lines = {line for name, line in read_procfile().items() if name != RELEASE}

    assert lines == {f"python -m workers.{worker}" for worker in workers()}
    assert len(lines) == len(read_procfile()) - 1


def test_a_line_has_the_name_of_its_worker() -> None:
    for name, line in read_procfile().items():
        module = line.rpartition(".")[2]
        assert name in ({"ingress": "web"}.get(module, module), RELEASE)


def test_the_release_migrates() -> None:
    assert read_procfile()[RELEASE] == "python -m infra.commands migrate"


def test_the_port_of_a_worker_follows_from_the_order_of_the_lines() -> None:
    names = [name for name in read_procfile() if name not in (RELEASE, *OWN_PORTS)]
    ports = {name: FIRST_PROBE_PORT + index for index, name in enumerate(names)}

    wanted = {**ports, "web": OWN_PORTS["web"]}

    assert wanted == PORTS, f"a new line stands at the end, with the next port in PORTS: {wanted}"


def test_the_sandbox_runs_beside_the_procfile() -> None:
    assert set(commands()) - set(read_procfile()) == {"sandbox"}
    assert set(OWN_PORTS) <= set(commands())
