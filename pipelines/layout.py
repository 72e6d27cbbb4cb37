"""How a run looks in W&B: the names of its metrics, and what people find, filter, group and colour it by.

A metric's name there is its own after a section, ``loss/train_loss``: W&B puts what has one section side by side.
"""

from benchmarks.evidence import chapter, mathematics
from benchmarks.studies import catalog

# The section of a metric, by the last word of its name.
SECTIONS = {
    "loss": "loss",
    "objective": "loss",
    "accuracy": "accuracy",
    "sharpness": "sharpness",
    "curvature": "sharpness",
    "quotient": "sharpness",
    "amplitude": "modes",
    "rank": "rank",
}
OTHER = "other"
STEP = "step"
# The axis of the network's own metrics, where its history has one.
TIME = "time"
# The sharpness that an optimizer meets: the first of these that its run measured.
MET = ("preconditioned_sharpness", "sharpness")
# What `study` is of the run that holds the tables and figures.
RESULTS = "results"


def quantity(metric: str) -> str:
    """Without the network that it is of, and without its number: ``amplitude`` of ``net/amplitude_3``."""
    return metric.rpartition("/")[2].rstrip("_0123456789")


def section(metric: str) -> str:
    return SECTIONS.get(quantity(metric).rpartition("_")[2], OTHER)


def key(metric: str) -> str:
    """The name in W&B of a metric of a history; `metric_of` is its inverse."""
    return f"{section(metric)}/{metric}"


def metric_of(name: str) -> str:
    """The metric of a history that a name in W&B, as of `key`, stands for."""
    return name.partition("/")[2]


def threshold(sharpness: str) -> str:
    """The name in W&B of the stability threshold that a sharpness is compared with."""
    return f"{section(sharpness)}/{sharpness}_threshold"


def met(metrics: set[str]) -> str | None:
    """The one of these metrics that the stability threshold is about."""
    return next((name for name in MET if name in metrics), None)


def axis(metric: str, metrics: set[str]) -> str:
    """The name in W&B of what a metric is drawn against: its network's time, if that is among the metrics, or steps."""
    network = metric.rpartition("/")[0]
    time = f"{network}/{TIME}" if network else TIME
    return key(time) if time in metrics and metric != time else STEP


def figure_key(figure: str) -> str:
    return f"figures/{figure}"


def slug(table: str) -> str:
    """The name of a table's artifact: W&B takes no slash in one."""
    return table.replace("/", "-")


def table_key(table: str) -> str:
    return f"tables/{slug(table)}"


def settings_of(settings: dict) -> dict:
    """The settings of a run, flat: ``optimizer`` is the name of the entry that the settings name so, ``optimizer_lr``
    its option. Empty ones, lists of lists and what lies deeper are left out: `settings` has them as they are."""
    flat: dict = {}
    for name, value in settings.items():
        if not isinstance(value, dict):
            flat |= _filled({name: value})
        elif "name" in value:
            flat |= _entry(name, value)
        else:
            flat |= _filled({key: one for key, one in value.items() if not isinstance(one, dict)})
            for key, one in value.items():
                flat |= _entry(key, one) if isinstance(one, dict) and "name" in one else {}
    return flat


def _entry(name: str, options: dict) -> dict:
    given = {f"{name}_{option}": one for option, one in options.items() if option != "name"}
    return {name: options["name"], **_filled(given)}


def _filled(options: dict) -> dict:
    """Those that a person can filter by; a list of numbers as one word."""
    flat = {}
    for name, value in options.items():
        if isinstance(value, list) and value and not any(isinstance(one, list | dict) for one in value):
            value = "-".join(map(str, value))
        if value is not None and not isinstance(value, list | dict):
            flat[name] = value
    return flat


def data_of(record: dict, flat: dict) -> str:
    """The kind of data that a run's settings name, or else the source of the data that its stage took."""
    data = record["data"] or {}
    return flat.get("data") or data.get("corpus", data).get("source", "none")


def tags_of(record: dict, flat: dict, profile: str, seed: int) -> list[str]:
    named = [flat[name] for name in ("optimizer", "architecture") if name in flat]
    tags = [record["study"], record["name"], profile, f"seed {seed}", *named, data_of(record, flat)]
    return list(dict.fromkeys(tags))


def notes_of(study: str, name: str) -> str:
    """One sentence: what a configuration is asked, by the claims that rest on it."""
    asked = [
        f"{key} ({mathematics.plain(claim.title)})"
        for key, claim in catalog.registered().items()
        if claim.study == study and name in claim.stages
    ]
    title = title_of(study)
    return f"{title}: asked by {', '.join(asked)}." if asked else f"{title}: no claim names {name}."


def title_of(study: str) -> str:
    """The title of a study's section, for a terminal; its name if it has none."""
    sections = chapter.load(catalog.sections())
    return mathematics.plain(sections[study].title) if study in sections else study
