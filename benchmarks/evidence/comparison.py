"""From runs of optimizers on workloads to the tables of the comparison: targets, shared ranks, flips, sensitivity."""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pandas as pd

from benchmarks.evidence.statistics import t_interval
from benchmarks.theory.tuning import lr_sensitivity

LONG = "optimizer_comparison.long"
# The names of targets, by the factor of the tuned learning rate at which the optimizer that sets them ran.
TARGETS = {1.0: "target", 0.25: "quarter", 4.0: "fourfold"}
# Fractions of a run's own first objective, by the names of the columns that say when it comes down to them.
LEVELS = {"steps_to_tenth": 0.1, "steps_to_hundredth": 0.01}
# Every column of the long table: (unit, what it is).
COLUMNS: dict[str, tuple[str, str]] = {
    "workload": ("", "its name in params.yaml"),
    "optimizer": ("", "its name in params.yaml"),
    "role": ("", "trial: a tuning run; final: the tuned settings; factor: the same at another learning rate"),
    "trial": ("", "index of the settings among the trials"),
    "factor": ("", "learning rate divided by the tuned one"),
    "seed": ("", "seed of the initialization, the minibatches, and generated data"),
    "learning_rate": ("", "largest value of the schedule, in the optimizer's own units"),
    "options": ("", "the optimizer's other options, as JSON"),
    "steps": ("steps", "updates made before the end, or before the run diverged"),
    "diverged": ("", "1 if the run diverged, else 0"),
    "first_objective": ("nats", "objective before training"),
    "objective": ("nats", "at the last step: validation loss if there are validation data, otherwise training loss"),
    "best_objective": ("nats", "lowest reading"),
    "steps_to_target": ("steps", "to the target, interpolated between readings; empty if never reached"),
    "steps_to_quarter": ("steps", "to the target set by its optimizer at a quarter of the tuned learning rate"),
    "steps_to_fourfold": ("steps", "to the target set by its optimizer at four times the tuned learning rate"),
    "steps_to_tenth": ("steps", "until the objective is a tenth of its first value; empty if it never is"),
    "steps_to_hundredth": ("steps", "until it is a hundredth of its first value"),
    "lr_sensitivity": ("nats", "mean excess objective over the learning rates tried, clipped at the first objective"),
    "train_loss": ("nats", "on all training data, at the end"),
    "validation_loss": ("nats", "at the end"),
    "validation_accuracy": ("fraction", "at the end"),
    "test_loss": ("nats", "at the end; no other run or step uses test data"),
    "test_accuracy": ("fraction", "at the end"),
    "update_to_weight": ("fraction", r"$\lvert \text{update} \rvert / \lvert \text{weights} \rvert$ halfway through"),
    "alignment": ("fraction", "cosine between the update and the negative gradient, halfway through"),
    "update_rank": ("", "mean stable rank of the updates of matrices and kernels, halfway through"),
    "sharpness_half": ("nats/parameter^2", "top Hessian eigenvalue on part of the training data, halfway through"),
    "sharpness_end": ("nats/parameter^2", "at the end"),
    "preconditioned_sharpness_half": ("nats/parameter^2", "of the preconditioned Hessian, halfway through"),
    "preconditioned_sharpness_end": ("nats/parameter^2", "at the end"),
    "edge_ratio_half": ("thresholds", "sharpness relevant to the optimizer over its threshold at that learning rate"),
}
# The summary has the mean and interval over seeds of these.
SUMMARISED = (
    "objective",
    "best_objective",
    "train_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "steps_to_target",
    "lr_sensitivity",
    "update_to_weight",
    "alignment",
    "update_rank",
    "sharpness_half",
    "sharpness_end",
    "edge_ratio_half",
)


# Losses are read between two readings on a straight line of their logarithm, which this keeps finite.
TINY = 1e-30


def finals(long: pd.DataFrame) -> pd.DataFrame:
    """The runs of tuned settings."""
    return long[long["role"] == "final"]


def at_shared_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with the seeds that all of their workload's optimizers have: means over other seeds would not compare."""
    having = runs.groupby(["workload", "seed"])["optimizer"].transform("nunique")
    return runs[having == runs.groupby("workload")["optimizer"].transform("nunique")]


def objective_curves(curves: pd.DataFrame) -> pd.Series:
    """The objective by (workload, optimizer, role, factor, seed, step)."""
    rows = curves[curves["metric"] == "objective"]
    keys = ["workload", "optimizer", "role", "factor", "seed", "step"]
    return rows.set_index(keys)["value"].sort_index()


def targets(runs: pd.DataFrame, curves: pd.DataFrame, optimizer: str, share: float) -> pd.DataFrame:
    """The objective at which a run has arrived: ``share`` of the fall of an optimizer's mean over the seeds in which it
    did not diverge.

    Returns:
        workload, target (a value of `TARGETS`), objective. A workload without runs of the optimizer has none.
    """
    keys = ["workload", "optimizer", "role", "factor", "seed"]
    mine = runs[(runs["optimizer"] == optimizer) & (runs["role"] != "trial") & (runs["diverged"] == 0)]
    objective = objective_curves(curves[curves["optimizer"] == optimizer].merge(mine[keys], on=keys))
    rows = []
    for (workload, factor), mine in objective.groupby(level=["workload", "factor"]):
        if factor not in TARGETS:
            continue
        first, last = (mine.groupby("seed").agg(which).mean() for which in ("first", "last"))
        if last < first:
            rows.append((workload, TARGETS[factor], first - share * (first - last)))
    return pd.DataFrame(rows, columns=["workload", "target", "objective"])


def steps_to(steps: np.ndarray, values: np.ndarray, target: float) -> float:
    """The first step, interpolated, at which values come down to a target; nan if they never do."""
    below = np.flatnonzero(values <= target)
    if not len(below):
        return float("nan")
    i = below[0]
    if i == 0:
        return float(steps[0])
    return float(steps[i - 1] + (values[i - 1] - target) / (values[i - 1] - values[i]) * (steps[i] - steps[i - 1]))


def long_table(runs: pd.DataFrame, curves: pd.DataFrame, goals: pd.DataFrame, optimizer: str) -> pd.DataFrame:
    """All runs, with the columns that come from their curves and from each other (`COLUMNS`).

    Args:
        runs: of all contests, with workload and optimizer.
        goals: from `targets`; runs of its optimizer at another learning rate are measured against their own.
    """
    table = runs.copy()
    table["diverged"] = table["diverged"].astype(int)
    added = {name: np.full(len(table), np.nan) for name in ("first_objective", "best_objective")}
    added |= {name: np.full(len(table), np.nan) for name in (*(f"steps_to_{t}" for t in TARGETS.values()), *LEVELS)}
    objective = objective_curves(curves)
    grouped = {key: mine.droplevel(list(range(5))) for key, mine in objective.groupby(level=[0, 1, 2, 3, 4])}
    goal_of = {(row.workload, row.target): row.objective for row in goals.itertuples()}
    for place, run in enumerate(table.itertuples()):
        curve = grouped.get((run.workload, run.optimizer, run.role, run.factor, run.seed))
        if curve is None or run.role == "trial":
            continue
        steps, values = curve.index.to_numpy(float), curve.to_numpy(float)
        added["first_objective"][place], added["best_objective"][place] = values[0], values.min()
        if run.role == "final":
            for name, level in LEVELS.items():
                added[name][place] = steps_to(steps, np.log(np.maximum(values, TINY)), np.log(level * values[0]))
            for name in TARGETS.values():
                goal = goal_of.get((run.workload, name))
                if goal is not None:
                    added[f"steps_to_{name}"][place] = steps_to(steps, values, goal)
        elif run.optimizer == optimizer and run.factor in TARGETS:
            goal = goal_of.get((run.workload, TARGETS[run.factor]))
            if goal is not None:
                added["steps_to_target"][place] = steps_to(steps, values, goal)
    table = table.assign(**added)
    table["lr_sensitivity"] = np.nan
    for _, mine in table[table["role"] != "trial"].groupby(["workload", "optimizer", "seed"]):
        final = mine.index[mine["role"] == "final"]
        if len(mine) > 1 and len(final):
            first = mine["first_objective"].loc[final[0]]
            table.loc[final[0], "lr_sensitivity"] = lr_sensitivity(
                mine["factor"].to_numpy(), mine["objective"].to_numpy(float), first
            )
    return table.reindex(columns=list(COLUMNS))


def summary(long: pd.DataFrame, facts: dict[tuple[str, str], dict], goals: pd.DataFrame) -> pd.DataFrame:
    """One row per workload and optimizer: the tuned setting, means with 95 % t-intervals over seeds, and places.

    Args:
        facts: of each contest, as its stage wrote them.
        goals: from `targets`.
    """
    rows = []
    aimed = set(goals.loc[goals["target"] == "target", "workload"])
    for (workload, optimizer), fact in facts.items():
        tuned = finals(long[(long["workload"] == workload) & (long["optimizer"] == optimizer)])
        mine = tuned[tuned["diverged"] == 0]
        row = {
            "workload": workload,
            "optimizer": optimizer,
            "implementation": fact["implementation"],
            "finite_trials": fact["finite_trials"],
            "n": len(mine),
            "diverged": len(tuned) - len(mine),
            "arrived": int(mine["steps_to_target"].notna().sum()),
            "learning_rate": tuned["learning_rate"].iloc[0] if len(tuned) else np.nan,
            "options": tuned["options"].iloc[0] if len(tuned) else "",
            "parameters": fact["parameters"],
            "state_per_parameter": fact["state_per_parameter"],
            "scheduled": int(fact["scheduled"]),
        }
        for name in SUMMARISED:
            values = mine[name].dropna().to_numpy(float)
            interval = t_interval(values, 0.95)
            row[name] = values.mean() if len(values) else np.nan
            row[f"{name}_low"], row[f"{name}_high"] = (interval.low, interval.high) if interval else (np.nan, np.nan)
        row["note"] = _note(fact, row, workload in aimed)
        rows.append(row)
    table = pd.DataFrame(rows)
    places = {name: ranks(part) for name, part in finals(long).groupby("workload")}
    keys = list(zip(table["workload"], table["optimizer"]))
    for end, which in (("rank_best", 0), ("rank_worst", 1)):
        ranked = [places[w].get(o, (np.nan, np.nan))[which] if w in places else np.nan for w, o in keys]
        table.insert(4 + which, end, ranked)
    return table


def _note(fact: dict, row: dict, aimed: bool) -> str:
    """What a reader must know before taking the row at face value."""
    notes = [fact["note"]] if fact["note"] else []
    if not fact["finite_trials"]:
        notes.append("no trial of its search space stayed finite")
    if not fact["scheduled"]:
        notes.append("uses no learning-rate decay")
    if row["diverged"]:
        notes.append(f"{row['diverged']} tuned runs diverged")
    if not aimed:
        notes.append("the workload has no target")
    elif row["n"] and not row["arrived"]:
        notes.append("no run reached the target")
    elif row["arrived"] < row["n"]:
        notes.append(f"{row['arrived']} of {row['n']} runs reached the target")
    return "; ".join(notes)


def by_seed(runs: pd.DataFrame, quantity: str = "objective") -> pd.DataFrame:
    """A quantity of tuned runs by seed (rows) and optimizer (columns); infinite where a run diverged."""
    return runs.pivot(index="seed", columns="optimizer", values=quantity).astype(float)


def ranks(runs: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """The best and the worst rank that each optimizer of a workload may have: ranks are shared where the 95 %
    t-interval of the difference, paired by seed, contains zero. An optimizer that diverged on any seed ranks below
    those that did not."""
    wide = by_seed(runs)
    ahead = dict.fromkeys(wide, 0)
    behind = dict.fromkeys(wide, 0)
    for a, b in permutations(wide, 2):
        if surely_below(wide[a], wide[b]):
            ahead[b] += 1
            behind[a] += 1
    return {name: (1 + ahead[name], len(ahead) - behind[name]) for name in wide}


def surely_below(a: pd.Series, b: pd.Series) -> bool:
    """Whether a is below b: whether the 95 % t-interval of their difference over seeds lies below zero."""
    lost_a, lost_b = np.isinf(a).any(), np.isinf(b).any()
    if lost_a or lost_b:
        return bool(lost_b and not lost_a)
    interval = t_interval((a - b).to_numpy(), 0.95)
    return interval is not None and interval.high < 0


def flips(curves: pd.DataFrame, long: pd.DataFrame) -> pd.DataFrame:
    """Pairs of optimizers whose order at some reading is significantly the reverse of their order at the end. An
    optimizer with a diverged tuned run is left out of its workload.

    Args:
        long: from `long_table`.

    Returns:
        workload, ahead (at the end), behind, step (the last reading at which it was the other way), share (of the
        steps).
    """
    mine = finished(curves[curves["role"] == "final"], finals(long))
    objective = objective_curves(mine).droplevel(["role", "factor"])
    rows = []
    for workload, mine in objective.groupby(level="workload"):
        wide = mine.droplevel("workload").unstack("optimizer")
        steps = sorted(wide.index.get_level_values("step").unique())
        at = {step: wide.xs(step, level="step") for step in steps[1:]}
        for a, b in permutations(wide.columns, 2):
            if a == b or not surely_below(at[steps[-1]][a], at[steps[-1]][b]):
                continue
            reverse = [step for step in steps[1:-1] if surely_below(at[step][b], at[step][a])]
            if reverse:
                rows.append((workload, a, b, reverse[-1], reverse[-1] / steps[-1]))
    return pd.DataFrame(rows, columns=["workload", "ahead", "behind", "step", "share"])


def finished(curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Curves without those of a workload and optimizer with a diverged run.

    Args:
        runs: workload, optimizer and diverged, of whatever is to count: tuned runs, or the `summary`.
    """
    lost = runs.loc[runs["diverged"] > 0, ["workload", "optimizer"]]
    return curves[~of_pairs(curves, set(lost.itertuples(index=False, name=None)))]


def of_pairs(table: pd.DataFrame, pairs: set[tuple[str, str]]) -> np.ndarray:
    """Which rows of a table are of one of these workloads and optimizers."""
    return pd.MultiIndex.from_frame(table[["workload", "optimizer"]]).isin(list(pairs))


def measured(
    runs: pd.DataFrame, curves: pd.DataFrame, optimizer: str, share: float
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """`targets` set by an optimizer, the `long_table` of runs against them, and `flips`."""
    goals = targets(runs, curves, optimizer, share)
    long = long_table(runs, curves, goals, optimizer)
    return goals, long, flips(curves, long)


def drawn(curves: pd.DataFrame) -> pd.DataFrame:
    """What the figures draw: mean and range over seeds at each step: workload, optimizer, role, factor, metric, step,
    mean, low, high, n."""
    keys = ["workload", "optimizer", "role", "factor", "metric", "step"]
    rows = curves[(curves["role"] == "final") | ((curves["role"] == "factor") & (curves["metric"] == "objective"))]
    table = rows.groupby(keys)["value"].agg(mean="mean", low="min", high="max", n="count").reset_index()
    return table.astype({"step": "int32", "mean": "float32", "low": "float32", "high": "float32", "n": "int16"})


def entries(contenders: dict[str, dict], facts: dict[tuple[str, str], dict]) -> pd.DataFrame:
    """One row per optimizer: its implementation and version, what the name means there, what was tuned."""
    rows = []
    for name, contender in contenders.items():
        known = next((fact for (_, optimizer), fact in facts.items() if optimizer == name), None)
        if known is None:
            continue
        fixed = {key: value for key, value in contender["optimizer"].items() if key != "name"}
        rows.append(
            {
                "optimizer": name,
                "implementation": known["implementation"],
                "package": known["package"],
                "source": known["source"],
                "meaning": known["meaning"],
                "fixed": ", ".join(f"{key} = {value}" for key, value in fixed.items()),
                "space": ", ".join(_interval(option, spec) for option, spec in contender["space"].items()),
            }
        )
    return pd.DataFrame(rows)


def _interval(option: str, spec: dict) -> str:
    ((how, (low, high)),) = spec.items()
    return f"{option} in [{low:g}, {high:g}]" if how == "log" else f"1 - {option} in [{low:g}, {high:g}]"


def profile(long: pd.DataFrame, quantity: str = "steps_to_target") -> pd.DataFrame:
    """Ratios to the best optimizer of each workload and seed for a performance profile (Dolan and More 2002): workload,
    optimizer, seed, ratio; infinite where a run diverged or never arrived."""
    runs = finals(long)
    values = runs[quantity].astype(float).where(runs["diverged"] == 0)
    best = values.groupby([runs["workload"], runs["seed"]]).transform("min")
    ratio = (values / best).mask(values == best, 1.0)  # also where the best is zero steps
    return runs[["workload", "optimizer", "seed"]].assign(ratio=ratio.fillna(np.inf)).reset_index(drop=True)


def costs(table: pd.DataFrame, timings: pd.DataFrame) -> pd.DataFrame:
    """The cost of an optimizer's step and of reaching the target: workload, optimizer, seconds_per_step, step_over_sgd,
    state_per_parameter, steps_to_target, seconds_to_target; means over the seeds that arrived.

    Args:
        table: from `summary`.
        timings: workload, optimizer, loop_seconds (of a step) and over_sgd.
    """
    timed = timings.rename(columns={"loop_seconds": "seconds_per_step", "over_sgd": "step_over_sgd"})
    keys = ["workload", "optimizer"]
    merged = timed[[*keys, "seconds_per_step", "step_over_sgd"]].merge(
        table[[*keys, "state_per_parameter", "steps_to_target"]], on=keys, how="left"
    )
    return merged.assign(seconds_to_target=merged["steps_to_target"] * merged["seconds_per_step"])


def best_of(long: pd.DataFrame, workload: str, optimizers: Sequence[str]) -> str | None:
    """The optimizer of these whose tuned runs have the lowest mean final objective on a workload; None without runs."""
    runs = at_shared_seeds(finals(long[(long["workload"] == workload) & long["optimizer"].isin(list(optimizers))]))
    means = runs.groupby("optimizer")["objective"].mean()
    return None if means.empty else str(means.idxmin())
