"""The prepared text as the lab takes it."""

from pathlib import Path

from benchmarks.lab import text


def load(path: Path) -> text.Corpus:
    """`benchmarks.lab.text.Corpus` of a file that `prepare_corpus` made.

    Raises:
        ValueError: if it is no longer UTF-8.
    """
    try:
        return text.split(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8: remove it; `dvc repro prepare_corpus` makes it again") from None
