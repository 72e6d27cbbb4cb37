"""``bench workspace``: a saved workspace and a report in W&B for each study.

What they show is derived: the panels from what the histories of the runs here hold, the figures, tables and claims from
the declarations. Without an account the specification is written to a file, and that is all.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import seaborn as sns

from benchmarks.evidence import chapter, mathematics
from benchmarks.evidence.register import Claim
from benchmarks.studies import catalog
from benchmarks.studies.declaration import Study
from pipelines import finished, layout, names, parameters, publish, stages, tracking
from pipelines.files import RUNS, read_json, write_json
from pipelines.stages import Stage

LIBRARY = "wandb-workspaces"
INSTALL = 'pip install ".[wandb]"'
# Stands for the user's account where there is none.
NOBODY = "your-account"
# In this order; the first three are open.
SECTIONS = ("loss", "sharpness", "modes", "accuracy", "rank", layout.OTHER)
OPEN = SECTIONS[:3]
MOST_COLUMNS = 8
TITLE_LENGTH = 128  # of a report, at W&B


class WorkspaceError(ValueError):
    """What keeps a workspace from being made or saved, and what to do."""


@dataclass(frozen=True)
class Shown:
    """What the workspace and the report of a study show.

    Attributes:
        metrics: those that the histories of its runs here hold.
        colours: of its configurations.
        columns: of the rows of its runs that its claims judge.
        missing: how many of its configurations have no runs here.
    """

    study: Study
    title: str
    metrics: frozenset[str]
    colours: dict[str, str]
    columns: tuple[str, ...]
    claims: dict[str, Claim]
    missing: int

    @property
    def tables(self) -> list[str]:
        own = [catalog.table_of(self.study.name, experiment) for experiment in self.study.experiments]
        return [*self.study.tables, *own]


@dataclass(frozen=True)
class Panel:
    """A line plot: metrics against an axis, by their names in W&B."""

    title: str
    section: str
    lines: tuple[str, ...]
    axis: str


def write(study: str | None, must_save: bool = False) -> list[str]:
    """Write the workspace and the report of a study, or of each; save them online if the user's W&B is; returns lines
    that say what was done.

    Args:
        must_save: a file is not enough.

    Raises:
        WorkspaceError: if the library is missing, or if they were to be saved and were not.
        UnknownNameError: if there is no such study.
        TrackingError: for a setting that W&B does not take.
    """
    tracking.require_settings()
    if tracking.is_disabled():
        raise tracking.TrackingError("WANDB_MODE is disabled: set it to offline to have the files, or unset it")
    _require_library()
    training = stages.training(parameters.load())
    asked = [names.find(study, training, only=("study",)).name] if study else list(catalog.studies())
    why = tracking.why_offline()
    account = None if why else _entity()
    lines = []
    for name in asked:
        one = shown(name, publish.with_runs(names.needed(names.Found("study", name), training)))
        links = _write(one, account)
        lines.append(f"{name}: {' '.join(links) if links else file_of(name)}")
        if one.missing:
            lines.append(f"    {one.missing} of its stages have no runs here: `dvc pull` restores them")
    if not why:
        return lines
    todo = "run `wandb login`" if why == tracking.NO_KEY else "unset WANDB_MODE, or run `wandb online`"
    said = f"{why}: to have them online, {todo}, then `bench publish` and `bench workspace`"
    if must_save or tracking.is_asked_online():
        raise WorkspaceError(f"not saved online, only to {file_of(asked[0]).parent}/: {said}")
    return [*lines, said]


def file_of(study: str) -> Path:
    return Path(os.environ.get("WANDB_DIR", ".")) / "wandb" / "workspaces" / f"{study}.json"


def shown(name: str, training: list[Stage]) -> Shown:
    """What there is to show of a study, from its declaration and the runs here."""
    metrics, columns, missing = set(), set(), 0
    for stage in training:
        if not (RUNS / stage.path / "run.json").is_file():
            missing += 1
            continue
        history, rows = finished.tracked(finished.load(RUNS / stage.path))
        metrics |= set(history["metric"])
        columns |= set(rows)
    configurations = list(dict.fromkeys(stage.name for stage in training))
    colours = sns.husl_palette(len(configurations)).as_hex() if configurations else []
    claims = {key: claim for key, claim in catalog.registered().items() if claim.study == name}
    read = (name for claim in claims.values() for check in claim.checks.values() for _, name in check.estimator.reads)
    judged = dict.fromkeys(column for name in read if name for column in (name, f"net/{name}") if column in columns)
    return Shown(
        study=catalog.studies()[name],
        title=layout.title_of(name),
        metrics=frozenset(metrics),
        colours=dict(zip(configurations, colours)),
        columns=tuple(judged)[:MOST_COLUMNS],
        claims=claims,
        missing=missing,
    )


def panels(metrics: Iterable[str]) -> list[Panel]:
    """The panels of these metrics of histories, each of which is in one.

    A quantity is in one panel with that of the networks beside it, and a sharpness with its threshold; the modes of
    each network have a panel of their own, against its time if it has one.
    """
    metrics = set(metrics)
    met = layout.met(metrics)
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for metric in sorted(metrics):
        section = layout.section(metric)
        network = metric.rpartition("/")[0] if section == "modes" else ""
        grouped.setdefault((section, network, layout.quantity(metric)), []).append(metric)
    made = []
    for (section, network, quantity), members in grouped.items():
        lines = [layout.key(metric) for metric in sorted(members, key=lambda one: (len(one), one))]
        if section == "sharpness" and met is not None:
            lines.append(layout.threshold(quantity if quantity in layout.MET else layout.MET[-1]))
        axes = {layout.axis(metric, metrics) for metric in members}
        words = quantity.replace("_", " ")
        title = f"{words} of {network}" if network else words
        made.append(Panel(title, section, tuple(lines), axes.pop() if len(axes) == 1 else layout.STEP))
    # What decides comes first: plain `loss` and `sharpness`.
    return sorted(made, key=lambda one: (SECTIONS.index(one.section), len(one.title), one.title))


def workspace_of(one: Shown, entity: str):
    """The study's `wandb_workspaces.workspaces.Workspace`."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    study, has_runs = one.study.name, bool(one.metrics)
    made = panels(one.metrics)
    sections = [
        ws.Section(
            name=section,
            panels=[_line_plot(panel, one) for panel in made if panel.section == section],
            is_open=section in OPEN,
        )
        for section in SECTIONS
        if any(panel.section == section for panel in made)
    ]
    sections += [
        ws.Section(name="figures", panels=_figure_panels(one), is_open=not has_runs),
        ws.Section(name="tables", panels=_table_panels(one), is_open=not has_runs),
    ]
    paths = {ws.GroupPath(study, name): colour for name, colour in one.colours.items()}
    return ws.Workspace(
        entity=entity,
        project=tracking.project(),
        name=one.title,
        sections=[section for section in sections if section.panels],
        settings=ws.WorkspaceSettings(x_axis=layout.STEP, max_runs=max(10, len(one.colours))),
        runset_settings=ws.RunsetSettings(
            filters=[
                expr.Config("study").isin([study, layout.RESULTS]),
                expr.Config("profile") == tracking.profile(),
            ],
            groupby=[expr.Config("study"), expr.Config("configuration")],
            order=[expr.Ordering(expr.Config("configuration")), expr.Ordering(expr.Config("seed"))],
            group_colors=paths,
            pinned_columns=["run:displayName", *(f"summary:{column}" for column in one.columns)],
        ),
    )


def report_of(one: Shown, entity: str):
    """The study's `wandb_workspaces.reports.v2.Report`: its question, claims, figures, runs and tables."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    def runs(name: str, *by: str):
        mine = [expr.Config("study") == name, expr.Config("profile") == tracking.profile()]
        # Of the report's own project.
        return wr.Runset(name=name, filters=mine, groupby=[f"config.{key}" for key in by])

    study, project, say = one.study.name, tracking.project(), mathematics.plain
    verdicts = f"{tracking.app_url()}/{entity}/{project}/artifacts/results-table/claims/latest"
    blocks = [wr.H1("The question")]
    if section := chapter.load(catalog.sections()).get(study):
        blocks += [wr.P(say(section.known)), wr.P(f"Open: {say(section.open)}")]
    if one.claims:
        told = [
            [wr.Link(name, url=verdicts), f": {say(claim.title)}. {say(claim.statement)}"]
            for name, claim in one.claims.items()
        ]
        blocks += [wr.H1("Claims, each with a link to its verdict"), wr.UnorderedList(items=told)]

    def results(shown: list):
        return wr.PanelGrid(runsets=[runs(layout.RESULTS, "configuration")], panels=shown)

    for figure, panel in zip(one.study.figures, _figure_panels(one)):
        blocks += [wr.H2(panel.title), wr.P(figure.caption), results([panel])]
    made = panels(one.metrics)
    for name in OPEN:
        if drawn := [_line_plot(panel, one) for panel in made if panel.section == name]:
            mine = runs(study, "study", "configuration")
            colours = {
                wr.RunsetGroup(runset_name=study, keys=tuple(_group_keys(wr, study, configuration))): colour
                for configuration, colour in one.colours.items()
            }
            grid = wr.PanelGrid(runsets=[mine], panels=drawn, custom_run_colors=colours)
            blocks += [wr.H1(f"Runs: {name}"), grid]
    blocks += [wr.H1("Tables"), results(_table_panels(one))]
    return wr.Report(project=project, entity=entity, title=one.title[:TITLE_LENGTH], blocks=blocks, width="fluid")


def _group_keys(wr, study: str, configuration: str) -> list:
    """Of a group of runs in a report's grid."""
    named = {"study": study, "configuration": configuration}
    return [wr.RunsetGroupKey(wr.Config(key), value) for key, value in named.items()]


def _line_plot(panel: Panel, one: Shown):
    """Mean over the seeds of a configuration, with a band from the least to the greatest: the runs are grouped, and a
    plot without a grouping of its own takes theirs, colours and all."""
    import wandb_workspaces.reports.v2 as wr

    return wr.LinePlot(
        title=panel.title,
        x=panel.axis,
        y=list(panel.lines),
        log_y=panel.section == "loss" or None,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=len(one.colours),
        smoothing_type="none",
    )


def _figure_panels(one: Shown) -> list:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.MediaBrowser(
            title=figure.name,
            media_keys=[layout.figure_key(figure.name)],
            num_columns=1,
            layout=wr.Layout(w=24, h=16),
        )
        for figure in one.study.figures
    ]


def _table_panels(one: Shown) -> list:
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.WeavePanelSummaryTable(table_name=layout.table_key(table), layout=wr.Layout(w=24, h=12))
        for table in one.tables
    ]


def _require_library() -> None:
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError:
        raise WorkspaceError(f"`bench workspace` needs {LIBRARY}, which is not installed: {INSTALL}") from None


def _entity() -> str:
    """Whose project it is, at the server."""
    import wandb

    try:
        found = os.environ.get("WANDB_ENTITY") or wandb.Api(timeout=tracking.STAGE_TIMEOUT_S).default_entity
    except Exception as error:  # of many kinds, by what is wrong with the connection or the key
        raise _refused("did not answer", error, "check the connection, and the key: `wandb login --relogin`") from None
    if not found:
        raise WorkspaceError("W&B does not say whose account this is: set WANDB_ENTITY to its name")
    return found


def _write(one: Shown, account: str | None) -> list[str]:
    """Write the file; if there is an account, save both there first; returns their links."""
    path = file_of(one.study.name)
    saved = read_json(path) if path.is_file() else {}
    entity = account or saved.get("entity", NOBODY)
    workspace, report = workspace_of(one, entity), report_of(one, entity)
    if saved.get("entity") == entity and saved.get("project") == tracking.project():
        # They take the place of those of last time.
        workspace._internal_name, workspace._internal_id = saved["workspace"]["name"], saved["workspace"]["id"]
        report.id = saved["report"]["id"]
    links = []
    try:
        if account:
            links.append(workspace.save().url)
            # A title with a question mark would end the path of its address.
            links.append(quote(report.save().url, safe=":/=&"))
    except Exception as error:
        raise _refused(f"did not take {one.study.name}", error, "`bench publish` makes the project") from None
    finally:  # the half that was saved is known next time
        models = {"workspace": workspace._to_model(), "report": report._to_model()}
        written = {
            name: model.model_dump(mode="json", by_alias=True, exclude_none=True) for name, model in models.items()
        }
        write_json(path, {"entity": entity, "project": tracking.project(), "links": links, **written})
    return links


def _refused(what: str, error: Exception, todo: str) -> WorkspaceError:
    said = " ".join(str(error).split()) or type(error).__name__
    return WorkspaceError(f"W&B {what} ({said}): {todo}")
