"""The open question's table through the doors people use: a rebuild, `bench carry-over`, and what stops them."""

import pandas as pd

from benchmarks.evidence import share
from benchmarks.studies.carry_over import tables

OWN = """
import numpy as np
from torch import nn


def wide(input_shape, outputs):
    sizes = int(np.prod(input_shape))
    return nn.Sequential(nn.Flatten(), nn.Linear(sizes, 12), nn.SiLU(), nn.Linear(12, outputs))


def blind(input_shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Softmax(dim=1), nn.Linear(int(np.prod(input_shape)), outputs))


def blobs():
    generator = np.random.default_rng(0)
    labels = np.arange(300) % 3
    inputs = generator.normal(size=(300, 6)) + 3 * np.eye(3, 6)[labels]
    return inputs[:200], labels[:200], inputs[200:], labels[200:]


def heights():
    inputs, labels, tests, test_labels = blobs()
    return inputs, labels * 0.5, tests, test_labels


def holes():
    inputs, labels, tests, test_labels = blobs()
    inputs[5, 1] = np.nan
    return inputs, labels, tests, test_labels


def nothing(*_):
    return None


def one_more(input_shape, outputs):
    return wide(input_shape, outputs + 1)
"""


def test_a_rebuild_leaves_a_row_for_each_system_and_prediction(built):
    answer = pd.read_csv(built.path / "results/tables/open_question_4_1.csv")
    solved = [name for systems in tables.SOLVED.values() for name in systems]
    assert list(answer["system"].unique()) == ["mlp", *solved]
    answer = answer[answer["system"] == "mlp"]
    assert list(answer["prediction"]) == [one.name for one in share.PREDICTIONS]
    scores = pd.read_csv(built.path / "results/tables/carry_over/scores.csv")
    assert set(scores["system"]) == {"mlp", *(f"mlp/{role}" for role in ("twin", "small", "lazy", "random"))}
    cell = answer.set_index("prediction").loc["one at a time"]
    measured = scores[(scores["system"] == "mlp") & (scores["quantity"] == "active_modes")]["value"]
    assert abs(cell["network_value"] - measured.mean()) < 1e-9


def test_a_network_of_ones_own_gets_its_rows(workspace):
    (workspace.path / "mynets.py").write_text(OWN)
    before = workspace.bytes("results/**/*.csv")
    ask = ("carry-over", "mynets:wide", "--seeds", "2", "--steps", "10")
    done = workspace.bench(*ask)
    said = done.stdout
    assert "Warning" not in done.stderr
    assert all(one.name in said for one in share.PREDICTIONS) and "held-out accuracy" in said
    assert "path" in workspace.bench(*ask, "--data", "mynets:blobs").stdout
    assert workspace.bytes("results/**/*.csv") == before


def test_what_cannot_be_asked_is_one_sentence(workspace):
    (workspace.path / "mynets.py").write_text(OWN)
    for asked, sentence in (
        (("mynets:blind",), "the network has no linear twin"),
        (("mynets:gone",), "module 'mynets' has no 'gone'"),
        (("mynets:wide", "--data", "mynets:nothing"), "gives neither classes nor tokens"),
        (("mynets:wide", "--data", "mynets:heights"), "labels must be whole numbers"),
        (("mynets:wide", "--data", "mynets:gone"), "cannot call 'mynets:gone'"),
        (("mynets:wide", "--data", "mynets:holes"), "some of the inputs are not finite numbers"),
        (("mynets:one_more", "--data", "mynets:blobs"), "it makes (4, 4), and (4, 3) are needed"),
        (("mynets:nothing",), "it returns NoneType, not a torch.nn.Module"),
        (("mynets:wide", "--seeds", "1"), "a share needs an interval over seeds"),
        (("mynets:wide", "--like", "mpl"), "did you mean 'mlp'?"),
        (("mynets:wide", "--data", "tokens"), "unknown system 'gpt': known are mlp"),
        (("mynets:wide",), "data/images.npz is missing: `dvc repro prepare` makes it"),
    ):
        if "missing" in sentence:
            (workspace.path / "data/images.npz").unlink()
        refused = workspace.bench("carry-over", *asked, check=False)
        assert refused.returncode == 1 and sentence in refused.stderr, refused.stderr
        assert len(refused.stderr.splitlines()) == 1, refused.stderr


def test_a_system_that_leans_on_one_that_is_not_there_is_told_before_anything_runs(workspace):
    for changes, sentence in (
        ({"reference": "gone"}, "there is no system 'gone'"),
        ({"like": "gone"}, "there is no system 'gone'"),
        ({"like": "mine"}, "it is like itself"),
        ({"like": "mlp", "beside": {"small": None}, "reference": "mine"}, "mine trains no twin from small weights"),
        ({"like": "mlp", "warmup": 3}, "a warm-up is part of the cosine schedule"),
    ):
        workspace.set("carry_over.systems.mine", changes)
        refused = workspace.bench("status", check=False)
        assert refused.returncode == 1 and sentence in refused.stderr, refused.stderr


def test_a_system_like_another_differs_by_its_own_line(workspace):
    workspace.set("carry_over.systems.mine", {"like": "mlp", "steps": 10, "data": {"draw": True, "images": 150}})
    workspace.bench("stages")
    code = [name for name in workspace.ran() if "on_images" in name]
    assert code == ["pipelines/carry_over/dvc.yaml:on_images@mine"]
    answer = pd.read_csv(workspace.path / "results/tables/open_question_4_1.csv")
    assert "150 images; others for each seed" in answer.set_index("system").loc["mine", "network"].iloc[0].replace(
        ", ", "; "
    )
