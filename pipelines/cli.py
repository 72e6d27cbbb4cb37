"""``bench``: rebuild, check, read. DVC does the work; this module chooses targets, shows progress and reads results."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from benchmarks.evidence import chapter, judge, mathematics, register, summary
from benchmarks.evidence.comparison import of_pairs
from benchmarks.evidence.report import number, span, tally
from benchmarks.studies import catalog, entries
from pipelines import (
    away,
    cite,
    compare,
    completion,
    contributed,
    corpus,
    devices,
    diff,
    doctor,
    dvcfile,
    engines,
    fingerprints,
    finished,
    images,
    names,
    pacing,
    parameters,
    publish,
    readme,
    rebuild,
    release,
    revisions,
    scaffold,
    sources,
    stages,
    store,
    verify,
    workspace,
)
from pipelines.entry import DEBUG, told
from pipelines.files import CORPUS, IMAGES, TABLES, read_csv, read_tables, table_path, write_yaml
from pipelines.stages import ANSWER, CLAIMS_PAGE, REPORT, Stage

ARCHITECTURES = "benchmarks.lab.architectures"
# What is copied into a profile's workspace. Copied, never linked, so that nothing there can reach results/ here.
COPIED = ("benchmarks", "pipelines", "CITATION.cff", ".dvcignore")
# What `bench names` lists.
NAMED = (*names.KINDS, "profile")
# The options of a rebuild on other machines.
ELSEWHERE = ("on", "cluster", "gpus", "retries")


def main(arguments: list[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    parsed.start = Path.cwd()
    for ending in (signal.SIGTERM, signal.SIGHUP):  # `kill`, a closed terminal: as Ctrl-C, so that workers end too
        signal.signal(ending, signal.default_int_handler)
    sys.path.insert(0, "")  # so that modules in the working folder are found, as in the stages
    try:
        if parsed.command not in ("doctor", "completion"):
            _go_to_root()
            scaffold.undo_unfinished()
        return parsed.run(parsed)
    except BrokenPipeError:  # what reads this, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print(
            "interrupted: finished stages are kept, and runs with a checkpoint will continue from it", file=sys.stderr
        )
        return 130
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        print(f"error: {told(error)}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    """Every command, with its group and examples; help and shell completion are made from it."""
    parser = argparse.ArgumentParser(
        prog="bench",
        usage="bench [-h] COMMAND ...",
        description="A benchmark for the dynamics of optimization.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, prog="bench", metavar="COMMAND", help=argparse.SUPPRESS
    )
    groups: dict[str, list[str]] = {}

    def add(group: str, name: str, text: str, *examples: str, more: str = "") -> argparse.ArgumentParser:
        groups.setdefault(group, []).append(f"  {name:<12}{text}")
        return commands.add_parser(
            name,
            help=text,
            description=textwrap.fill(f"{text[0].upper()}{text[1:]}. {more}".strip(), 100),
            epilog="\n".join(["examples:", *(f"  bench {example}" for example in examples)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    group = "Rebuild"
    command = add(
        group,
        "repro",
        "rebuild what is stale: everything, or what a name needs",
        "repro -j 4",
        "repro C5                   # what one claim needs, and its verdict",
        "repro deep_linear          # a study",
        "repro lr-mid               # a configuration",
        "repro --on slurm           # on a cluster",
    )
    _add_target(command)
    command.add_argument(
        "-j", "--jobs", type=_positive, default=1, help="training stages to run at once here (default 1)"
    )
    _add_elsewhere(command)
    command.set_defaults(run=repro)

    command = add(
        group,
        "quick",
        "all studies on a small scale, in .quick/: takes minutes, needs no data",
        "quick",
        "quick -j 4",
        more="The same as `bench profile quick`.",
    )
    _add_jobs(command)
    command.set_defaults(run=profile, name="quick", target=None, **dict.fromkeys(ELSEWHERE))

    command = add(
        group,
        "profile",
        "run a profile, params.NAME.yaml, in a separate workspace, .NAME/",
        "profile quick lr-high",
        "profile paper optimizer_comparison -j 8",
    )
    _completed(command.add_argument("name", metavar="NAME"), "profile")
    _add_target(command)
    _add_jobs(command)
    _add_elsewhere(command)
    command.set_defaults(run=profile)

    command = add(
        group,
        "status",
        "show what a rebuild would run, and the current verdicts",
        "status",
    )
    command.set_defaults(run=status)

    command = add(
        group,
        "report",
        "remake tables, verdicts, figures and report, without training",
        "report",
    )
    command.set_defaults(run=report)

    command = add(
        group,
        "cost",
        "estimate what a profile would take on one H100, from its settings",
        "cost",
        "cost paper --workers 8 64",
    )
    _completed(
        command.add_argument("profile", nargs="?", metavar="PROFILE", help="default: the reference profile"), "profile"
    )
    command.add_argument(
        "--stages", type=_positive, default=10, help="how many of the longest stages to list (default 10)"
    )
    command.add_argument(
        "--workers", type=_positive, nargs="*", default=[], help="also estimate the time on so many workers"
    )
    command.set_defaults(run=_cost)

    group = "Read"
    command = add(
        group,
        "explain",
        "show a claim: prediction, estimator, runs, cells, verdict",
        "explain E1",
        "explain E1.level-mid       # the claim of this check",
    )
    _completed(command.add_argument("claim", metavar="CLAIM | CHECK"), "claim", "check")
    command.set_defaults(run=explain)

    command = add(
        group,
        "compare",
        "compare two configurations, runs, claims, tables or revisions side by side",
        "compare lr-low lr-mid",
        "compare lr-low:1 lr-low:2  # two runs, by seed",
        "compare E1 E3              # two claims",
        "compare HEAD~1 HEAD",
    )
    for side in ("first", "second"):
        _completed(command.add_argument(side, metavar="NAME[:SEED] | REV"), *names.KINDS)
    command.set_defaults(run=_compare)

    command = add(
        group,
        "diff",
        "show which cells and verdicts changed between two revisions",
        "diff HEAD~1",
        "diff v0.9.0 v0.10.0 --limit 50",
    )
    command.add_argument("before", metavar="REV_A")
    command.add_argument("after", nargs="?", metavar="REV_B", help="default: the working tree")
    command.add_argument("--limit", type=_positive, default=20, help="number of cells to show")
    command.set_defaults(run=_diff)

    command = add(
        group,
        "names",
        "list every study, configuration, claim, check and table, with its kind",
        "names claim",
        "names | grep muon",
    )
    command.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(NAMED)}; default: all")
    command.set_defaults(run=_names)

    group = "Add your own"
    command = add(
        group,
        "new",
        "write a working stub of an experiment, optimizer, architecture or claim",
        "new optimizer mysgd",
        "new architecture mynet",
        "new experiment warm_start  # a study of its own, with a claim",
        "new claim U9 --table scale_invariance/norm_growth",
        more="Nothing is overwritten. It prints what to edit and what to run next.",
    )
    command.add_argument("kind", choices=sorted(scaffold.KINDS))
    command.add_argument("name", metavar="NAME")
    _completed(command.add_argument("--table", metavar="TABLE", help="for a claim: the table that it reads"), "table")
    command.set_defaults(run=_new)

    command = add(
        group,
        "carry-over",
        "print the rows of a network of your own in the table that answers Open Question 4.1",
        "carry-over mynets:build",
        "carry-over mynets:build --like resnet --seeds 5",
        "carry-over mynets:build --data mydata:load --steps 500",
        more="Trains the network and the networks beside it, one seed after another. Memory grows with its parameters, "
        "about 120 bytes each; activations that do not fit half a GiB are evaluated again in the backward pass, as "
        "many examples at a time as fit. If less memory is free than it will take, it says so at once "
        "(docs/how-to/network.md).",
    )
    command.add_argument("factory", metavar="PACKAGE.MODULE:FACTORY", help="factory(input_shape, outputs) -> nn.Module")
    command.add_argument(
        "--data",
        default="images",
        metavar="images|tokens|PACKAGE.MODULE:DATASET",
        help="the prepared images (default) or text, or a function that returns a text or (train inputs, train labels, "
        "test inputs, test labels)",
    )
    command.add_argument("--like", metavar="SYSTEM", help="the system whose recipe it takes; default: mlp, or gpt")
    command.add_argument("--seeds", type=_positive, default=3)
    command.add_argument("--steps", type=_positive, default=None, help="of the network; default: as the recipe")
    command.set_defaults(run=carry_over)

    command = add(
        group,
        "stages",
        "write the dvc.yaml files from params.yaml and the declarations",
        "stages",
    )
    command.set_defaults(run=write_stages)

    group = "Check and cite"
    command = add(
        group,
        "verify",
        "rebuild the committed tables in a scratch clone without a cache, and compare cell by cell",
        "verify --sample 3",
        "verify E1 --against v0.10.0",
        "verify Q1 --set compute.threads=2",
        "verify contributed/open_question_4_1/mine.json",
    )
    named = command.add_argument(
        "target",
        nargs="?",
        metavar="NAME | FILE",
        help="what to rebuild, or a contributed file to check; default: everything",
    )
    _completed(named, *names.KINDS)
    command.add_argument("--against", default="HEAD", metavar="REV", help="compare with the tables of this revision")
    command.add_argument("--sample", type=_positive, metavar="N", help="rebuild N randomly chosen configurations")
    command.add_argument("--seed", type=int, default=0, help="seed of the sample")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="rebuild with this change of params.yaml"
    )
    command.add_argument(
        "--identical", action="store_true", help="require every digit to be the same, whatever the machine"
    )
    command.add_argument("--remake", action="store_true", help="train the stages of a contributed file again")
    _add_jobs(command)
    command.set_defaults(run=_verify)

    command = add(
        group,
        "check",
        "check the manifest, the data cards and the versioning rule",
        "check",
    )
    command.set_defaults(run=_check)

    command = add(
        group,
        "cite",
        "cite a table or a cell: BibTeX, interval, how to rebuild and verify it",
        "cite                       # lists all tables",
        "cite E1.level-mid",
        "cite claims --row claim=E1 --column measured",
        "cite lr-mid --format latex",
    )
    named = "a table; or a claim, check or configuration, for its rows; default: list all tables"
    _completed(command.add_argument("table", nargs="?", metavar="NAME", help=named), *names.KINDS)
    command.add_argument("--row", action="append", default=[], metavar="COLUMN=VALUE")
    command.add_argument("--column", action="append", default=[])
    command.add_argument("--format", choices=("text", "bibtex", "latex", "markdown"), default="text")
    command.set_defaults(run=_cite)

    group = "Publish"
    command = add(
        group,
        "publish",
        "send finished runs, tables and figures to W&B, each once",
        "publish",
        "publish deep_linear",
    )
    _add_target(command)
    command.set_defaults(run=_publish)

    command = add(
        group,
        "workspace",
        "make a W&B workspace and report for each study, from what its runs logged",
        "workspace",
        "workspace progressive_sharpening",
        "workspace --save           # online, or fail",
        more="Without an account, only writes files to wandb/workspaces/ (docs/how-to/wandb.md).",
    )
    _completed(command.add_argument("study", nargs="?", metavar="STUDY", help="default: all studies"), "study")
    command.add_argument("--save", action="store_true", help="fail unless they are saved online")
    command.set_defaults(run=_workspace)

    command = add(
        group,
        "push",
        "add the runs to the embedded store and remove superseded ones",
        "push",
    )
    command.set_defaults(run=push)

    command = add(
        group,
        "release",
        "check, write results/CHANGELOG.md and CITATION.cff, commit and tag",
        "release 0.11.0",
    )
    command.add_argument("version", metavar="X.Y.Z")
    command.add_argument("--since", metavar="REV", help="revision that the first release is compared with")
    command.set_defaults(run=_release)

    command = add(
        group,
        "contribute",
        "write rows made on your machine to a file, to be shown beside ours",
        "contribute open_question_4_1 h100 --row system=gpt-10m --profile paper",
    )
    _completed(command.add_argument("table", metavar="TABLE", help="the table that has the rows"), "table")
    command.add_argument("name", metavar="NAME", help="the file will be contributed/TABLE/NAME.json")
    command.add_argument(
        "--row", action="append", default=[], metavar="COLUMN=VALUE", help="only these rows; default: all"
    )
    command.add_argument("--profile", metavar="PROFILE", help="the profile whose workspace has the rows")
    command.add_argument("--note", default="", help="a sentence to be shown with the rows")
    command.set_defaults(run=_contribute)

    group = "Set up"
    command = add(
        group,
        "doctor",
        "check the environment and the data",
        "doctor",
    )
    command.set_defaults(run=lambda _: doctor.main())

    command = add(
        group,
        "completion",
        "print a script that makes a shell complete commands, options and names",
        "completion bash > ~/.local/share/bash-completion/completions/bench",
        'completion zsh > "${fpath[1]}/_bench"',
    )
    command.add_argument("shell", choices=("bash", "zsh"))
    command.set_defaults(run=_completion)

    listed = [line for group, lines in groups.items() for line in ("", f"{group}:", *lines)]
    parser.epilog = "\n".join([*listed[1:], "", "`bench COMMAND --help` has options and examples."])
    return parser


def _add_target(command: argparse.ArgumentParser) -> None:
    text = "a study, configuration, claim, check or table; default: everything"
    _completed(command.add_argument("target", nargs="?", metavar="NAME", help=text), *names.KINDS)


def _add_jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-j", "--jobs", type=_positive, default=2, help="training stages to run at once here (default 2)"
    )


def _completed(argument: argparse.Action, *kinds: str) -> None:
    """Have shells complete an argument by names of these kinds."""
    function = "_bench_" + "_".join(kinds)
    argument.complete = {"bash": function, "zsh": function}


def _add_elsewhere(command: argparse.ArgumentParser) -> None:
    command.add_argument("--on", choices=sorted(engines.ENGINES), help="run training stages on other machines")
    command.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="of Ray (default: RAY_ADDRESS, or this machine alone); `local`: Slurm jobs here",
    )
    command.add_argument("--gpus", type=float, metavar="SHARE", help="GPUs of each stage that uses one (default 1)")
    command.add_argument(
        "--retries", type=int, metavar="N", help="how often a stage is sent again if its worker is lost (default 3)"
    )


def _elsewhere(parsed: argparse.Namespace) -> Callable | None:
    """What runs stages on other machines, as the command line asks; None for here.

    Raises:
        AwayError: for options that do not fit together.
    """
    gpus, retries = (1.0 if parsed.gpus is None else parsed.gpus), (3 if parsed.retries is None else parsed.retries)
    if parsed.on is None:
        if given := [f"--{name}" for name in ELSEWHERE if getattr(parsed, name) is not None]:
            raise away.AwayError(f"{given[0]} is about other machines: add --on ray or --on slurm")
        return None
    if not 0 < gpus < float("inf") or retries < 0:
        raise away.AwayError("--gpus must be above 0, and --retries at least 0")
    if parsed.gpus is not None and not (device := _params().compute.device).startswith("cuda"):
        raise away.AwayError(f"--gpus is for stages on a GPU, and compute.device in params.yaml is {device!r}")
    engine, options = engines.ENGINES[parsed.on], getattr(engines.site(), parsed.on)
    return partial(away.work, engine=partial(engine, cluster=parsed.cluster, site=options), gpus=gpus, retries=retries)


def repro(parsed: argparse.Namespace) -> int:
    elsewhere = _elsewhere(parsed)
    params, claims, training = _params(), _claims(), _training()
    dvcfile.require_current(params)
    claim, then = None, []  # after the training stages: everything
    if parsed.target is not None:
        found, everything = names.find(parsed.target, training), training
        claim, training = found.claim, names.needed(found, everything)
        targets = {"study": [f"pipelines/{found.name}/dvc.yaml"]}
        if found.kind == "table":
            targets["table"] = [stages.writers(everything)[found.name]]
        then = targets.get(found.kind)
        if claim is not None and (tables := names.whole_tables(claims[claim])):
            print(f"{claim} reads all of {', '.join(tables)}, and so needs whatever feeds it: {len(training)} stages")
    done = rebuild.rebuild(training, parsed.jobs, then, elsewhere)
    print(f"\nran {len(done.ran)}, restored {len(done.restored)}, failed {len(done.failed)} in {done.seconds:.0f} s")
    for address in done.failed:
        print(f"  failed: {address}")
    if claim is not None and not done.failed:
        _print_fresh_verdict(claims, claim, training, [*sources.including(params.data.source), params.corpus.source])
        print("no table was rewritten: `bench repro` rebuilds those that are stale")
    elif then is not None and not done.failed:
        _print_verdicts(claims)
        if params.data.source == "digits":
            print("claims about CIFAR-10 are not run on digits; results/ has the verdicts of the reference profile")
        print(f"report: {REPORT.resolve()}" if not then else "the report is unchanged: `bench report` remakes it")
    return 1 if done.failed else 0


def profile(parsed: argparse.Namespace) -> int:
    whole, workspace = parameters.profile(parsed.name), Path(f".{parsed.name}")
    workspace.mkdir(exist_ok=True)
    with rebuild.alone(lock=workspace / rebuild.ALONE):
        _fill(workspace, whole)
    # A fresh process: the copied packages must be imported, not these.
    asked = [parsed.target] if parsed.target else []
    asked += [f"--{name}={value}" for name in ELSEWHERE if (value := getattr(parsed, name)) is not None]
    command = [sys.executable, "-m", "pipelines.cli", "repro", *asked, "-j", str(parsed.jobs)]
    return subprocess.run(command, env=rebuild.environment(), check=False).returncode


def _fill(workspace: Path, whole: dict) -> None:
    """Copy the code into a workspace, write its parameters, and work there from now on."""
    for part in COPIED:
        source, target = Path(part), workspace / part
        if source.is_dir():
            for old in (*target.rglob("*.py"), *target.rglob("*.yaml")):
                old.unlink()
            # Lock files belong to the reference: a workspace keeps its own.
            ignored = shutil.ignore_patterns("__pycache__", "dvc.lock", "dvc.yaml", ".gitignore")
            shutil.copytree(source, target, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
    (workspace / engines.SITE).unlink(missing_ok=True)
    if engines.SITE.is_file():
        shutil.copy2(engines.SITE, workspace)
    sources.settle()
    os.chdir(workspace)
    write_yaml(Path("params.yaml"), whole)
    dvcfile.write(parameters.load())
    if not Path(".dvc").is_dir():
        if rebuild.dvc("init", "-q", "--no-scm").returncode != 0:
            raise rebuild.RebuildError(f"dvc init failed in {workspace}: remove the folder and try again")
        Path(".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = true\n", encoding="utf-8")


def write_stages(parsed: argparse.Namespace) -> int:
    _claims()
    for path in dvcfile.write(parameters.load()):
        print(f"{'wrote' if path.is_file() else 'removed'} {path}")
    return 0


def status(parsed: argparse.Namespace) -> int:
    params = _params()
    dvcfile.require_current(params)
    with rebuild.alone(waits=False):
        reasons = rebuild.stale()
    if not reasons:
        print("everything is up to date")
    training = stages.training(params)
    if absent := sum(not stage.meta.is_file() for stage in training):
        print(f"{absent} of {len(training)} stages have no run here: `dvc pull` restores what was pushed\n")
    for stage, why in reasons.items():
        print(f"stale: {stage}")
        for entry in why:
            for kind, what in entry.items() if isinstance(entry, dict) else ((entry, {}),):
                listed = ", ".join(f"{name} ({state})" for name, state in what.items()) if what else ""
                print(f"    {kind}{': ' + listed if listed else ''}")
    if "fingerprint" in reasons:  # DVC sees what follows from it only after it has run
        for stage in training:
            if changed := fingerprints.changes(stage, params, Path.cwd()):
                what = f"changed: {', '.join(changed)}" if stage.code.is_file() else "new"
                print(f"stale: {stage.address}\n    {what}")
    if (TABLES / "claims.csv").is_file():
        _print_verdicts(_claims())
    return 0


def report(parsed: argparse.Namespace) -> int:
    params = _params()
    dvcfile.require_current(params)
    # The manifest tells of every run, and so waits until there are all.
    whole = all(stage.meta.is_file() for stage in stages.training(params))
    targets = [one.address for one in stages.following() if whole or one.name != "manifest"]
    rebuild.remake(targets)
    _print_verdicts(_claims())
    print(f"report: {REPORT.resolve()}\nanswer: {ANSWER.resolve()}")
    readme.refresh()
    return 0


def _cost(parsed: argparse.Namespace) -> int:
    from pipelines import cost  # here, for it imports torch

    found = cost.estimates(parsed.profile)
    table = cost.summary(found)
    print(table.to_string(float_format=lambda value: f"{value:.2f}"))
    print("\nthe longest, in estimated hours on one H100 (counted), or measured on one core (measured):")
    for one in sorted(found, key=lambda one: -(one.seconds or 0))[: parsed.stages]:
        print(
            f"  {(one.seconds or 0) / 3600:7.2f}  {'measured' if one.work is None else 'counted':<9} {one.stage.path}"
        )
    unknown = [one.stage.path for one in found if one.seconds is None]
    print(f"\nin all {table['hours'].sum():.1f} hours, estimated, one stage after another", end="")
    print(f", without {len(unknown)} that have not run here: {names.few(unknown)}" if unknown else "")
    for workers in parsed.workers:
        print(f"{workers} at a time, the longest first: {cost.wall_s(found, workers) / 3600:.2f} hours")
    if ratios := cost.check(found):
        middle, ends = ratios[len(ratios) // 2], f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
        print(
            f"the same formula for one core: {middle:.2f} times the measured seconds (median of {len(ratios)}; {ends})"
        )
    return 0


def explain(parsed: argparse.Namespace) -> int:
    claims = _claims()
    name = names.find(parsed.claim, _training(), only=("claim", "check")).claim
    claim = claims[name]
    print(f"{name}. {mathematics.plain(claim.title)}\n")
    for label, text in (
        ("section", chapter.load(catalog.sections())[claim.study].title),
        ("source", claim.source),
        ("registered", str(claim.registered)),
        ("statement", mathematics.plain(claim.statement)),
        ("measured as", mathematics.plain(claim.measurement)),
        ("seen before", claim.disclosure),
    ):
        if text:
            print(f"{label + ':':<14}{text.strip()}")
    for amendment in claim.amendments:
        print(f"amended {amendment.date}: {amendment.reason.strip()} (verdict before: {amendment.old_verdict})")
    table = _checks_table()
    for check_name, check in claim.checks.items():
        arguments = ", ".join(f"{key}={value}" for key, value in check.estimator.model_extra.items())
        low, high = check.limits
        print(f"\n{check_name} ({check.role}): {check.statement}")
        print(f"    estimator   {check.estimator.name}({arguments})")
        print(f"    prediction  {number(check.predicted)}, band {span(low, high)}, {check.fidelity}")
        if check.regime:
            print(f"    regime      {check.regime.meaning}")
        rows = table[table["check"] == check_name]
        if rows.empty:
            print("    verdict     not run: no row in claims.csv; `bench report` judges the runs that are here")
            continue
        row = rows.iloc[0]
        interval = ""
        if pd.notna(row.ci95_low):
            ends = {level: (row[f"ci{level}_low"], row[f"ci{level}_high"]) for level in (90, 95)}
            interval = "".join(f", {level} % interval [{low:.5g}, {high:.5g}]" for level, (low, high) in ends.items())
        unit = f" {row.unit}" if isinstance(row.unit, str) else ""
        print(f"    measured    {row.measured:.10g}{unit}, n = {row.n}{interval}")
        print(f"    verdict     {summary.marked(row.word, row.post_hoc)}: {row.reason}")
    _print_runs(claim)
    _print_contests(claim)
    if not table.empty:
        verdict = judge.claim_verdict(table[table["claim"] == name])
        print(f"\n{name}: {summary.marked(verdict.word, verdict.post_hoc)} ({verdict.reason})")
    return 0


def carry_over(parsed: argparse.Namespace) -> int:
    params = parameters.load()
    sys.path.insert(0, str(parsed.start))  # a module in a file beside the caller
    try:
        rows = _rows_of_own(parsed, params)
    except ValueError as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(fault["msg"].removeprefix("Value error, ") for fault in faults) or error
        print(f"error: {parsed.factory}: {said}", file=sys.stderr)
        return 1
    print(f"{'prediction':<15}{'value':>11}{'reference':>11}{'null':>11}{'share':>10}   95 % interval      word")
    for row in rows.itertuples():
        interval = span(row.share_low, row.share_high) if pd.notna(row.share_low) else ""
        said = f"{row.word}: {row.why}" if row.why else row.word
        values = (number(row.network_value), number(row.reference), number(row.null), number(row.share))
        print(
            f"{row.prediction:<15}{values[0]:>11}{values[1]:>11}{values[2]:>11}{values[3]:>10}   {interval:<19}{said}"
        )
    print(f"{parsed.seeds} seeds, held-out accuracy {rows['test_accuracy'].iloc[0]:.3f}")
    return 0


def _rows_of_own(parsed: argparse.Namespace, params) -> pd.DataFrame:
    """First what a moment tells: names, then files."""
    if parsed.seeds < 2:
        raise ValueError("a share needs an interval over seeds: give --seeds 2 or more")
    entries.check(ARCHITECTURES, parsed.factory)
    if parsed.like is not None:
        entries.require(parsed.like, list(params.carry_over.systems), "system")
    kinds = {"images": (IMAGES, "prepare"), "tokens": (CORPUS, "prepare_corpus")}
    path, stage = kinds.get(parsed.data, (None, ""))
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"{path} is missing: `dvc repro {stage}` makes it (data/README.md)")
    compute = params.compute
    devices.prepare(compute.device, compute.threads)
    import torch

    from benchmarks.studies.carry_over import own

    # torch's own, of its forward-mode derivatives
    warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
    if path is None:
        data = own.dataset(parsed.data, getattr(torch, compute.dtype))
    else:
        pinned = params.model_dump()
        data = (
            images.load(path, compute.dtype, pinned["data"]) if path == IMAGES else corpus.load(path, pinned["corpus"])
        )
    seeds = range(1, parsed.seeds + 1)
    with pacing.display() as shown:
        return own.answer_rows(
            params.carry_over, parsed.factory, data, seeds, compute, like=parsed.like, steps=parsed.steps, shown=shown
        )


def push(parsed: argparse.Namespace) -> int:
    pushed = store.push()
    dropped = f"{pushed.dropped} superseded entries dropped"
    if pushed.unfinished:
        dropped = f"nothing dropped: {len(pushed.unfinished)} stages have no result ({pushed.unfinished[0]}, ...)"
    print(f"{store.STORE}: {pushed.megabytes:.1f} MB; {dropped}. Commit it with the results.")
    return 0


def _contribute(parsed: argparse.Namespace) -> int:
    path = contributed.contribute(parsed.table, parsed.name, parsed.row, parsed.profile, parsed.note)
    print(f"{path}: check it with `bench verify {path}`, then commit it (contributed/README.md)")
    return 0


def _verify(parsed: argparse.Namespace) -> int:
    if (parsed.target or "").endswith(".json"):
        path = Path(os.path.relpath(parsed.start / parsed.target))
        found = contributed.check(path, parsed.remake, parsed.jobs)
        print(contributed.told(path, found))
        return 0 if found.agrees else 1
    if parsed.remake:
        raise contributed.ContributionError("--remake is for a contributed file, contributed/TABLE/NAME.json: name one")
    study, named = _scope(parsed.target)
    if parsed.target and all(
        stage.alone for stage in names.needed(names.find(parsed.target, _training()), _training())
    ):
        raise verify.VerifyError(f"{parsed.target} is about seconds, which differ from run to run and are not compared")
    settings, jobs, identical = tuple(parsed.set), parsed.jobs, parsed.identical
    request = verify.Request(study, named, parsed.against, parsed.sample, parsed.seed, settings, jobs, identical)
    if dirty := revisions.changed():
        print(f"uncommitted changes are ignored: {', '.join(dirty[:5])}{', ...' if dirty[5:] else ''}")
    outcome = verify.verify(request)
    verify.record(outcome, verify.VERDICT)
    print(verify.told(outcome))
    return 0 if outcome.agrees else 1


@cache
def _params() -> Any:
    return parameters.load()


@cache
def _training() -> list[Stage]:
    return stages.training(_params())


def _claims() -> dict[str, register.Claim]:
    return catalog.registered()


def _scope(target: str | None) -> tuple[str | None, frozenset[str] | None]:
    """A study, or the configurations that something else rests on; neither for everything."""
    if target is None:
        return None, None
    found = names.find(target, _training())
    if found.kind == "study":
        return found.name, None
    return None, frozenset(stage.name for stage in names.needed(found, _training()))


def _diff(parsed: argparse.Namespace) -> int:
    print(diff.told(diff.diff(parsed.before, parsed.after), parsed.limit))
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    print(compare.compare(parsed.first, parsed.second))
    return 0


def _publish(parsed: argparse.Namespace) -> int:
    study, named = _scope(parsed.target)
    print("\n".join(publish.publish(study, named)))
    return 0


def _workspace(parsed: argparse.Namespace) -> int:
    print("\n".join(workspace.write(parsed.study, parsed.save)))
    return 0


def _check(parsed: argparse.Namespace) -> int:
    print("\n".join([*release.check(), *contributed.checked()]))
    return 0


def _names(parsed: argparse.Namespace) -> int:
    for kind in parsed.kinds:
        if kind not in NAMED:
            raise names.UnknownNameError(f"{kind!r} is no kind of name: the kinds are {', '.join(NAMED)}")
    known = {**names.every(_training()), "profile": parameters.profiles()}
    for kind in parsed.kinds or NAMED:
        for name in known[kind]:
            print(f"{kind:<14} {name}")
    return 0


def _new(parsed: argparse.Namespace) -> int:
    print("\n".join(scaffold.new(parsed.kind, parsed.name, parsed.table)))
    return 0


def _completion(parsed: argparse.Namespace) -> int:
    print(completion.script(_parser(), parsed.shell))
    return 0


def _release(parsed: argparse.Namespace) -> int:
    print("\n".join(release.release(parsed.version, parsed.since)))
    return 0


def _cite(parsed: argparse.Namespace) -> int:
    print(cite.cite(parsed.table, parsed.row, parsed.column, parsed.format))
    return 0


def _print_runs(claim: register.Claim) -> None:
    """The runs that a claim rests on, with the columns that its checks and regimes read."""
    path = TABLES / "progressive_sharpening.long.csv"
    if not path.is_file():
        return
    runs = read_csv(path)
    rows = runs[runs["configuration"].isin(claim.configurations)]
    if rows.empty:
        return
    columns = ["configuration", "seed", "learning_rate", "steps", *claim.metrics]
    print(f"\nruns (rows of {path}):")
    print(rows[columns].to_string(index=False, float_format="{:.5g}".format))
    cells = TABLES / "progressive_sharpening.csv"
    print(f"cells: {int(pd.read_csv(cells)['configuration'].isin(claim.configurations).sum())} rows of {cells}")


def _print_contests(claim: register.Claim) -> None:
    """The optimizers on workloads that a claim rests on."""
    path = TABLES / "optimizer_comparison.csv"
    wanted = set().union(*(check.estimator.contests for check in claim.checks.values()))
    if not path.is_file() or not wanted:
        return
    table = read_csv(path)
    rows = table[of_pairs(table, wanted)]
    if not rows.empty:
        columns = ["workload", "optimizer", "n", "learning_rate", "objective", "objective_low", "objective_high"]
        print(f"\ncontests (rows of {path}):")
        print(rows[[*columns, "steps_to_target"]].to_string(index=False, float_format="{:.5g}".format))


def _print_verdicts(claims: dict[str, register.Claim]) -> None:
    """How many claims of each section have each verdict."""
    table = _checks_table()
    if table.empty:
        print("no verdicts yet: run `bench repro`")
        return
    rows, sections = summary.verdicts(claims, table), chapter.load(catalog.sections())
    width = max(len(section.title) for section in sections.values())
    for study, section in sections.items():
        print(f"{section.title:<{width}}  {tally(rows.loc[rows['study'] == study, 'word'])}")
    print(f"all {len(rows)} claims: {CLAIMS_PAGE.resolve()}")


def _print_fresh_verdict(
    claims: dict[str, register.Claim], name: str, training: list[Stage], sources: list[str]
) -> None:
    """The verdict of one claim from the existing runs, without touching a table."""
    tables = read_tables(table for table in catalog.cards() if table_path(table).is_file())
    for study in dict.fromkeys(stage.study for stage in training):
        if runs := [finished.require(stage.path) for stage in training if stage.study == study and stage.table is None]:
            tables |= finished.tables(study, runs, tables).tables
    checks = judge.judge({name: claims[name]}, tables, sources)
    for row in checks.itertuples():
        role = "" if row.role == "main" else f" ({row.role} control)"
        values = f"measured {number(row.measured)}, predicted {number(row.predicted)}"
        print(f"  {row.check:<20} {row.word:<19} {values}{role}")
    verdict = judge.claim_verdict(checks)
    print(f"{name}: {summary.marked(verdict.word, verdict.post_hoc)} ({verdict.reason})")


def _checks_table() -> pd.DataFrame:
    path = TABLES / "claims.csv"
    if not path.is_file():
        return pd.DataFrame(columns=judge.CHECK_COLUMNS)
    return read_csv(path)


def _go_to_root() -> None:
    """Work from the repository's root, from wherever in it the command was given."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "pipelines").is_dir():
            os.chdir(folder)
            return
    raise FileNotFoundError("not inside the benchmark: no params.yaml next to pipelines/, in this folder or above it")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, and is {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
