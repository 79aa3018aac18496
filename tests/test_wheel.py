"""The wheel: it holds what a production process runs and nothing that only a checkout needs."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from infra.deploy.procfile import read_procfile
from tests.processes import ROOT

UV = ROOT / ".venv" / "bin" / "uv"
PACKAGES = ("schemas", "events", "infra", "handlers", "workers")
ONLY_IN_A_CHECKOUT = ("infra/sandbox/", "infra/deploy/", "infra/dashboards/", "tests/")


def run(*command: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # noqa: S603 - our own programs
        command,
        env={"PATH": os.environ["PATH"], **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = run(UV, "build", "--wheel", "--offline", "--no-cache", "--out-dir", folder, ROOT)
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel alone: the packages it needs come over ``PYTHONPATH``."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    made = run(UV, "venv", "--offline", "--python", sys.executable, folder)
    assert made.returncode == 0, made.stderr
    python = folder / "bin" / "python"
    done = run(UV, "pip", "install", "--offline", "--no-deps", "--python", python, wheel)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def dependencies() -> Mapping[str, str]:
    return {"PYTHONPATH": sysconfig.get_paths()["purelib"]}


def test_the_wheel_holds_every_module_and_data_file_of_production(wheel: Path) -> None:
    listed = run("git", "-C", ROOT, "ls-files", *PACKAGES).stdout.splitlines()
    wanted = {name for name in listed if not name.startswith(ONLY_IN_A_CHECKOUT)}
    packed = {name for name in ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name for name in packed if ".dist-info/" not in name} == wanted
    assert "infra/security/common_passwords.txt" in packed


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=() if x == "web" else pytest.mark.long) for x in read_procfile()],
)
def test_a_process_of_the_wheel_refuses_a_wrong_setting_in_one_line(
    installed: Path, name: str, tmp_path: Path
) -> None:
    words = read_procfile()[name].split()[1:]
    code = "import os, sys; os.chdir(sys.argv.pop(1)); os.execv(sys.executable, sys.argv[1:])"
    python = str(installed / "python")
    done = run(*(python, "-c", code, str(tmp_path), python, *words), PORT="none", **dependencies())
    assert done.returncode == 1
    assert done.stderr.startswith("PORT: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [("--help",), ("dead-letters", "list", "--help"), ("settings",), ("keys", "generate")]
)
def test_the_command_line_of_the_wheel_starts(installed: Path, words: tuple[str, ...]) -> None:
    done = run(installed / "adrelay", *words, **dependencies())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_keys_of_the_wheel_rotate_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    files = ("--env", str(tmp_path / "env"), "--auth-env", str(tmp_path / "auth.env"))
    done = run(installed / "adrelay", "keys", "rotate", *files, **dependencies())
    assert done.returncode == 1
    assert done.stderr == f"Refused: there is no file {tmp_path / 'env'}.\n"
