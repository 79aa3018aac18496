"""``python -m infra.deploy.manifests.build``: writes the generated files of ``infra/deploy``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from infra.deploy.manifests.kubernetes import write_base, write_scaling
from infra.deploy.manifests.monitoring import write_configuration, write_rules
from infra.deploy.manifests.settings_file import write_settings_file
from infra.deploy.manifests.systemd import write_units

FOLDER = Path(__file__).resolve().parents[1]
KUBERNETES = FOLDER / "kubernetes"
WRITTEN = "# Written by python -m infra.deploy.manifests.build.\n"


class PlainDumper(yaml.SafeDumper):
    """Writes every value in full: no anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Repeat what occurs twice."""
        return True


def write_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Write documents as YAML, with the line that says how the file is made."""
    texts = (yaml.dump(d, Dumper=PlainDumper, sort_keys=False, width=100) for d in documents)
    return WRITTEN + "---\n".join(texts)


def write_files() -> dict[Path, str]:
    """Write the text of each generated file, by its path."""
    return {
        FOLDER / "settings.env": write_settings_file(),
        KUBERNETES / "base" / "settings.env": write_settings_file(quote=str),
        KUBERNETES / "base" / "processes.yaml": write_yaml(write_base()),
        KUBERNETES / "components" / "scaling" / "scaled-objects.yaml": write_yaml(write_scaling()),
        KUBERNETES / "components" / "monitoring" / "rules.yaml": write_yaml(write_rules()),
        FOLDER / "prometheus" / "prometheus.yaml": write_yaml([write_configuration()]),
        **{FOLDER / "systemd" / name: WRITTEN + text for name, text in write_units().items()},
    }


def main() -> None:
    """Write them all."""
    for path, text in write_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
