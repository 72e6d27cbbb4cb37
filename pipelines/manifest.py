"""results/MANIFEST.json: what every table is made of, and whether the tables, parameters, code and locks here agree."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.evidence.agreement import read as read_table
from benchmarks.evidence.cards import CARDS, Card
from pipelines import finished, provenance, tracking
from pipelines.files import read_json
from pipelines.parameters import Parameters

MANIFEST = Path("results/MANIFEST.json")
CITATION = Path("CITATION.cff")
# Versions that decide how floats round; others are told and not compared.
NUMERIC = ("python", "torch", "numpy", "scipy", "pandas")


class ManifestError(ValueError):
    """The manifest disagrees with what is here; a line per fault, and what to do."""


def build(checked: Parameters, tables: Path, meta: Path, code: Path) -> dict:
    """The manifest.

    Args:
        tables, meta, code: the folders results/tables, runs-meta and results/code.
    """
    locks = _locks()
    described = {}
    for path in sorted(tables.rglob("*.csv")):
        name = path.relative_to(tables).with_suffix("").as_posix()
        card, text = CARDS[name], path.read_text(encoding="utf-8")
        trained = feeding(name, checked)
        metas = [read_json(meta / f"{where}.json") for where in trained.values()]
        described[name] = {
            "path": f"results/tables/{name}.csv",
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "schema": card.schema,
            "rows": text.count("\n") - 1,
            "columns": text.partition("\n")[0].split(","),
            "stage": card.stage,
            "lock": lock_hash(locks, card),
            "parameters": _hash(locks.get(card.stage, {}).get("params", {})),
            "data": _hash(checked.data.model_dump()),
            "code": code_hash(code, trained),
            "commits": sorted({told["commit"] for told in metas}),
            "environments": _distinct(environment_of(told, checked) for told in metas),
            "runs": sorted(run_ids(trained, checked, code)),
        }
    return {
        "version": version(),
        "profile": checked.profile,
        "parent_commit": provenance.commit(),
        "parameters": _hash(checked.model_dump()),
        "data": {"source": checked.data.source, **checked.data.sha256.model_dump()},
        "tables": described,
    }


def feeding(table: str, checked: Parameters) -> dict[tuple[str, str, str], str]:
    """The stages whose numbers a table holds: (study, configuration, stack), and where in runs-meta their word is."""
    stage = CARDS[table].stage
    if stage == "judge":
        parts = [feeding(name, checked) for name in CARDS if name != table and not name.startswith("timings/")]
        return {key: where for part in parts for key, where in part.items()}
    if stage in _TABULATED:
        found = {}
        for study, configuration, folder in finished.places(checked, Path()):
            if study == _TABULATED[stage]:
                stack = folder.name if study in checked.studies else ""
                found[study, configuration, stack] = folder.as_posix()
        return found
    path, _, name = stage.partition(":")
    study, name = Path(path).parent.name, name.rpartition("@")[2]
    if name == "costs":  # its seconds are those of the steps
        name = "optimizer_steps"
    return {(study, name, ""): f"{study}/{name}"}


# The root stages that make a study's tables of its runs.
_TABULATED = {"tabulate": "progressive_sharpening", "answer": "low_rank_progression", "compare": "optimizer_comparison"}


def run_ids(trained: Iterable[tuple[str, str, str]], checked: Parameters, code: Path) -> list[str]:
    """The W&B ids of the runs of these stages; a computed table has none."""
    found = []
    for study, configuration, stack in trained:
        seeds = seeds_of(study, configuration, stack, checked)
        if seeds:
            settings = checked.settings(study, configuration)
            identity = provenance.identity(settings, checked, code / study / f"{configuration}.json")
            found += [tracking.run_id(study, configuration, seed, identity) for seed in seeds]
    return found


def seeds_of(study: str, configuration: str, stack: str, checked: Parameters) -> Iterable[int]:
    """The seeds of a training stage's runs; none of a stage that keeps none."""
    if study in checked.studies:
        runs = {(name, part): seeds for name, part, seeds in checked.studies[study].runs()}
        return runs.get((configuration, stack), ())
    ladder, comparison = checked.low_rank_progression, checked.optimizer_comparison
    if study == "low_rank_progression" and configuration in ladder.rungs:
        return range(1, ladder.settings(configuration)["seeds"] + 1)
    contests = {f"{w}-{o}" for w, o in comparison.contests()} if study == "optimizer_comparison" else ()
    return comparison.protocol.seeds if configuration in contests else ()


def code_hash(code: Path, trained: Iterable[tuple[str, str, str]]) -> str:
    """One hash of the fingerprints of these stages."""
    names = sorted({f"{study}/{configuration}" for study, configuration, _ in trained})
    return _hash({name: read_json(code / f"{name}.json")["fingerprint"] for name in names})


def lock_hash(locks: dict[str, dict], card: Card) -> str | None:
    """The hash of the DVC lock entry of the stage that writes a table; None if it has none yet."""
    entry = locks.get(card.stage)
    return _hash(entry) if entry else None


def inputs(stages: Iterable[str]) -> set[str]:
    """The paths that these stages read when they last ran, by their addresses."""
    locks = _locks()
    return {entry["path"] for stage in stages for entry in locks.get(stage, {}).get("deps", [])}


def environment_of(told: dict, checked: Parameters) -> dict:
    """Where a stage ran, from its word in runs-meta: what decides how floats round."""
    return {
        **told["hardware"],
        "versions": told["versions"],
        "device": told.get("device", "cpu"),  # what an older record does not tell
        **checked.compute.model_dump(include={"dtype", "threads"}),
    }


def differences(entry: dict, here: dict) -> list[str]:
    """How this environment differs from those that made a table, in words; none on the same machine.

    Processors of one name and different families round differently: a record without a family is of another machine.
    Kernels that an older record does not tell are not compared.

    Args:
        entry: the table's, of the manifest.
    """
    found = []
    for there in entry["environments"]:
        for name in ("processor", "family", "device", "gpu", "driver", "cuda", "cudnn", "dtype", "threads"):
            if there.get(name) != here.get(name):
                found.append(f"{name} {here.get(name)} (was {there.get(name, 'not recorded')})")
        if "kernels" in there and there["kernels"] != here.get("kernels"):
            found.append(f"kernels {here.get('kernels')} (was {there['kernels']})")
        for name in NUMERIC:
            if there["versions"][name] != here["versions"][name]:
                found.append(f"{name} {here['versions'][name]} (was {there['versions'][name]})")
    return list(dict.fromkeys(found))


def require_tables(manifest: dict, tables: dict[str, str], where: str) -> None:
    """Every table must be, byte for byte, the one that the manifest names.

    Args:
        tables: text by name (`pipelines.revisions.tables`).

    Raises:
        ManifestError: naming each that is missing, unknown or changed.
    """
    faults = [f"{name} is in the manifest and not in {where}" for name in manifest["tables"] if name not in tables]
    for name, text in tables.items():
        entry = manifest["tables"].get(name)
        if entry is None:
            faults.append(f"{name} is in {where} and not in the manifest")
        elif hashlib.sha256(text.encode()).hexdigest() != entry["sha256"]:
            missing = [column for column in entry["columns"] if column not in text.partition("\n")[0].split(",")]
            how = f"lacks the column {', '.join(missing)}" if missing else "is not the table that the manifest names"
            faults.append(f"{name} in {where} {how}: it was edited, or made anew without the manifest")
    if faults:
        raise ManifestError(
            "tables and results/MANIFEST.json disagree:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\n`git checkout -- results` brings the committed ones back, `dvc repro` makes both anew"
        )


def require_agreement(manifest: dict, checked: Parameters, tables: dict[str, str], code: Path) -> None:
    """The manifest must agree with the tables, cards, parameters, fingerprints, locks and version here.

    Raises:
        ManifestError: naming everything that disagrees.
    """
    require_tables(manifest, tables, "results/tables")
    faults = []
    if manifest["version"] != version():
        faults.append(f"version {manifest['version']}, {CITATION} has {version()}")
    if manifest["parameters"] != _hash(checked.model_dump()):
        faults.append("its parameters are not those of params.yaml")
    locks = _locks()
    for name, entry in manifest["tables"].items():
        card = CARDS.get(name)
        if card is None:
            faults.append(f"{name} has no data card")
            continue
        table = read_table(tables[name])
        missing = card.undocumented(table.columns, table[card.by].unique() if card.by in table else ())
        faults += [f"{name}: {column} has no entry in its data card" for column in missing]
        if entry["schema"] != card.schema:
            faults.append(f"{name} has schema {entry['schema']}, its card {card.schema}")
        if entry["lock"] != lock_hash(locks, card):
            faults.append(f"{name}: the lock entry of {card.stage} is another one")
        if entry["code"] != code_hash(code, feeding(name, checked)):
            faults.append(f"{name}: the code fingerprints are others")
    if faults:
        raise ManifestError(
            f"{MANIFEST} disagrees with what is here:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\n`dvc repro` rebuilds what is stale and the manifest last"
        )


def load(text: str | None = None) -> dict:
    """The manifest here, or from its text.

    Raises:
        ManifestError: if there is none, or it cannot be read.
    """
    if text is None:
        if not MANIFEST.is_file():
            raise ManifestError(f"no {MANIFEST}: `dvc repro` makes it")
        text = MANIFEST.read_text(encoding="utf-8")
    try:
        manifest = json.loads(text)
        manifest["tables"], manifest["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{MANIFEST} is not readable ({error}): `git checkout -- {MANIFEST}`") from None
    return manifest


def version() -> str:
    """Of the software and the results, from CITATION.cff; "0.0.0" where there is no such file (a scratch workspace)."""
    return str(citation().get("version", "0.0.0"))


def citation() -> dict:
    """CITATION.cff; empty where there is none."""
    return YAML(typ="safe", pure=True).load(CITATION.read_text(encoding="utf-8")) if CITATION.is_file() else {}


def here(checked: Parameters) -> dict:
    """The environment of this process, as `environment_of`."""
    return environment_of(provenance.told(0.0, checked.compute.device), checked)


def _locks() -> dict[str, dict]:
    """Every lock entry, by the stage's address as cards give it."""
    found = {}
    yaml = YAML(typ="safe", pure=True)
    for path in [Path("dvc.lock"), *sorted(Path("pipelines").glob("*/dvc.lock"))]:
        if path.is_file():
            prefix = "" if path.parent == Path() else f"{path.parent.as_posix()}/dvc.yaml:"
            stages = yaml.load(path.read_text(encoding="utf-8")).get("stages") or {}
            found |= {f"{prefix}{name}": entry for name, entry in stages.items()}
    return found


def _distinct(values: Iterable[dict]) -> list[dict]:
    kept = {json.dumps(value, sort_keys=True): value for value in values}
    return [kept[key] for key in sorted(kept)]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
