"""The prepared images as the lab takes them, if they are those that params.yaml pins."""

from pathlib import Path

from pipelines import sources


def load(path: Path, dtype: str, pinned: dict):
    """`benchmarks.lab.datasets.Images` of a file that `prepare` made, in a dtype by its name.

    Args:
        pinned: the section ``data`` of params.yaml.

    Raises:
        DataError: if the file is damaged, or has other images.
    """
    import torch  # here, because it takes seconds

    from benchmarks.lab import datasets

    try:
        arrays = sources.checked(sources.from_archive(path), pinned["source"], pinned["sha256"], str(path))
    except sources.DataError as error:
        raise sources.DataError(f"{error}: remove {path}; `dvc repro prepare` makes it again") from None
    return datasets.images(**arrays, dtype=getattr(torch, dtype))
