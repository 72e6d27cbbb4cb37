"""The prepared text as the lab takes it, if it is the one that params.yaml pins."""

from pathlib import Path

from benchmarks.lab import text
from pipelines import sources, text_sources


def load(path: Path, pinned: dict) -> text.Corpus:
    """`benchmarks.lab.text.Corpus` of a file that `prepare_corpus` made.

    Args:
        pinned: the section ``corpus`` of params.yaml.

    Raises:
        DataError: if it is damaged, or another text.
    """
    try:
        content = text_sources.verified(path.read_bytes(), pinned["sha256"], str(path))
    except sources.DataError as error:
        raise sources.DataError(f"{error}: remove {path}; `dvc repro prepare_corpus` makes it again") from None
    return text.split(content.decode("utf-8"))
