"""params.yaml is checked before anything trains: every fault by its path, through `bench` and through `dvc`."""

import pytest
from workspaces import ROOT, tiny

from benchmarks.studies import catalog
from pipelines import parameters, stages
from pipelines.files import write_yaml


def fault(tmp_path, old, new):
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    (tmp_path / "params.yaml").write_text(text.replace(old, new))
    with pytest.raises(parameters.ParametersError) as error:
        parameters.load(tmp_path / "params.yaml")
    return str(error.value)


STUDY = "progressive_sharpening"


@pytest.mark.parametrize(
    ("old", "new", "path", "says"),
    [
        ("0.03}, steps: 800", "0.03}, stpes: 800", f"{STUDY}.configurations.lr-mid.stpes", "did you mean 'steps'?"),
        ("0.03}, steps: 800", "0.03}, step: 800", f"{STUDY}.configurations.lr-mid.steps", "missing"),
        ("0.03}, steps: 800", "0.03}, steps: many", f"{STUDY}.configurations.lr-mid.steps", "got 'many'"),
        ("0.03}, steps: 800", "0.03}, steps: 0", f"{STUDY}.configurations.lr-mid.steps", "greater than or equal to 1"),
        ("lr: 0.03}, steps: 800", "lr: -0.03}, steps: 800", "lr-mid.optimizer.lr", "greater than 0"),
        ("lr: 0.03}, steps: 800", "lr: .inf}, steps: 800", "lr-mid.optimizer.lr", "finite"),
        (
            "lr: 0.03}, steps: 800",
            "lr: 0.03, momentm: 0.9}, steps: 800",
            "lr-mid.optimizer",
            "did you mean 'momentum'?",
        ),
        ("lr: 0.03}, steps: 800", "lr: 0.03, momentum: 1}, steps: 800", "lr-mid.optimizer", "must be in [0, 1)"),
        ("name: sgd}\n", "name: sdg}\n", f"{STUDY}.defaults.optimizer", "did you mean 'sgd'?"),
        ("name: sgd}\n", "name: 'nowhere:build'}\n", f"{STUDY}.defaults.optimizer", "there is no module 'nowhere'"),
        (
            "{name: rmsprop, lr: 5.0e-5, beta2: 0.99}",
            "{name: 'torch.optim:RMSprp', lr: 5.0e-5}",
            f"{STUDY}.comparisons.rmsprop.optimizer",
            "module 'torch.optim' has no 'RMSprp'",
        ),
        (
            "{name: mlp, hidden: [200, 200], activation: tanh} #",
            "{name: mpl, hidden: [200, 200], activation: tanh} #",
            f"{STUDY}.defaults.architecture",
            "did you mean 'mlp'?",
        ),
        (
            "200], activation: tanh",
            "200], activatoin: tanh",
            f"{STUDY}.defaults.architecture",
            "did you mean 'activation'?",
        ),
        ("200], activation: tanh", "200]", f"{STUDY}.defaults.architecture", "needs the option 'activation'"),
        (
            "200, 200], activation: tanh} #",
            "200, 0], activation: tanh} #",
            f"{STUDY}.defaults.architecture",
            "hidden must be at least 1",
        ),
        ("\n    loss: mse", "\n    loss: mae", f"{STUDY}.defaults.loss", "'mae'"),
        (
            "tolerance: 3.0e-4 #",
            "tolerance: -1.0 #",
            f"{STUDY}.defaults.measure",
            "tolerance of 'sharpness' must be positive",
        ),
        ("tolerance: 3.0e-4 #", "tolerance: 3 #", f"{STUDY}.defaults.measure", "must be less than 1"),
        ("eigen_tolerance: 1.0e-4}", "eigen_tolerance: 2.0}", "edge-balanced.measure", "must be less than 1"),
        ("max_hvps: 200 #", "max_hvps: 20.5 #", f"{STUDY}.defaults.measure", "must be int, got 20.5"),
        ("      path: {}", "      paht: {}", f"{STUDY}.defaults.measure", "did you mean 'path'?"),
        (
            "segment: {every: 5}",
            "segment: {evry: 5}",
            f"{STUDY}.comparisons.small-lr-low.measure",
            "did you mean 'every'?",
        ),
        (
            "beta1: 0.5, beta2: 0.99}",
            "beta1: 0.5, beta2: high}",
            f"{STUDY}.comparisons.adam-05.optimizer",
            "must be float",
        ),
        (
            "batch_size: 8, steps: 48000",
            "batch_size: 2000, steps: 48000",
            f"{STUDY}.comparisons.sgd-b8",
            "exceeds the 1000",
        ),
        (
            "{name: rmsprop, lr: 5.0e-5, beta2: 0.99}",
            "{name: sgd, lr: 5.0e-5}",
            f"{STUDY}.comparisons.rmsprop",
            "no diagonal preconditioner",
        ),
        ("\n  stacks: [1, 2, 3]", "\n  stacks: [1, 2, 2-3]", f"{STUDY}.stacks", "seed 2 appears twice"),
        ("stacks: [1, 2, 3, 4, 5]", "stacks: [3-1]", f"{STUDY}.configuration_stacks", "neither a seed nor a range"),
        ("{seeds: 1-6, ", "{seeds: 6-1, ", f"{STUDY}.comparisons.small-lr-low.seeds", "neither a seed nor a range"),
        (
            "stacks: [1, 2, 3, 4, 5]",
            "stacks: [1-50000000]",
            f"{STUDY}.configuration_stacks",
            "at most 1000 train together",
        ),
        ("stacks: [1, 2, 3, 4, 5]", f"stacks: [{'9' * 50}]", f"{STUDY}.configuration_stacks", "neither a seed nor"),
        ("0.03}, steps: 800", "0.03}, steps: 1e30", f"{STUDY}.configurations.lr-mid.steps", "valid integer"),
        ("0.03}, steps: 800", f"0.03}}, steps: 1{'0' * 30}", "lr-mid.steps", "less than or equal to 1000000000"),
        ("200], activation: tanh", "200], activation: tahn", f"{STUDY}.defaults.architecture", "did you mean 'tanh'?"),
        ("    lr-mid:", "    lr.mid:", f"{STUDY}.configurations.lr.mid", "pattern"),
        ("threads: 1 #", "threads: 1.5 #", "compute.threads", "valid integer"),
        ("dtype: float32", "dtype: float16", "compute.dtype", "'float16'"),
        ("device: cpu", "device: gpu", "compute.device", "pattern"),
        ("device: cpu", "device: cuda:one", "compute.device", "pattern"),
        (
            "device: cpu # or cuda, cuda:1, mps (docs/how-to/gpu.md)\n  dtype: float32",
            "device: mps\n  dtype: float64",
            "compute",
            "no float64",
        ),
        ("source: cifar10", "source: cifar100", "data.source", "'cifar100'"),
        ("configuration: lr-high", "configuration: lr-hihg", "timings.configuration", "did you mean 'lr-high'?"),
        ("compute:", "computer:", "computer", "did you mean 'compute'?"),
        (
            "{name: adam, lr: 0.01, beta1: 0.9,",
            "{name: adam, lr: 0.01, beta1: 1.9,",
            "thresholds.optimizers.ema-09",
            "[0, 1)",
        ),
        ("merge: 1.0e-6 #", "merge: 2.0 #", "low_rank_progression.defaults.data.merge", "less than 1"),
        ("labels: linear #", "labels: liner #", "low_rank_progression.defaults.data.labels", "'liner'"),
        ("rotate: false #", "rotat: false #", "low_rank_progression.defaults.data.rotat", "did you mean 'rotate'?"),
        (
            "textbook-batch-32: {batch_size: 32}",
            "textbook-batch-32: {batch_size: 9999}",
            "low_rank_progression.rungs.textbook-batch-32",
            "exceeds the 5000 examples",
        ),
        (
            "textbook-edge-30: {edge: 0.3}",
            "textbook-edge-30: {edge: null}",
            "low_rank_progression.rungs.textbook-edge-30",
            "give the optimizer's lr, or an edge",
        ),
        (
            "textbook-width-25: {architecture: {hidden: [25]}}",
            "textbook-width-25: {architecture: {hiden: [25]}}",
            "low_rank_progression.rungs.textbook-width-25.architecture",
            "did you mean 'hidden'?",
        ),
        (
            "functions: [he1, he1, he1]",
            "functions: [he1, he1]",
            "low_rank_progression.rungs.planted-he1.data",
            "need as many functions",
        ),
        ("tuning_seed: 1000", "tuning_seed: 3", "optimizer_comparison.protocol", "tuning would have seen it"),
        ("target: {optimizer: adamw,", "target: {optimizer: adamww,", "optimizer_comparison", "did you mean 'adamw'?"),
        ("pair: [sgd, polyak,", "pair: [sgd, polyack,", "optimizer_comparison", "did you mean 'polyak'?"),
        ("polyak: [6,", "polyack: [6,", "optimizer_comparison", "did you mean 'polyak'?"),
        ("polyak: [6,", "polyak: [5,", "optimizer_comparison.added_seeds.transformer.polyak", "seed 5 is there"),
        (
            "adagrad: {optimizer: {name: adagrad}",
            "adagrad: {optimizer: {name: adagrat}",
            "optimizers.adagrad",
            "'adagrad'?",
        ),
        ("{lr: {log: [1.0e-3, 1]}}}", "{lr: {log: [1, 1.0e-3]}}}", "optimizers.adagrad", "must be log: [low, high]"),
        ("{lr: {log: [1.0e-3, 1]}}}", "{rate: {log: [1.0e-3, 1]}}}", "optimizers.adagrad", "the space must have lr"),
        (
            "beta1: {one_minus: [0.02, 0.5]}, weight_decay",
            "beta1: {one_minus: [0.02, 5]}, weight_decay",
            "adamw",
            "at most 1",
        ),
        ("channels: [8, 16]", "chanels: [8, 16]", "optimizer_comparison.workloads.cnn", "did you mean 'channels'?"),
        ("decay: true #", "decay: 1 #", "optimizer_comparison.defaults.decay", "valid boolean"),
        ("warmup: 15 #", "warmup: 300 #", "optimizer_comparison.", "leaves nothing of the 300 steps"),
        ("train: 4000,", "train: 0,", "optimizer_comparison.defaults.data.train", "greater than or equal to 2"),
        (
            "patch: 4}, batch_size: 64}",
            "patch: 4}, batch_size: 6400}",
            "workloads.transformer",
            "exceeds the 4000 examples",
        ),
        ("scales: [1.0e-3, 1.0e-2, 1.0e-1,", "scales: [1.0e-3,", "low_rank_progression.output_scale", "in each regime"),
    ],
)
def test_a_fault_is_named_by_its_path(tmp_path, old, new, path, says):
    message = fault(tmp_path, old, new)
    assert "nothing was run" in message
    lines = [line for line in message.splitlines() if path in line]
    assert lines and any(says in line for line in lines), message


def test_a_name_with_a_colon_in_braces_needs_quotes(tmp_path):
    assert "needs quotes inside {}" in fault(tmp_path, "name: sgd}\n", "name: nowhere:build}\n")


def test_every_fault_is_told_at_once(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    text = text.replace("0.03}, steps: 800", "0.03}, stpes: 800").replace("lr: 0.05}, steps: 400", "lr: 0, steps: 400}")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(parameters.ParametersError, match=r"(?s)lr-mid\.stpes.*lr-high"):
        parameters.load(tmp_path / "params.yaml")


def test_broken_yaml_and_a_missing_file_are_told_as_such(tmp_path):
    (tmp_path / "params.yaml").write_text("a: [1, 2\nb: 3")
    with pytest.raises(parameters.ParametersError, match="not valid YAML"):
        parameters.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes("profile: reference\nname: Müller".encode("latin-1"))
    with pytest.raises(parameters.ParametersError, match=r"params\.yaml, line 2, is not UTF-8 text"):
        parameters.load(tmp_path / "params.yaml")
    with pytest.raises(parameters.ParametersError, match="does not exist"):
        parameters.load(tmp_path / "nowhere.yaml")


def test_an_exponent_without_a_dot_is_a_number_here_and_in_dvc(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("lr: 0.03}, steps", "lr: 3e-2}, steps")
    (tmp_path / "params.yaml").write_text(text)
    study = parameters.load(tmp_path / "params.yaml").progressive_sharpening
    assert study.resolved("configurations", "lr-mid").optimizer.lr == 0.03
    from dvc.utils.serialize import load_yaml

    loaded = load_yaml(str(tmp_path / "params.yaml"))
    assert loaded["progressive_sharpening"]["configurations"]["lr-mid"]["optimizer"]["lr"] == 0.03


def profile(name):
    """A profile as plain data: the reference, one that is shipped, or that of these tests."""
    if name == "tiny":
        return tiny()
    return parameters.profile(name) if name else parameters.read("params.yaml")


PROFILES = ["", *sorted(path.name.split(".")[1] for path in ROOT.glob("params.*.yaml")), "tiny"]


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_is_valid_and_has_every_experiment(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    assert {"", "quick", "paper", "tiny"} == set(PROFILES)
    checked = parameters.checked(profile(name), name)
    there = {(stage.study, stage.group) for stage in stages.training(checked)}
    declared = {(study, one.name) for study, it in catalog.studies().items() for one in (*it.experiments, *it.families)}
    # The workspaces of most tests take no text; test_text_sources.py has one that does.
    absent = {("optimizer_comparison", "text"), ("carry_over", "on_text")} if name == "tiny" else set()
    assert there == declared - absent
    assert checked.profile == {"": "reference", "tiny": "quick"}.get(name, name)


def test_the_quick_profile_runs_a_few_of_the_reference_s(monkeypatch):
    monkeypatch.chdir(ROOT)
    quick, reference = (stages.training(parameters.checked(profile(name), name)) for name in ("quick", ""))
    assert {(stage.study, stage.name) for stage in quick} < {(stage.study, stage.name) for stage in reference}
    # With fewer, no claim gets a verdict.
    seeds = {}
    for stage in quick:
        if stage.study == "progressive_sharpening" and stage.table is None:
            seeds.setdefault(stage.name, []).extend(stage.seeds)
    assert seeds and all(len(own) >= 3 for own in seeds.values())


def test_a_profile_changes_key_by_key_and_replaces_what_has_a_name(monkeypatch):
    monkeypatch.chdir(ROOT)
    reference, quick = profile(""), profile("quick")
    runs = "progressive_sharpening"
    assert list(quick[runs]["configurations"]) == ["lr-high"]
    changes = {
        "only": {f"{runs}.configurations": ["lr-mid"]},
        runs: {"configurations": {"lr-mid": {"steps": 7}}, "defaults": {"images": 11}},
        "scale_invariance": {"equilibrium": {"steps": 9}},
    }
    made = parameters.changed(reference, changes, "here")
    # An entry of a layer is new whole, so that no default of the reference's stays in it by accident.
    assert made[runs]["configurations"] == {"lr-mid": {"steps": 7}}
    assert made[runs]["defaults"] == reference[runs]["defaults"] | {"images": 11}
    assert made["scale_invariance"]["equilibrium"] == reference["scale_invariance"]["equilibrium"] | {"steps": 9}
    assert reference == profile(""), "what is changed is a copy"
    with pytest.raises(
        parameters.ParametersError, match=r"here: only\.progressive_sharpening\.controls: there is no 'x'"
    ):
        parameters.changed(reference, {"only": {f"{runs}.controls": ["x"]}}, "here")


def test_a_profile_that_is_not_there_or_not_valid_is_told_as_such(monkeypatch, tmp_path):
    write_yaml(tmp_path / "params.yaml", tiny())
    write_yaml(tmp_path / "params.mine.yaml", {"scale_invariance": {"equilibrium": {"stpes": 9}}})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(parameters.ParametersError, match="no profile 'yours': the profiles are mine"):
        parameters.profile("yours")
    with pytest.raises(parameters.ParametersError, match=r"(?s)params\.mine\.yaml is not valid.*equilibrium\.stpes"):
        parameters.profile("mine")


def test_both_doors_stop_before_anything_trains(workspace):
    def written():
        return {p: p.stat().st_mtime_ns for p in workspace.path.glob("runs/**/*.parquet")}

    before = written()
    workspace.set("progressive_sharpening.configurations.lr-low.stpes", 20)
    for done in (workspace.bench("repro", check=False), workspace.dvc("repro", check=False)):
        assert done.returncode != 0
        assert "progressive_sharpening.configurations.lr-low.stpes" in done.stderr
        assert "Traceback" not in done.stderr
    assert written() == before


def test_the_paper_profile_has_all_of_the_reference_and_replaces_only_workloads(monkeypatch):
    monkeypatch.chdir(ROOT)
    paper, reference = (
        {stage.path: stage for stage in stages.training(parameters.checked(profile(name), name))}
        for name in ("paper", "")
    )
    for path, stage in reference.items():
        if stage.study not in ("optimizer_comparison", "timings"):
            assert paper[path].settings == stage.settings, f"{path} differs from params.yaml"
    assert {path.partition("-")[2] for path in paper if path.startswith("optimizer_comparison/gpt-")} >= {
        "adam-untuned"
    }
