"""``bench cite``: a table or a cell, with where it comes from and how to get, rebuild and verify it."""

from collections.abc import Iterable, Mapping

import pandas as pd

from benchmarks.evidence import agreement, citing
from benchmarks.studies import catalog
from pipelines import manifest, names, parameters, release, revisions, stages
from pipelines.stages import Stage


def cite(name: str | None, rows: list[str], columns: list[str], form: str) -> str:
    """What ``bench cite`` prints.

    Args:
        name: a table; a claim, check or configuration, for its rows; a study, for the list of its tables.
        rows: ``column=value`` each.
        form: text, bibtex, latex or markdown.

    Raises:
        CitingError, UnknownNameError, ManifestError: for what is not there, or a table that is not the one that the
            manifest names.
    """
    named, tables = manifest.load(), revisions.tables(None)
    manifest.require_tables(named, tables, "results/tables")
    if name is None:
        return _titles(tables)
    training = stages.training(parameters.load())
    found = names.find(name, training, first=("table", "claim", "check"))
    if found.kind == "study" and len(own := _of_study(found.name)) != 1:
        return _titles(table for table in own if table in tables)
    name, chosen = _place(found, training, tables)
    if name not in tables:
        raise citing.CitingError(f"results/tables has no {name}.csv: `bench repro {name}` makes it")
    rows = [*chosen, *rows]
    card, table = catalog.cards()[name], agreement.read(tables[name])
    picked = citing.select(table, card, rows)
    revision = revisions.last_change_of(named["tables"][name]["path"]) or "unknown"
    version, since = named["version"], _released(name, named)
    if since is not None:
        version += f"+{revision[:12]}"  # not the table of that release
    entry = citing.bibtex(manifest.citation(), version, revision, (name, card))
    if form == "bibtex":
        return entry
    if form in ("latex", "markdown"):
        shown = columns or citing.usual_columns(picked, card)
        if form == "markdown":
            return citing.markdown_table(picked, shown)
        return citing.latex_table(picked, shown, f"{card.title} (version {version}).", name)
    path = named["tables"][name]["path"]
    lines = [entry, "", f"table     {path}, {len(table)} rows, version {version}, schema {card.schema}"]
    lines.append(f"sha256    {named['tables'][name]['sha256']}")
    cells = (
        [citing.cell(row, card, column) for _, row in picked.iterrows() for column in columns or [None]] if rows else []
    )
    lines += [f"cell      {cell.row}, {cell.column}: {cell}" for cell in cells]
    target = f" {found}" if (found := _target(picked, name)) else ""
    lines += [f"note      {since}"] if since else []
    lines.append(f"get       git show {revision}:{path}, or dvc get REPOSITORY {path} --rev {revision[:12]}")
    lines.append(f"rebuild   bench repro{target}" + (", then bench report for the table" if target else ""))
    if not name.startswith("timings/"):
        lines.append(f"verify    bench verify{target} --against {revision[:12]}")
    return "\n".join(lines)


def _titles(tables: Iterable[str]) -> str:
    return "\n".join(f"{table:<42}{catalog.cards()[table].title}" for table in tables)


def _of_study(name: str) -> list[str]:
    study = catalog.studies()[name]
    return [*study.tables, *(catalog.table_of(name, experiment) for experiment in study.experiments)]


def _place(found: names.Found, training: list[Stage], tables: Mapping[str, str]) -> tuple[str, list[str]]:
    """The table that something is in, and ``column=value`` of its rows there."""
    if found.kind == "table":
        return found.name, []
    if found.kind == "study":
        (table,) = _of_study(found.name)
        return table, []
    if found.claim is not None:
        return "claims", [f"{found.kind}={found.name}"]
    stage = names.needed(found, training)[0]
    if stage.table is not None:
        return stage.table, []
    family = catalog.part(stage.study, stage.group)
    axes = [axis for axis in stage.values if f"{{{axis}}}" in family.path.partition("/")[0]]
    cards = catalog.studies()[stage.study].tables
    for table in sorted(cards, key=lambda table: bool(cards[table].replicates)):  # first those over all seeds
        rows = agreement.read(tables[table]) if table in tables and set(axes) <= set(cards[table].columns) else ()
        if len(rows) and (rows[axes] == [stage.values[axis] for axis in axes]).all(axis=1).any():
            return table, [f"{axis}={stage.values[axis]}" for axis in axes]
    raise citing.CitingError(f"no table has a row for {found.name} yet: `bench repro {stage.study}` makes its tables")


def _released(name: str, named: dict) -> str | None:
    """How a table differs from that of the last release in this history; None if it is the same."""
    base = revisions.last_change_of(str(release.CHANGES))
    if base is None:
        return None
    entry = manifest.load(revisions.read(base, str(manifest.MANIFEST)))["tables"].get(name)
    if entry is None:
        return f"not in release {named['version']}: cite it with its commit"
    if entry["sha256"] != named["tables"][name]["sha256"]:
        return f"changed since release {named['version']}: cite it with its commit"
    return None


def _target(picked: pd.DataFrame, name: str) -> str:
    """The target of ``bench repro`` and ``bench verify`` that all these rows depend on; empty for everything."""
    if name == "claims":
        claims = picked["claim"].unique()
        return claims[0] if len(claims) == 1 else ""
    for study, one in catalog.studies().items():
        for experiment in one.experiments:
            if catalog.table_of(study, experiment) == name:
                return study if experiment.alone else experiment.name
        if name in one.tables:
            for family in one.families:
                pattern = family.path.partition("/")[0]
                axes = [axis for axis in picked if f"{{{axis}}}" in pattern]
                names = {pattern.format(**row) for row in picked[axes].to_dict("records")} if axes else ()
                if len(names) == 1 and "{" not in pattern.format(**dict.fromkeys(axes, "")):
                    return names.pop()
            return study
    return ""
