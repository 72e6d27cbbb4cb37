"""Every configuration in params.yaml, with what is needed to reproduce its numbers."""

import io
from collections.abc import Iterable
from dataclasses import dataclass

from ruamel.yaml import YAML

from pipelines.files import read_json
from pipelines.stages import Stage


@dataclass(frozen=True)
class Configuration:
    """A configuration of a study.

    Attributes:
        settings: resolved, as YAML.
        code: its fingerprint.
        addresses: the DVC addresses of its stages.
        commits: the commits at which they ran.
        seconds: how long they took.
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
        """Its HTML anchor on tables.html."""
        return f"configuration-{self.study}-{self.name}"


def described(training: Iterable[Stage]) -> list[Configuration]:
    """All of them, in the order of studies and names."""
    groups: dict[tuple[str, str], list[Stage]] = {}
    for stage in training:
        groups.setdefault((stage.study, stage.name), []).append(stage)
    configurations = []
    for (study, name), members in sorted(groups.items()):
        records = [read_json(stage.meta) for stage in members]
        configurations.append(
            Configuration(
                study,
                name,
                _yaml(members[0].settings.model_dump()),
                read_json(members[0].code)["fingerprint"],
                sorted(stage.address for stage in members),
                sorted({record["commit"] for record in records}),
                sum(record["wall_s"] for record in records),
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
