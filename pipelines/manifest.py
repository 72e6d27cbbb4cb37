"""results/MANIFEST.json: what every table is made from, and whether the tables, parameters, code and locks agree.

As a stage it writes the file."""

import argparse
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.evidence.agreement import read as read_table
from benchmarks.studies import catalog
from benchmarks.studies.schema import Compute
from pipelines import files, fingerprints, parameters, provenance, stages, tracking
from pipelines.entry import stage
from pipelines.files import read_json, read_yaml, table_paths, write_json
from pipelines.stages import CITATION, MANIFEST, Stage

# Versions that affect rounding; others are recorded but not compared.
NUMERIC = ("python", "torch", "numpy", "scipy", "pytorch-optimizer", "pandas")

# So many stages are named that would run again; the others are counted.
SHOWN = 10


class ManifestError(ValueError):
    """The manifest does not match the files here; one line per fault, and what to do."""


@stage
def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    write_json(MANIFEST, build(parameters.load()))


def build(params: Any) -> dict:
    """The manifest of the tables, parameters, fingerprints, records and locks here."""
    locks, training = _locks(), stages.training(params)
    writers = stages.writers(training)
    described = {}
    for name, path in table_paths().items():
        card, text = catalog.cards()[name], path.read_text(encoding="utf-8")
        feeding, address = stages.feeding(name, training), writers[name]
        records = [read_json(one.meta) for one in feeding]
        described[name] = {
            "path": str(path),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "schema": card.schema,
            "rows": text.count("\n") - 1,
            "columns": text.partition("\n")[0].split(","),
            "stage": address,
            "lock": lock_hash(locks, address),
            "parameters": _hash([one.settings.model_dump() for one in feeding]),
            "data": _hash(stages.data_of(feeding, params)),
            "code": code_hash(feeding),
            "commits": sorted({record["commit"] for record in records}),
            "environments": _distinct(environment_of(record, one.compute) for record, one in zip(records, feeding)),
            "runs": sorted(id_ for one in feeding for id_ in run_ids(one)),
        }
    return {
        "version": version(),
        "profile": params.profile,
        "parent_commit": provenance.commit(),
        "parameters": _hash(params.model_dump()),
        "data": {
            "source": params.data.source,
            **params.data.sha256.model_dump(),
            **{key: value for key, value in stages.data_of(training, params).items() if key == "corpus"},
        },
        "tables": described,
    }


def run_ids(one: Stage) -> list[str]:
    """The W&B ids of a stage's runs; a computed table has none."""
    if one.table is not None:
        return []
    asked = read_json(one.code)
    return [tracking.id_of(asked | {"code": asked["fingerprint"]}, seed) for seed in one.seeds]


def code_hash(feeding: Iterable[Stage]) -> str:
    """One hash over the fingerprints of these stages."""
    return _hash({one.path: read_json(one.code)["fingerprint"] for one in feeding})


def lock_hash(locks: dict[str, dict], address: str) -> str | None:
    """The hash of a stage's DVC lock entry; None if it has none yet."""
    entry = locks.get(address)
    return _hash(entry) if entry else None


def environment_of(record: dict, compute: Compute) -> dict:
    """Where a stage ran, by its record in runs-meta: what decides how floats round."""
    return {
        **record["hardware"],
        "versions": record["versions"],
        "device": record["device"],
        **compute.model_dump(include={"dtype", "threads"}),
    }


def differences(entry: dict, here: dict) -> list[str]:
    """How this environment differs from those that made a table, in words; empty on the same machine.

    Processors with the same name but different families can round differently: a record without a family counts as
    another machine. Kernels and versions missing from an older record are not compared.

    Args:
        entry: the table's, of the manifest.
    """
    differing = []
    for there in entry["environments"]:
        for name in ("processor", "family", "device", "gpu", "driver", "cuda", "cudnn", "dtype", "threads"):
            if there.get(name) != here.get(name):
                differing.append(f"{name} {here.get(name)} (was {there.get(name, 'not recorded')})")
        if "kernels" in there and there["kernels"] != here.get("kernels"):
            differing.append(f"kernels {here.get('kernels')} (was {there['kernels']})")
        for name in NUMERIC:
            if name in there["versions"] and there["versions"][name] != here["versions"][name]:
                differing.append(f"{name} {here['versions'][name]} (was {there['versions'][name]})")
    return list(dict.fromkeys(differing))


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
            faults.append(f"{name} in {where} {how}: it was edited, or remade without the manifest")
    if faults:
        raise ManifestError(
            "tables and results/MANIFEST.json disagree:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\n`git checkout -- results` restores the committed ones, `dvc repro` remakes both"
        )


def require_agreement(manifest: dict, params: Any, tables: dict[str, str]) -> None:
    """The manifest must agree with the tables, cards, parameters, fingerprints, locks and version here.

    Raises:
        ManifestError: naming everything that disagrees.
    """
    require_tables(manifest, tables, "results/tables")
    faults = []
    if manifest["version"] != version():
        faults.append(f"version {manifest['version']}, {CITATION} has {version()}")
    if manifest["parameters"] != _hash(params.model_dump()):
        faults.append("its parameters are not those of params.yaml")
    locks, training = _locks(), stages.training(params)
    writers = stages.writers(training)
    for name, entry in manifest["tables"].items():
        card = catalog.cards().get(name)
        if card is None:
            faults.append(f"{name} has no data card")
            continue
        table = read_table(tables[name])
        missing = card.undocumented(table.columns, table[card.by].unique() if card.by in table else ())
        faults += [f"{name}: {column} has no entry in its data card" for column in missing]
        if entry["schema"] != card.schema:
            faults.append(f"{name} has schema {entry['schema']}, its card {card.schema}")
        if entry["lock"] != lock_hash(locks, writers[name]):
            faults.append(f"{name}: the lock entry of {writers[name]} has changed")
        if entry["code"] != code_hash(stages.feeding(name, training)):
            faults.append(f"{name}: the code fingerprints have changed")
    faults += _outdated(params, locks)
    if faults:
        raise ManifestError(
            f"{MANIFEST} disagrees with what is here:\n"
            + "\n".join(f"  {fault}" for fault in faults)
            + "\n`dvc repro` rebuilds what is stale and the manifest last"
        )


def _outdated(params: Any, locks: dict[str, dict]) -> list[str]:
    """What would run again, as far as it can be told without data: stages of which the code or the settings are not
    those in results/code, and stages that read a file here, as a register of claims, which they have not seen."""
    every = (*stages.training(params), *stages.following())
    changed = [one.address for one in every if fingerprints.changes(one, params, Path.cwd())]
    faults = [f"{address}: its code or settings have changed since it ran" for address in changed[:SHOWN]]
    if len(changed) > SHOWN:
        faults.append(f"{len(changed) - SHOWN} other stages likewise")
    for one in stages.following():
        for read in locks.get(one.address, {}).get("deps", []):
            path = Path(read["path"])
            if path.is_file() and hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != read["md5"]:
                faults.append(f"{one.address}: {path} has changed since it ran")
    return faults


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
    """Version of the software and the results, from CITATION.cff; "0.0.0" without that file (a scratch workspace)."""
    return str(citation().get("version", "0.0.0"))


def citation() -> dict:
    """CITATION.cff; empty where there is none."""
    return read_yaml(CITATION) if CITATION.is_file() else {}


def here(params: Any) -> dict:
    """The environment of this process, as `environment_of`."""
    return environment_of(provenance.record(0.0, params.compute.device), params.compute)


def _locks() -> dict[str, dict]:
    """Every lock entry, by its stage's address."""
    locks = {}
    for path in files.locks():
        prefix = "" if path.parent == Path() else f"{path.parent.as_posix()}/dvc.yaml:"
        entries = read_yaml(path).get("stages") or {}
        locks |= {f"{prefix}{name}": entry for name, entry in entries.items()}
    return locks


def _distinct(values: Iterable[dict]) -> list[dict]:
    kept = {json.dumps(value, sort_keys=True): value for value in values}
    return [kept[key] for key in sorted(kept)]


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


if __name__ == "__main__":
    main()
