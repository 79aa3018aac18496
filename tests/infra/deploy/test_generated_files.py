"""The generated files of the deployment are those that the code writes now."""

import re
from pathlib import Path

import pytest
import yaml

from infra.commands.secret_files import PROCESS_FILES, SECRET_FILES
from infra.deploy.manifests.build import FOLDER, write_files
from infra.deploy.manifests.processes import SCALES
from infra.deploy.manifests.settings_file import ELSEWHERE, OVERRIDES, SECRETS
from infra.deploy.procfile import RELEASE, SANDBOX, read_procfile
from infra.env_file import read_env_file
from infra.process import PORTS
from infra.settings import Settings
from tests.infra.deploy.rendering import run

FILES = write_files()
KNOWN = {name.upper() for name in Settings.model_fields}
UNITS = FOLDER / "systemd"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_generated_file_is_current(path: Path) -> None:
    assert path.read_text() == FILES[path], "run python -m infra.deploy.manifests.build"


def test_every_line_of_the_procfile_has_its_row() -> None:
    lines = set(read_procfile())
    assert set(SCALES) == lines - {RELEASE}
    assert set(PROCESS_FILES) == lines | {SANDBOX, "seed"}


def test_every_setting_is_in_a_file_or_has_the_reason_why_not() -> None:
    text = (FOLDER / "settings.env").read_text()
    listed = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE))
    needed_secrets = {name for names in SECRET_FILES.values() for name in names} & KNOWN

    assert listed | needed_secrets | set(ELSEWHERE) == KNOWN
    assert not listed & SECRETS
    assert not listed & set(ELSEWHERE)
    assert set(OVERRIDES) <= listed
    assert all(ELSEWHERE.values())


def test_the_settings_file_is_valid() -> None:
    values = read_env_file(FOLDER / "settings.env")
    settings = Settings.model_validate({name.lower(): value for name, value in values.items()})

    assert (settings.log_format, settings.limit_api) == ("json", "1000/15 minutes")


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """The program is replaced by this Python, since the installation is not here."""
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.target")]:
        text = unit.read_text().replace("/opt/adrelay/.venv/bin/python", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    names = sorted(tmp_path.iterdir())
    assert run("systemd-analyze", "verify", "--man=no", *names) == ""
    assert {path.name for path in names} == {
        "adrelay.target",
        *(f"adrelay-{name}.service" for name in read_procfile()),
    }


def test_the_target_starts_every_line_of_the_procfile() -> None:
    wanted = re.findall(
        r"^Wants=adrelay-(.+)[.]service$", (UNITS / "adrelay.target").read_text(), re.MULTILINE
    )
    assert set(wanted) == set(read_procfile())
    for name, command in read_procfile().items():
        unit = (UNITS / f"adrelay-{name}.service").read_text()
        assert f"ExecStart=/opt/adrelay/.venv/bin/{command}\n" in unit
        assert name == RELEASE or f"PORT={PORTS[name]}\n" in unit


def test_the_account_and_the_folders_are_made(tmp_path: Path) -> None:
    """In an empty root, which has no other accounts."""
    for folder in ("etc", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d"):
        (tmp_path / folder).mkdir(parents=True)
    root = f"--root={tmp_path}"
    run("systemd-sysusers", root, UNITS / "adrelay.sysusers")
    assert re.search(r"^adrelay:", (tmp_path / "etc" / "passwd").read_text(), re.MULTILINE)
    run("systemd-tmpfiles", root, "--create", UNITS / "adrelay.tmpfiles")
    assert (tmp_path / "etc" / "adrelay" / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_unit_reads_only_files_that_are_made() -> None:
    for unit in UNITS.glob("*.service"):
        files = re.findall(r"^EnvironmentFile=/etc/adrelay/(.+)$", unit.read_text(), re.MULTILINE)
        assert "settings.env" in files
        for file in set(files) - {"settings.env"}:
            assert file.removeprefix("secrets/").removesuffix(".env") in SECRET_FILES


def test_generated_yaml_is_read_again_as_it_was_meant() -> None:
    for path, text in FILES.items():
        if path.suffix == ".yaml":
            assert all(isinstance(document, dict) for document in yaml.safe_load_all(text))
