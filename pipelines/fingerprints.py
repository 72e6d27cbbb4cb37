"""What a configuration's numbers depend on: a hash of the code it imports, comments and docstrings apart.

Import statements are followed from a configuration's study and registry entries through the ``benchmarks`` package;
nothing is executed. The pipelines package is left out on purpose: it holds paths, not maths.
"""

import ast
import hashlib
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from pipelines.parameters import Parameters

PACKAGE = "benchmarks"
# The registry entries that experiments name in their code, by study; others are in their settings.
ARCHITECTURES = {
    "overparameterization": ("deep_linear", "ntk_mlp"),
    "lazy_training": ("bias_free_mlp", "deep_linear", "mlp", "ntk_mlp"),
    "deep_linear": ("bias_free_mlp", "deep_linear"),
    "scale_invariance": ("bias_free_mlp",),
}
OPTIMIZERS = {
    "convex_rates": ("sgd",),
    "overparameterization": ("sgd",),
    "lazy_training": ("sgd",),
    "deep_linear": ("muon", "sgd"),
    "scale_invariance": ("sgd", "adam"),
}


def configurations(parameters: Parameters) -> dict[tuple[str, str], list[str]]:
    """For every stage that is fingerprinted, (study, configuration): the modules and outside entries it starts from."""
    roots: dict[tuple[str, str], list[str]] = {}
    for study, settings in parameters.studies.items():
        for name in settings.named:
            resolved = settings.settings(name)
            roots[study, name] = [
                f"{PACKAGE}.studies.{study}",
                _entry("architectures", resolved["architecture"]["name"]),
                _entry("optimizers", resolved["optimizer"]["name"]),
                *(
                    _entry("measurements", entry)
                    for entry, options in resolved["measure"].items()
                    if options is not None
                ),
            ]
    sharpening = parameters.progressive_sharpening
    optimizers = sorted({optimizer.name for optimizer in sharpening.thresholds.values()})
    roots["progressive_sharpening", "thresholds"] = [
        f"{PACKAGE}.lab.measurements.linear_stability",
        *(_entry("optimizers", name) for name in optimizers),
    ]
    roots["progressive_sharpening", "catapult"] = [
        f"{PACKAGE}.studies.catapult",
        *(_entry("architectures", name) for name in ("two_layer", "deep_linear")),
        _entry("optimizers", "sgd"),
    ]
    for study, settings in parameters.computed.items():
        for name, given in settings.experiments.items():
            known = {"architecture": ARCHITECTURES.get(study, ()), "optimizer": OPTIMIZERS.get(study, ())}
            roots[study, name] = [
                f"{PACKAGE}.studies.{study}.{name}",
                *(
                    _entry(f"{kind}s", entry)
                    for kind, entries in known.items()
                    for entry in sorted({*entries, *_named(kind, given)})
                ),
            ]
    roots["low_rank_progression", "output_scale"] = [
        f"{PACKAGE}.studies.low_rank_progression.output_scale",
        _entry("architectures", "bias_free_mlp"),
        _entry("optimizers", "sgd"),
    ]
    for name in parameters.low_rank_progression.rungs:
        rung = parameters.low_rank_progression.settings(name)
        # Pilots are plain gradient descent.
        used = {rung["optimizer"]["name"], *(["sgd"] if rung["edge"] is not None else [])}
        roots["low_rank_progression", name] = [
            f"{PACKAGE}.studies.low_rank_progression.rung",
            _entry("architectures", rung["architecture"]["name"]),
            *(_entry("optimizers", entry) for entry in sorted(used)),
        ]
    comparison = parameters.optimizer_comparison
    study = f"{PACKAGE}.studies.optimizer_comparison"
    for workload, optimizer in comparison.contests():
        roots["optimizer_comparison", f"{workload}-{optimizer}"] = [
            f"{study}.contest",
            _entry("architectures", comparison.workload(workload)["architecture"]["name"]),
            _entry("optimizers", comparison.optimizers[optimizer].optimizer.name),
        ]
    systems = {system.optimizer.name for system in comparison.class_imbalance.systems.values()}
    measured = {comparison.workload(name)["architecture"]["name"] for name in comparison.heterogeneity.workloads}
    for name, entries in (
        ("class_imbalance", [_entry("optimizers", entry) for entry in sorted(systems)]),
        ("normalised_quadratic", [_entry("optimizers", "sgd")]),
        ("heterogeneity", [_entry("architectures", entry) for entry in sorted(measured)]),
    ):
        roots["optimizer_comparison", name] = [f"{study}.{name}", *entries]
    roots["timings", "optimizer_steps"] = [
        f"{PACKAGE}.studies.optimizer_steps",
        *(_entry("architectures", comparison.workload(name)["architecture"]["name"]) for name in comparison.workloads),
        *(_entry("optimizers", contender.optimizer.name) for contender in comparison.optimizers.values()),
    ]
    timed = roots["progressive_sharpening", parameters.timings.configuration]
    for name in ("eigensolvers", "training_step"):
        roots["timings", name] = [f"{PACKAGE}.studies.{name}", *timed]
    return roots


def _named(kind: str, settings: dict) -> Iterator[str]:
    """The entries of a kind that an experiment's settings name, at any depth."""
    for key, value in settings.items():
        if key == kind:
            yield value["name"]
        elif key == f"{kind}s":
            yield from (spec["name"] for spec in value.values())
        elif isinstance(value, dict):
            yield from _named(kind, value)


def fingerprint(roots: list[str], source: Path) -> dict:
    """The fingerprint of all that the roots import.

    Args:
        roots: dotted module names inside the package, or ``package.module:factory`` from outside.
        source: the folder that holds the package.

    Returns:
        ``modules``: a hash for each module; ``outside``: a version for each outside entry; ``fingerprint``: the
        hash of both.
    """
    modules: dict[str, str] = {}
    outside: dict[str, str] = {}
    pending = list(roots)
    while pending:
        name = pending.pop()
        if ":" in name:
            outside[name] = _outside_version(name)
        elif name not in modules:
            tree = ast.parse(_file(name, source).read_text(encoding="utf-8"))
            modules[name] = hashlib.sha256(_canonical(tree).encode()).hexdigest()[:16]
            pending += _imports(tree, source)
            if "." in name:
                pending.append(name.rpartition(".")[0])
    modules = dict(sorted(modules.items()))
    outside = dict(sorted(outside.items()))
    combined = hashlib.sha256(repr((modules, outside)).encode()).hexdigest()[:16]
    return {"fingerprint": combined, "modules": modules, "outside": outside}


def _entry(package: str, name: str) -> str:
    return name if ":" in name else f"{PACKAGE}.lab.{package}.{name}"


def _file(module: str, source: Path) -> Path:
    path = source.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(tree: ast.AST, source: Path) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from package import name` may import a module or a name of one.
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    inside = [name for name in names if name.split(".")[0] == PACKAGE]
    return [name for name in inside if _file(name, source).is_file()]


def _canonical(node: object) -> str:
    """A tree as text, without docstrings and positions, and the same for every Python version that parses it alike."""
    if isinstance(node, list):
        return f"[{','.join(map(_canonical, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            value = [statement for i, statement in enumerate(value) if not (i == 0 and _is_docstring(statement))]
        if value is None or value == [] or name == "type_comment":
            continue  # newer Pythons add empty fields
        fields.append(f"{name}={_canonical(value)}")
    return f"{type(node).__name__}({','.join(fields)})"


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _outside_version(name: str) -> str:
    """The version of the distribution that provides an outside entry, or the hash of a loose file's text.

    Raises:
        ValueError: if its module cannot be found.
    """
    module = name.partition(":")[0]
    top = module.split(".")[0]
    distributions = packages_distributions().get(top)
    if distributions:
        return f"{distributions[0]} {version(distributions[0])}"
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        raise ValueError(f"cannot find {name!r}: is its package installed?")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()[:16]
