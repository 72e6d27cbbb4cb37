"""`bench workspace`: what it writes is read back with the library's own models, and sent to a server."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
import wandb_server

from benchmarks.studies import catalog
from pipelines import layout, workspace

library = pytest.importorskip("wandb_workspaces", reason='needs the extra: pip install ".[wandb]"')

STUDY = "progressive_sharpening"


@pytest.fixture
def space(workspace):
    """With the library, wherever it is installed."""
    place = str(Path(library.__file__).parents[1])

    def bench(*arguments, **options):
        path = os.pathsep.join([str(workspace.path), place])
        return type(workspace).bench(workspace, *arguments, **{"PYTHONPATH": path, **options})

    workspace.bench = bench
    return workspace


def specification(space, study):
    return json.loads((space.path / f"wandb/workspaces/{study}.json").read_text())


# What the library draws anew, and what it does not read.
DRAWN, UNREAD = ("id", "__id__", "ref"), ("layout", "width", "columnOrder")


def round_trip(made, model, interface):
    """What the library makes of what was written, and that."""
    again = interface._from_model(model.model_validate(made))._to_model()
    return anonymous(again.model_dump(mode="json", by_alias=True, exclude_none=True)), anonymous(made)


def anonymous(value):
    if isinstance(value, dict):
        return {key: anonymous(one) for key, one in value.items() if key not in DRAWN + UNREAD}
    return [anonymous(one) for one in value] if isinstance(value, list) else value


def panels_of(made):
    sections = made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def test_each_study_has_a_workspace_and_a_report_of_what_its_runs_logged(space):
    import wandb_workspaces.reports.v2.interface as reports
    import wandb_workspaces.reports.v2.internal as report_models
    import wandb_workspaces.workspaces.interface as workspaces
    import wandb_workspaces.workspaces.internal as workspace_models

    said = space.bench("workspace").stdout.splitlines()
    assert [line.partition(":")[0] for line in said[:-1]] == list(catalog.studies())
    assert said[-1].startswith("W&B is set to offline: to have them online, ")
    for name, study in catalog.studies().items():
        made = specification(space, name)
        assert made["links"] == [] and made["entity"] == workspace.NOBODY
        for part, model, interface in (
            ("workspace", workspace_models.View, workspaces.Workspace),
            ("report", report_models.ReportViewspec, reports.Report),
        ):
            again, written = round_trip(made[part], model, interface)
            assert again == written, (name, part)
        panels = panels_of(made)
        shown = [key for panel in panels.get("figures", ()) for key in panel["config"]["mediaKeys"]]
        assert shown == [layout.figure_key(figure.name) for figure in study.figures]
        text = json.dumps(made["report"])
        assert all(figure.name in text for figure in study.figures)
        for key, claim in catalog.registered().items():
            assert claim.study != name or f'"{key}"' in text, "a link to its verdict"
        for table in (*study.tables, *(catalog.table_of(name, one) for one in study.experiments)):
            assert layout.table_key(table) in json.dumps(panels["tables"]) and layout.table_key(table) in text

    made = specification(space, STUDY)
    panels = panels_of(made)
    lines = [tuple(p["config"]["metrics"]) for name in workspace.SECTIONS for p in panels.get(name, ())]
    history = pd.concat(pd.read_parquet(path) for path in (space.path / "runs" / STUDY).rglob("curves.parquet"))
    drawn = [line for one in lines for line in one if not line.endswith("_threshold")]
    assert sorted(drawn) == sorted({layout.key(metric) for metric in history.metric}), "each once"
    assert ("sharpness/sharpness", "sharpness/sharpness_threshold") in lines
    met = "sharpness/preconditioned_sharpness"
    assert (met, f"{met}_threshold") in lines
    assert {(p["config"]["groupAgg"], p["config"]["groupArea"]) for p in panels["loss"]} == {("mean", "minmax")}
    section = made["workspace"]["spec"]["section"]
    grouped = [key["name"] for key in section["runSets"][0]["grouping"]]
    assert grouped == ["study.value", "configuration.value"]
    colours = section["customRunColors"]
    assert len(set(colours.values())) == len(colours) == len(list((space.path / "runs" / STUDY).iterdir()))

    modes = [panel["config"] for panel in panels_of(specification(space, "low_rank_progression"))["modes"]]
    assert {(one["chartTitle"], one["xAxis"]) for one in modes} >= {("amplitude of net", "other/net/time")}


def test_saved_twice_it_is_one_workspace_and_one_report_with_their_links(space):
    with wandb_server.serving("good") as server:
        environment = {**server.environment, "HOME": str(space.path)}
        first = space.bench("workspace", STUDY, "--save", **environment).stdout
        views = set(server.views)
        assert first == space.bench("workspace", STUDY, **environment).stdout
        assert set(server.views) == views
        types = sorted(view["type"] for view in server.views.values())
        assert types == ["project-view", "runs"]
        links = first.split()[1:]
        assert len(links) == 2 and all(link.startswith(f"{server.address}/somebody/") for link in links)
    assert specification(space, STUDY)["links"] == links
    # Another does not know the account: one sentence, and what was saved is still known.
    with wandb_server.serving("empty") as server:
        environment = {**server.environment, "HOME": str(space.path)}
        done = space.bench("workspace", STUDY, check=False, **environment)
    assert done.returncode == 1 and "error: W&B did not answer" in done.stderr and "Traceback" not in done.stderr
    assert specification(space, STUDY)["links"] == links


def test_what_cannot_be_done_is_said_in_one_sentence(space):
    def refused(*arguments, **environment):
        done = space.bench("workspace", *arguments, check=False, **environment)
        (said,) = [line for line in done.stderr.splitlines() if not line.startswith("wandb:")]
        assert done.returncode == 1
        return said

    keyless = {"WANDB_MODE": "online", "WANDB_API_KEY": None, "HOME": str(space.path), "NETRC": "nowhere"}
    said = refused("timings", **keyless)
    assert "not saved online, only to wandb/workspaces/: there is no API key" in said and "`wandb login`" in said
    assert specification(space, "timings")["workspace"]["displayName"]
    assert "did you mean progressive_sharpening?" in refused("progresive_sharpening")
    (space.path / "wandb_workspaces.py").write_text("raise ImportError\n")
    assert refused("timings").endswith(f"which is not installed: {workspace.INSTALL}")
