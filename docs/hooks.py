"""What mkdocs.yml cannot say: which files are pages, what is made at build time, notebooks run, formulas as MathML."""

import re
from html import unescape
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
# Pages, and what they link to, under the paths that they have in the repository.
SHOWN = (
    "*.md",
    "CITATION.cff",
    "contributed/README.md",
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
    "evidence": ("From runs to verdicts", "benchmarks/evidence"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    theme = [file for file in files if file.src_dir != config.docs_dir]
    paths = sorted({path.relative_to(ROOT).as_posix() for glob in SHOWN for path in ROOT.glob(glob) if path.is_file()})
    real = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in paths]
    made: dict[str, str | bytes] = {"docs/reference/cli.md": _commands()}
    made |= {f"docs/reference/api/{page}.md": _modules(*what) for page, what in API.items()}
    for path in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        made |= {f"docs/notebooks/{name}": content for name, content in _executed(path).items()}
    return Files([*theme, *real, *(File.generated(config, path, content=content) for path, content in made.items())])


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A link to a notebook leads to its page."""
    return re.sub(r"(\]\([^)\s]+)\.ipynb\)", r"\1.md)", markdown)


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


def _executed(path: Path) -> dict[str, str | bytes]:
    """A notebook's page after a run of its cells, and the figures on it, by name; a cell that fails ends the build."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, startup_timeout=600, resources=place).execute()
    asked = {"unique_key": path.stem, "output_files_dir": path.stem}
    text, found = MarkdownExporter().from_notebook_node(notebook, resources=asked)
    return {f"{path.stem}.md": text, **found["outputs"]}


def _modules(title: str, folder: str) -> str:
    modules = [path for path in sorted((ROOT / folder).glob("*.py")) if path.stem != "__init__"]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules]
    return f"# {title}\n\n" + "\n\n".join(f"::: {name}" for name in names)
