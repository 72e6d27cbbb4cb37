"""What retrains and what does not, on a copy of a built checkout or on a clone without a cache."""

TRAINING = "pipelines/progressive_sharpening/dvc.yaml"
RUNS = {f"{TRAINING}:run@lr-low-1-2", f"{TRAINING}:run@lr-diverging-1-2"}
COMPARISON = f"{TRAINING}:compare@adam-09"
CONTROL = f"{TRAINING}:control@edge-lr-mid"
FLOW = f"{TRAINING}:adaptive_flow"  # which has the toy, as the control has, and the eigensolvers
LADDER = "pipelines/low_rank_progression/dvc.yaml"
CONTESTS = "pipelines/optimizer_comparison/dvc.yaml"
SCALES = "pipelines/scale_invariance/dvc.yaml"
LAUNCHES = "pipelines/timings/dvc.yaml:launches"  # of a step of Adam and of Muon
TABLES = f"{TRAINING}:tables"
CONFIGURATIONS = "progressive_sharpening.configurations"
# What measures the seconds of a run of lr-low.
TIMED = {f"pipelines/timings/dvc.yaml:{name}" for name in ("training_step", "eigensolvers")}


def trains(address):
    """Whether a stage trains or computes: the root's and those that make tables and figures do not."""
    return ":" in address and not address.endswith((":tables", ":figures"))


def retrains(workspace):
    """The stages that would train again, once the fingerprints are those of the code here."""
    workspace.dvc("repro", "-q", "fingerprint")
    return {stage for stage in workspace.stale() if trains(stage)}


def test_words_in_code_that_trains_retrain_nothing(workspace):
    for name, old, new in [
        ("lab/problem.py", "    def chunks(self)", "    # a comment\n    def chunks(self)"),
        ("lab/loop.py", '"""The one training loop', '"""THE one training loop'),
        ("lab/problem.py", "chunk_size must be a positive", "chunk_size has to be a positive"),
        ("lab/optimizers/muon.py", '"""Muon (Jordan', '"""MUON (Jordan'),
        ("studies/table.py", "What a stage produces", "What any stage produces"),
        ("studies/progressive_sharpening/training.py", "Train one configuration", "Train a configuration"),
    ]:
        workspace.edit(f"benchmarks/{name}", old, new)
    assert workspace.ran() == ["fingerprint"]
    assert workspace.stale() == set()


def test_a_card_a_claim_a_caption_a_figure_and_a_new_optimizer_retrain_nothing(workspace):
    study = "benchmarks/studies/progressive_sharpening"
    workspace.edit(f"{study}/study.py", "Stability thresholds", "Thresholds of stability")
    workspace.edit(f"{study}/claims.yaml", "title: Gradient flow predicts", "title: The flow predicts")
    workspace.edit("benchmarks/studies/scale_invariance/study.py", "Final loss against", "The final loss against")
    workspace.edit("benchmarks/studies/scale_invariance/section.yaml", "A learning rate has", "Any learning rate has")
    workspace.edit(f"{study}/figures.py", "gradient descent steps", "steps of gradient descent")
    workspace.edit("benchmarks/studies/schema.py", "unknown keys, wrong types", "wrong types, unknown keys")
    text = (workspace.path / "benchmarks/lab/optimizers/sgd.py").read_text()
    (workspace.path / "benchmarks/lab/optimizers/another.py").write_text(text)
    workspace.bench("stages")
    assert retrains(workspace) == set()
    ran = workspace.ran()
    assert {"judge", f"{TRAINING}:figures", "pages", "manifest"} <= set(ran)
    assert not any(map(trains, ran))
    page = (workspace.path / "results/report.html").read_text()
    assert "The final loss against" in page and "Any learning rate has" in page
    assert "Thresholds of stability" in (workspace.path / "results/README.md").read_text()


def test_a_changed_constant_retrains_what_imports_it(workspace):
    workspace.edit("benchmarks/lab/measurements/eigensolvers.py", "_WIDEST_GAP = 0.25", "_WIDEST_GAP = 0.2")
    assert retrains(workspace) == {
        *RUNS,
        COMPARISON,
        CONTROL,
        FLOW,
        *(f"{LADDER}:rung@{name}" for name in ("small-gd-relu-hat", "default-adam-relu-real")),
        *(f"{CONTESTS}:{name}" for name in ("contest@mlp-adamw", "contest@mlp-hopeless", "extra@balanced-adamw")),
        f"{CONTESTS}:heterogeneity",
        "pipelines/overparameterization/dvc.yaml:non_convexity",
        *(
            f"pipelines/timings/dvc.yaml:{name}"
            for name in ("training_step", "eigensolvers", "optimizer_steps", "launches")
        ),
    }


def test_a_change_of_one_entry_leaves_the_others_alone(workspace):
    workspace.edit("benchmarks/lab/architectures/self_stabilization.py", "0.5 * self.y", "0.25 * 2 * self.y")
    assert retrains(workspace) == {CONTROL, FLOW}


def test_an_edited_optimizer_retrains_what_names_or_imports_it(workspace):
    workspace.edit("benchmarks/lab/optimizers/muon.py", "vector_lr: float = 1e-3", "vector_lr: float = 2e-3")
    assert retrains(workspace) == {"pipelines/deep_linear/dvc.yaml:waypoints", f"{SCALES}:rescaling", LAUNCHES}
    workspace.edit("benchmarks/lab/optimizers/adam.py", "def build(", "_UNUSED = 1\n\n\ndef build(")
    assert retrains(workspace) == {
        "pipelines/deep_linear/dvc.yaml:waypoints",
        f"{SCALES}:rescaling",
        LAUNCHES,
        COMPARISON,
        f"{LADDER}:rung@default-adam-relu-real",
    }


def test_a_change_of_a_measurement_retrains_what_measures_it(workspace):
    workspace.edit(
        "benchmarks/lab/measurements/preconditioned_sharpness.py", "preconditioned=True", "preconditioned=1 > 0"
    )
    assert retrains(workspace) == {COMPARISON}


def test_a_changed_setting_retrains_the_one_that_has_it(workspace):
    workspace.set("scale_invariance.norm_growth.steps", 5)
    assert retrains(workspace) == {f"{SCALES}:norm_growth"}
    workspace.set("scale_invariance.norm_growth.steps", 4)
    workspace.set("progressive_sharpening.configurations.lr-low.steps", 25)
    assert retrains(workspace) == {f"{TRAINING}:run@lr-low-1-2", *TIMED}


def test_a_change_in_what_a_users_own_module_imports_retrains_it(workspace):
    (workspace.path / "mine.py").write_text(
        "import torch\n\nimport rates\n\n\ndef build(parameters, *, lr):\n"
        "    return [torch.optim.SGD(parameters, lr=lr * rates.FACTOR)]\n"
    )
    (workspace.path / "rates.py").write_text("FACTOR = 1.0\n")
    workspace.set(f"{CONFIGURATIONS}.mine", {"optimizer": {"name": "mine:build", "lr": 0.1}, "steps": 10})
    workspace.bench("stages")
    stage = f"{TRAINING}:run@mine-1-2"
    assert "ran mine-1-2" in workspace.bench("repro", "mine").stdout
    assert stage not in workspace.stale()
    assert "ran mine-1-2" not in workspace.bench("repro", "mine").stdout
    workspace.edit("rates.py", "1.0", "0.5")
    assert "ran mine-1-2" in workspace.bench("repro", "mine").stdout


def test_a_new_configuration_on_a_machine_without_cache_trains_only_itself(clone):
    clone.dvc("pull", "-q")
    clone.set(f"{CONFIGURATIONS}.lr-new", {"optimizer": {"lr": 0.1}, "steps": 10})
    assert clone.bench("stages").stdout == f"wrote {TRAINING}\n"
    ran = clone.ran(TABLES)
    assert [stage for stage in ran if trains(stage)] == [f"{TRAINING}:run@lr-new-1-2"]
    assert set(ran) <= {"prepare", "fingerprint", f"{TRAINING}:run@lr-new-1-2", TABLES}
    table = (clone.path / "results/tables/progressive_sharpening.long.csv").read_text()
    assert "lr-new" in table and "lr-low" in table


def test_a_clone_restores_every_run_from_the_embedded_store(clone):
    assert clone.ran("--pull") == []
    assert len(clone.bytes("runs/progressive_sharpening/**/curves.parquet")) == 4
    # The data are not in the store: whoever trains on makes them again, to the same bytes.
    assert clone.ran() == ["prepare", "prepare_corpus"]
    assert clone.stale() == set()


def test_the_store_holds_the_present_runs_alone(workspace, tmp_path):
    store = workspace.path / "results/store"
    before = {p.relative_to(store) for p in store.rglob("*") if p.is_file()}
    workspace.set(f"{CONFIGURATIONS}.lr-diverging.optimizer.lr", 200.0)
    workspace.dvc("repro", "-q", TABLES)
    assert "1 superseded entries dropped" in workspace.bench("push").stdout
    after = {p.relative_to(store) for p in store.rglob("*") if p.is_file()}
    assert before - after, "the superseded run is still there"
    workspace.commit()
    other = workspace.clone(tmp_path / "other")
    assert not any(stage.startswith(TRAINING) for stage in other.ran("--pull", TABLES))


def test_a_failing_table_stage_leaves_the_committed_table_in_place(workspace):
    before = workspace.bytes("results/tables/*.csv") | workspace.bytes("results/metrics.json")
    workspace.edit("benchmarks/studies/progressive_sharpening/claims.yaml", "name: exponent", "name: exponnet")
    done = workspace.dvc("repro", "judge", check=False)
    assert done.returncode != 0
    assert "unknown estimator 'exponnet'" in done.stderr
    assert workspace.bytes("results/tables/*.csv") | workspace.bytes("results/metrics.json") == before
