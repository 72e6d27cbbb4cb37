"""The report: one self-contained page that opens from disk, from tables, figures, the register and provenance."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from benchmarks.evidence import chapter
from benchmarks.evidence.cards import CARDS
from benchmarks.evidence.claims import Claim, claim_verdict
from benchmarks.evidence.figures import TABLES, WITHOUT_CURVES, curves_of
from benchmarks.evidence.runs import COLUMNS

# What the table of all runs shows of the long table's columns; a claim's own table shows the first and what it judges.
RUN_COLUMNS = [
    "configuration",
    "seed",
    "learning_rate",
    "steps",
    "diverged",
    "last_loss",
    "last_train_accuracy",
    "first_sharpness",
    "late_sharpness",
    "late_sharpness_ratio",
    "edge_step",
    "late_loss_increases",
    "hvps_per_reading",
]
CLAIM_COLUMNS = RUN_COLUMNS[:5]
# figure: what a reader should see in it, and the claims it shows; it stands at the first of them.
CAPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "convex_rates": (
        "Left: what the worst functions leave after N steps (symbols) is what the theorems allow (lines); they do not "
        "cover a step beyond 1/L. Right: logistic regression on two classes of images, with its measured constants, "
        "stays far below its bounds (dashed). Means and ranges over seeds.",
        ("C1", "C3", "C4"),
    ),
    "overparameterization": (
        "Top left: a network fits random labels as completely as the true ones, and guesses test images (circles) at "
        "chance level then; a line a seed. Top right: the loss along the straight chord between two "
        "solutions, by network and for a linear model. Bottom left: the least eigenvalue of the tangent kernel along "
        "training, over its first, by width. Bottom right: the relative distance that weights travel, by width and "
        "layer, in NTK parametrization; lines have the predicted slope. Means and ranges over seeds.",
        ("O1", "O1-slowdown", "O2", "O3", "O3-narrow", "O5"),
    ),
    "lazy_training": (
        "Top: the tangent kernel's movement in training, and the largest distance of outputs from those of the "
        "linearized network, fall with the width, and stay with a mean-field readout; dashed: the exponents -1/2 and "
        "-1; dotted: 5 %. Bottom left: kernel modes fall at the rate of their eigenvalue (dashed) in a wide network, "
        "faster in a narrow one with a mean-field readout (one seed). Bottom right: a centred network times alpha "
        "becomes its own linearization, with the exponents of theory (dashed). Means and ranges over seeds.",
        ("N1", "N2", "N3", "N5"),
    ),
    "implicit_bias": (
        "Top: the kernel aligns with the targets in standard training and not in a lazy run; its path by step. Bottom: "
        "on separable data the weights of logistic regression grow as ln t over the widest margin (dashed: slope one), "
        "and their direction nears that of the widest margin like 1 / ln t (dashed); under squared loss both stop. "
        "Means and ranges over seeds.",
        ("N6", "N6-early", "N8"),
    ),
    "stability_thresholds": (
        "The curvature at which each library optimizer loses stability on a quadratic, beside the closed form that "
        "the edge of stability is measured against.",
        ("C5",),
    ),
    "progressive_sharpening": (
        "Gradient descent sharpens the loss until the top Hessian eigenvalue reaches 2/lr (dashed) and then holds "
        "it there while the loss goes on falling, no longer monotonically.",
        ("E1",),
    ),
    "settled_sharpness": (
        "Settled sharpness in units of its predicted value: circles are seeds, bars 95 % intervals, grey the "
        "registered band; linear regression, whose Hessian cannot move, stays outside.",
        ("E1", "E1-systems"),
    ),
    "edges": (
        "Every optimizer has a threshold of its own (dashed; dotted: 2/lr) for the sharpness that it meets: 2/lr for "
        "gradient descent, above or below that with momentum, 38/lr of the preconditioned Hessian for Adam, one that "
        "moves with the gradient norm for SAM. Lines are means, bands the range over seeds.",
        ("E3", "E4", "E7", "E8", "E9"),
    ),
    "descent_lemma": (
        "A step raises the loss exactly where its mean curvature exceeds 2/lr, which takes a sharpness above 2/lr "
        "along it: never before the edge, nearly every other step at it, and never in linear regression. Circles are "
        "seeds, bars 95 % intervals, grey the registered band.",
        ("C6",),
    ),
    "gradient_flow": (
        "Gradient descent follows gradient flow (black, the same for every learning rate) until the flow reaches 2/lr "
        "(dots, dotted lines), and leaves it soon after: the sharpness stays, the distance jumps.",
        ("E2",),
    ),
    "oscillation_variance": (
        "At the edge the variance of the oscillation along the top eigenvector is the one at which it cancels "
        "progressive sharpening (orange), and the one that the central flow holds (green). Right: second half of each "
        "run, circles are seeds, bars 95 % intervals, grey the registered band.",
        ("E5", "E6"),
    ),
    "central_flow": (
        "The central flow holds its sharpness at 2/lr, foretells the running mean of the loss, and stays beside "
        "gradient descent where gradient flow leaves it.",
        ("E6",),
    ),
    "batch_sharpness": (
        "How far stochastic gradient descent takes its batch sharpness towards 2/lr, and the sharpness of the full "
        "loss, at three batch sizes. Left: medians of the second half of a run, symbols are seeds, bars 95 % "
        "intervals, grey the registered band; right: along training, in the colours of the left.",
        ("E8",),
    ),
    "catapult": (
        "A two-layer linear network loses its monotone descent where lr times initial curvature is 2 and its "
        "convergence at 4; between, it lands where the curvature is below 2/lr (right). A one-layer network has no "
        "such room, and ReLU no sharp second boundary. A symbol is a seed.",
        ("E10",),
    ),
    "sharpening_modifiers": (
        "How far the sharpness rises above its initial mean where nothing stops it: at two widths, on few and on many "
        "images, and under cross-entropy, where it falls again once the examples are fitted. Means and ranges over "
        "seeds.",
        ("E11",),
    ),
    "deep_linear": (
        "Deep linear networks and their nearest relatives. Smaller weights make the path greedier, whatever the "
        "activation; gradient descent learns strong modes first, Muon weak ones; depth sets the power by which a mode "
        "grows and the time it takes to leave the origin; and depth completes a matrix of low rank. Symbols are seeds, "
        "bars 95 % intervals, lines the closed forms (top left: means).",
        ("D6", "D3", "D4", "D7", "D11"),
    ),
    "carry_over_waterfall": (
        "From the textbook's setting to practice, an axis at a time, in the registered order and in its reverse: what "
        "a step costs depends on those before it. Bars are 95 % intervals over five seeds.",
        ("Q1", "Q1-real", "Q2", "Q3"),
    ),
    "mode_trajectories": (
        "How far each mode has come as the visible loss falls: network (solid), its linear twin (dashed), the closed "
        "form of a deep linear network (dotted, left), and the straight line on which all modes move together (grey).",
        ("Q9", "Q13"),
    ),
    "score_against_init": (
        "The waypoint score against the end-to-end scale of the start, u0/s_1: symbols are seeds, lines means; dashed, "
        "what the equation of a deep linear network says of the same modes, where they start below their strength. "
        "The star is the default recipe.",
        ("Q2", "Q16"),
    ),
    "effective_rank": (
        "Effective rank over training. Left: of the outputs' linear part, against the straight line from the same "
        "start; right: stable rank of the weights' updates, against gradients accumulated at frozen features. "
        "Means and ranges over seeds.",
        ("Q10",),
    ),
    "carry_over_ladder": (
        "Every rung: the waypoint score of network (filled) and linear twin (open), and how closely it tracks its "
        "twin; bars are 95 % intervals, dashed the registered bounds.",
        ("Q1", "Q11", "Q14", "Q15"),
    ),
    "scale_invariance": (
        "Left and middle: angle per step and fourth power of the norm of scale-invariant weights come to their closed "
        "forms; dotted, where the norm would be if gradients had no memory. Right: an exponential learning rate "
        "without weight decay gives the logits of the run with decay (solid; dotted, the registered bound), a constant "
        "one does not (dashed). Means and ranges over seeds.",
        ("U4", "U4-memory", "U3"),
    ),
    "intrinsic_learning_rate": (
        "Final loss against the product of learning rate and weight decay: with normalisers the four learning rates at "
        "one product (drawn side by side) agree, without they do not. Right: by which power of c the learning rate "
        "follows a loss c L, a parameter v with w = c v, and a start c times as large, so that the run is the same. A "
        "symbol is a seed.",
        ("U7", "U7-accuracy", "U6"),
    ),
    "optimizer_loss": (
        "Each optimizer at its tuned setting, mean and range over seeds not seen in tuning; dashed, the target: 95 % "
        "of the fall of AdamW. Top: validation loss, cosine decay (not for Schedule-Free); below: training loss in "
        "full batch at a constant learning rate. Who diverged in a tuned run is left out there.",
        ("W5", "W2", "W3"),
    ),
    "optimizer_profile": (
        "Performance profile: the share of runs (workloads and seeds) in which a tuned optimizer arrives at the target "
        "within a multiple of the best optimizer's steps. Who is at the top on the left is best; who ends below 1 does "
        "not always arrive.",
        ("W5",),
    ),
    "lr_sensitivity": (
        "Final loss at a learning rate off the tuned one, clipped at the loss before training (dotted): means over "
        "seeds, bands their range. Right: the transformer without normalization, under four optimizers.",
        ("W7", "W5"),
    ),
    "class_losses": (
        "Left: on one-hot inputs gradient descent leaves each class a loss of (c - 1)/(c π t), sign descent "
        "treats all alike. Right: loss of the classes of the imbalanced softmax problem after 100 steps, by how many "
        "examples they have; whatever is below 1e-5 is drawn there.",
        ("W1", "W2"),
    ),
    "optimizer_sharpness": (
        "Where tuned optimizers end: sharpness of the training loss on 256 examples; circles are seeds, bars 95 % "
        "intervals.",
        ("W5",),
    ),
    "optimizer_seconds": (
        "The runs of the optimizer comparison against seconds, at what a step of each takes on one thread of this "
        "machine: matrix optimizers pay for their steps.",
        (),
    ),
    "eigensolvers": (
        "Cost of the top eigenvalue, and of the top three, at readings along a run at the edge of stability, each "
        "solver at its cheapest setting that meets the target error at all of them; warm starts from the reading "
        "before, cold from a random vector.",
        (),
    ),
}


def render(
    claims: dict[str, Claim],
    tables: dict[str, pd.DataFrame],
    svgs: dict[str, str],
    provenance: dict,
    study: str,
    anchors: dict[str, str],
    cite: dict[str, str],
) -> str:
    """The page as HTML.

    Args:
        claims: the register.
        tables: ``claims``, the study's long table, the optimizer comparison's summary and entries, and the timing
            tables, by file name without ``.csv``.
        svgs: each figure's SVG text.
        provenance: profile, data source and hashes, commits, versions, processors, minutes of training.
        anchors: where the page of tables has a configuration, by its name.
        cite: version and bibtex.

    Raises:
        ValueError: if the chapter lacks a claim's section, or tells of a check that there is not.
    """
    checks = tables["claims"]
    titles = chapter.order(claim.section for claim in claims.values())
    claims = {name: claim for title in titles for name, claim in claims.items() if claim.section == title}
    verdicts = {name: claim_verdict(checks[checks["claim"] == name]) for name in claims}
    long = tables[f"{study}.long"]
    figures = []
    for name, (caption, shows) in CAPTIONS.items():
        shows = [claim for claim in shows if claim in claims]
        svg = inline_svg(svgs[name], name)
        figures.append({"name": name, "caption": caption, "claims": shows, "svg": svg, "sources": sources(name)})
    return template("report.html.j2").render(
        claims=claims,
        sections=_sections(claims, verdicts, checks),
        words={word for word, _ in verdicts.values()},
        verdicts=verdicts,
        checks={name: _records(checks[checks["claim"] == name]) for name in claims},
        figures=figures,
        runs=_columns_and_rows(long, RUN_COLUMNS) | {"table": f"{study}.long"},
        runs_of={name: claim_runs(claim, long) for name, claim in claims.items()},
        ranking=ranking(tables["optimizer_comparison"]),
        entries=_records(tables["optimizer_comparison/optimizers"]),
        timings={
            name.rpartition("/")[2]: {"columns": list(table.columns), "rows": _anchored(name, table)}
            for name, table in tables.items()
            if name.startswith("timings/")
        },
        provenance=provenance,
        anchors=anchors,
        cite=cite,
    )


def _sections(claims: dict[str, Claim], verdicts: dict[str, tuple[str, str]], checks: pd.DataFrame) -> dict[str, dict]:
    """Each section that has claims, by title: its three paragraphs, its claims, how many have which verdict."""
    told = chapter.load()
    found = {}
    for title in dict.fromkeys(claim.section for claim in claims.values()):
        names = [name for name, claim in claims.items() if claim.section == title]
        found[title] = {
            "known": told[title].known,
            "measured": told[title].parts(checks),
            "open": told[title].open,
            "claims": names,
            "tally": Counter(verdicts[name][0] for name in names),
        }
    return found


def sources(figure: str) -> list[str]:
    """The files that a figure is drawn from, relative to the page."""
    curves = [] if figure in WITHOUT_CURVES else [f"curves/{curves_of(figure)}.parquet"]
    return [f"tables/{name}.csv" for name in TABLES[figure]] + curves


def anchor(table: str, keys: Sequence[object]) -> str:
    """Where the page of tables has a row."""
    return "-".join([f"row-{table}", *(str(key) for key in keys if str(key) not in ("", "nan"))]).replace(" ", "_")


def ranking(summary: pd.DataFrame) -> dict[str, list[dict]]:
    """The rows of the comparison by workload, best first."""
    ordered = summary.sort_values(["rank_best", "rank_worst", "objective"], kind="stable")
    return {name: _records(ordered[ordered["workload"] == name]) for name in summary["workload"].unique()}


def template(name: str) -> jinja2.Template:
    """A page of this folder, which has `number` and `span`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = number
    environment.globals |= {"span": span, "anchor": anchor}
    return environment.get_template(name)


def claim_runs(claim: Claim, long: pd.DataFrame) -> dict:
    """The runs that a claim's checks rest on, with the columns that they judge or whose regime they ask for."""
    columns = CLAIM_COLUMNS + [name for name in COLUMNS if name in claim.metrics and name not in CLAIM_COLUMNS]
    mine = long[long["configuration"].isin(claim.configurations)]
    return _columns_and_rows(mine, columns) | {"table": "progressive_sharpening.long"}


def number(value: object) -> str:
    """Four significant digits; a dash where there is none; text as it is."""
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return "–"
    if float(value).is_integer() and abs(value) < 1e6:
        return f"{int(value)}"
    return f"{value:.4g}"


def span(low: float, high: float) -> str:
    """A range, with as many digits (four to ten) as it takes to tell its ends apart; a dash where there is none.

    An infinite end is open.
    """
    if pd.isna(low):
        return "–"
    if np.isinf(low) or np.isinf(high):
        return f"≤ {number(high)}" if np.isinf(low) else f"≥ {number(low)}"
    for digits in range(4, 11):
        ends = f"{low:.{digits}g}", f"{high:.{digits}g}"
        if ends[0] != ends[1]:
            break
    return " – ".join(ends)


def inline_svg(svg: str, name: str) -> str:
    """An SVG file's root element, its ids made unique to the page and its size left to the style sheet."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    return re.sub(r'xlink:href="#', f'xlink:href="#{name}-', body)


def _columns_and_rows(runs: pd.DataFrame, columns: list[str]) -> dict:
    """Columns (name, what, unit) that the table has, and its rows."""
    shown = [column for column in columns if column in runs]
    return {"columns": [(c, COLUMNS[c][1], COLUMNS[c][0]) for c in shown], "rows": _records(runs[shown])}


def _anchored(name: str, table: pd.DataFrame) -> list[dict]:
    """The rows of a table, each with the anchor of its own on the page of tables."""
    keys = table[list(CARDS[name].keys)].itertuples(index=False)
    return [{**row, "anchor": anchor(name, key)} for row, key in zip(_records(table), keys)]


def _records(table: pd.DataFrame) -> list[dict]:
    return table.to_dict("records")
