"""What mkdocs is told beyond mkdocs.yml: which files are pages, the pages made at build time, formulas as MathML."""

import re
from html import unescape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Pages, and what they link to, under the paths that they have in the repository.
SHOWN = (
    "*.md",
    "CITATION.cff",
    "LICENSE",
    "data/README.md",
    "docs/**/*.md",
    "docs/*.toml",
    "docs/notebooks/*.ipynb",
    "results/*.md",
    "results/*.html",
    "results/MANIFEST.json",
    "results/figures/*",
    "results/latex/*",
    "results/tables/**/*.csv",
)
# Reference pages of the API: the modules of each package, by their docstrings.
API = {
    "lab": ("Lab", "benchmarks/lab"),
    "optimizers": ("Optimizers", "benchmarks/lab/optimizers"),
    "architectures": ("Architectures", "benchmarks/lab/architectures"),
    "measurements": ("Measurements", "benchmarks/lab/measurements"),
    "theory": ("Closed forms", "benchmarks/theory"),
    "evidence": ("Estimators and statistics", "benchmarks/evidence"),
}


@event_priority(100)  # before the plugins that make pages of notebooks
def on_files(files: Files, config: MkDocsConfig) -> Files:
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted({path.relative_to(ROOT).as_posix() for glob in SHOWN for path in ROOT.glob(glob) if path.is_file()})
    real = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in paths]
    made = {"cli": _commands(), **{f"api/{page}": _modules(*what) for page, what in API.items()}}
    pages = [File.generated(config, f"docs/reference/{page}.md", content=text) for page, text in made.items()]
    return Files([*theme, *real, *pages])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    from benchmarks.evidence import mathematics

    formula = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
    return formula.sub(lambda found: str(mathematics.html(f"${unescape(found[1])}$")), html)


def _commands() -> str:
    """Every command's help, from the parser of `bench`."""
    from pipelines.cli import _parser

    parser = _parser()
    (commands,) = [action.choices for action in parser._actions if action.dest == "command"]
    parts = [("bench", parser), *((f"bench {name}", command) for name, command in commands.items())]
    return "# Commands\n\n" + "\n\n".join(f"## {name}\n\n```text\n{one.format_help()}```" for name, one in parts)


def _modules(title: str, folder: str) -> str:
    modules = [path for path in sorted((ROOT / folder).glob("*.py")) if path.stem != "__init__"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    return f"# {title}\n\n" + "\n\n".join(f"::: {name}" for name in names)
