"""What retrains and what does not, on a copy of a built checkout or on a clone without a cache."""

TRAINING = "pipelines/progressive_sharpening/dvc.yaml"
RUNS = {f"{TRAINING}:run@lr-low-1-2", f"{TRAINING}:run@lr-diverging-1-2"}
COMPARISON = f"{TRAINING}:compare@adam-09"
CONTROL = f"{TRAINING}:control@edge-lr-mid"
THRESHOLDS = f"{TRAINING}:thresholds"


def stale_after_fingerprints(workspace):
    workspace.dvc("repro", "-q", "fingerprint")
    return {stage for stage in workspace.stale() if stage.startswith(TRAINING)}


def test_a_comment_or_a_message_in_the_lab_retrains_nothing(workspace):
    workspace.edit("benchmarks/lab/problem.py", "    def chunks(self)", "    # a comment\n    def chunks(self)")
    workspace.edit("benchmarks/lab/loop.py", '"""The one training loop', '"""THE one training loop')
    workspace.edit("benchmarks/lab/problem.py", "chunk_size must be a positive", "chunk_size has to be a positive")
    assert workspace.ran() == ["fingerprint"]
    assert workspace.stale() == set()


def test_a_changed_constant_retrains_what_imports_it(workspace):
    workspace.edit("benchmarks/lab/measurements/eigensolvers.py", "_WIDEST_GAP = 0.25", "_WIDEST_GAP = 0.2")
    assert stale_after_fingerprints(workspace) == {*RUNS, COMPARISON, CONTROL}


def test_a_change_of_one_entry_leaves_the_others_alone(workspace):
    workspace.edit("benchmarks/lab/architectures/self_stabilization.py", "0.5 * self.y", "0.25 * 2 * self.y")
    assert stale_after_fingerprints(workspace) == {CONTROL}


def test_a_change_of_a_measurement_retrains_what_measures_it(workspace):
    workspace.edit(
        "benchmarks/lab/measurements/preconditioned_sharpness.py", "preconditioned=True", "preconditioned=1 > 0"
    )
    assert stale_after_fingerprints(workspace) == {COMPARISON}


def test_a_new_optimizer_a_figure_and_a_claim_retrain_nothing(workspace):
    text = (workspace.path / "benchmarks/lab/optimizers/sgd.py").read_text()
    (workspace.path / "benchmarks/lab/optimizers/another.py").write_text(text)
    workspace.edit("benchmarks/evidence/figures/levels.py", "gradient descent steps", "steps of gradient descent")
    workspace.edit("claims.yaml", "title: Sharpness settles at 2/lr", "title: Sharpness settles")
    assert stale_after_fingerprints(workspace) == set()
    ran = workspace.ran()
    assert {"judge", "draw", "report"} <= set(ran)
    assert not any(stage.startswith(TRAINING) for stage in ran)


def test_a_change_in_what_a_users_own_module_imports_retrains_it(workspace):
    (workspace.path / "mine.py").write_text(
        "import torch\n\nimport rates\n\n\ndef build(parameters, *, lr):\n"
        "    return [torch.optim.SGD(parameters, lr=lr * rates.FACTOR)]\n"
    )
    (workspace.path / "rates.py").write_text("FACTOR = 1.0\n")
    new = "  configurations:\n    mine: {optimizer: {name: 'mine:build', lr: 0.1}, steps: 10}\n"
    workspace.edit("params.yaml", "  configurations:\n", new)
    stage = f"{TRAINING}:run@mine-1-2"
    assert "ran mine-1-2" in workspace.bench("repro", "mine").stdout
    assert stage not in workspace.stale()
    assert "ran mine-1-2" not in workspace.bench("repro", "mine").stdout
    workspace.edit("rates.py", "1.0", "0.5")
    assert "ran mine-1-2" in workspace.bench("repro", "mine").stdout


def test_a_new_configuration_on_a_machine_without_cache_trains_only_itself(clone):
    clone.dvc("pull", "-q")
    new = "  configurations:\n    lr-new: {optimizer: {lr: 0.1}, steps: 10}\n"
    clone.edit("params.yaml", "  configurations:\n", new)
    ran = clone.ran("tabulate")
    assert [stage for stage in ran if stage.startswith(TRAINING)] == [f"{TRAINING}:run@lr-new-1-2"]
    assert set(ran) <= {"prepare", "fingerprint", f"{TRAINING}:run@lr-new-1-2", "tabulate"}
    table = (clone.path / "results/tables/progressive_sharpening.long.csv").read_text()
    assert "lr-new" in table and "lr-low" in table


def test_a_clone_restores_every_run_from_the_embedded_store(clone):
    assert clone.ran("--pull") == []
    assert len(clone.bytes("runs/**/history.parquet")) == 4
    # The data are not in the store: whoever trains on makes them again, to the same bytes.
    assert clone.ran() == ["prepare"]
    assert clone.stale() == set()


def test_the_store_holds_the_present_runs_alone(workspace, tmp_path):
    store = workspace.path / "results/store"
    before = {p.relative_to(store) for p in store.rglob("*") if p.is_file()}
    workspace.edit(
        "params.yaml",
        "lr-diverging: {optimizer: {lr: 1e2}, steps: 20}",
        "lr-diverging: {optimizer: {lr: 2e2}, steps: 20}",
    )
    workspace.dvc("repro", "-q", "tabulate")
    assert "1 superseded entries dropped" in workspace.bench("push").stdout
    after = {p.relative_to(store) for p in store.rglob("*") if p.is_file()}
    assert before - after, "the superseded run is still there"
    workspace.commit()
    other = workspace.clone(tmp_path / "other")
    assert not any(stage.startswith(TRAINING) for stage in other.ran("--pull", "tabulate"))


def test_a_failing_table_stage_leaves_the_committed_table_in_place(workspace):
    before = workspace.bytes("results/tables/*.csv") | workspace.bytes("results/metrics.json")
    workspace.edit("claims.yaml", "name: exponent", "name: exponnet")
    done = workspace.dvc("repro", "judge", check=False)
    assert done.returncode != 0
    assert "unknown estimator 'exponnet'" in done.stderr
    assert workspace.bytes("results/tables/*.csv") | workspace.bytes("results/metrics.json") == before
