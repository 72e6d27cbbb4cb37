"""Every configuration that params.yaml asks for, with what it takes to make its numbers again."""

import io
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from pipelines import rebuild
from pipelines.files import read_json
from pipelines.parameters import Parameters


@dataclass(frozen=True)
class Configuration:
    """A configuration of a study.

    Attributes:
        settings: resolved, as YAML.
        code: its fingerprint.
        addresses: of its stages, as DVC has them.
        commits: at which they ran.
        seconds: that they took.
    """

    study: str
    name: str
    settings: str
    code: str
    addresses: list[str]
    commits: list[str]
    seconds: float

    @property
    def anchor(self) -> str:
        """Of its place on a page."""
        return f"configuration-{self.study}-{self.name}"


def described(checked: Parameters, code: Path, meta: Path) -> list[Configuration]:
    """All of them, in the order of studies and of params.yaml.

    Args:
        code, meta: the folders results/code and runs-meta.
    """
    found: dict[tuple[str, str], list[rebuild.TrainingStage]] = {}
    for stage in rebuild.training_stages(checked):
        found.setdefault((stage.study, stage.configuration), []).append(stage)
    configurations = []
    for (study, name), stages in sorted(found.items()):
        told = [read_json(meta / study / (f"{name}/{s.stack}.json" if s.stack else f"{name}.json")) for s in stages]
        configurations.append(
            Configuration(
                study,
                name,
                _yaml(checked.settings(study, name)),
                read_json(code / study / f"{name}.json")["fingerprint"],
                sorted(stage.address for stage in stages),
                sorted({entry["commit"] for entry in told}),
                sum(entry["wall_s"] for entry in told),
            )
        )
    return configurations


def _yaml(value: dict) -> str:
    text, yaml = io.StringIO(), YAML()
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    yaml.default_flow_style = None
    yaml.width = 100
    yaml.dump(value, text)
    return text.getvalue()
