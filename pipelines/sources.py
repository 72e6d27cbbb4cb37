"""Where the pixels come from: three routes to the same CIFAR-10 bytes, and the digits that ship with scikit-learn.

Every route must give arrays with the SHA-256 that params.yaml pins, so every user trains on the same data. Of
``cifar10-whole``, all 50,000 images and 10,000 to test on, the pins are of the images of ``cifar10`` among them; the
others are those whose MD5 torchvision checks. What asks for 5,000 of the 50,000 gets the 5,000 of ``cifar10``.
"""

import hashlib
import os
import socket
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.lab import digits

Arrays = dict[str, np.ndarray]
# A name, and a function that gives the data or raises `DataError`.
Route = tuple[str, Callable[[], Any]]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

NAMES = ("x_train", "y_train", "x_test", "y_test")
# Channels, height and width of the images of each source, and how many there are to test on.
SHAPES = {"cifar10": (3, 32, 32), "cifar10-whole": (3, 32, 32), "digits": (1, 8, 8)}
TESTS = {"cifar10": 1000, "cifar10-whole": 10_000, "digits": 500}
ARCHIVE = "cifar10_first1000_per_batch.npz"
PER_BATCH = 1000
_BATCH = 10_000
_DOWNLOAD_TIMEOUT_S = 30


class DataError(RuntimeError):
    """Data that are missing or differ from what was pinned; the message says what to do."""


class Hashes(BaseModel):
    """SHA-256 of the C-order bytes of each array."""

    model_config = ConfigDict(extra="forbid", strict=True)

    x_train: Sha256
    y_train: Sha256
    x_test: Sha256
    y_test: Sha256


class Data(BaseModel):
    """What params.yaml says about the images."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: Literal["cifar10", "cifar10-whole", "digits"]
    sha256: Hashes


def including(source: str) -> list[str]:
    """A source, and the one whose images are among its own: claims about these can be judged on it too."""
    return [source, "cifar10"] if source == "cifar10-whole" else [source]


def obtain(source: str, pinned: dict[str, str], root: Path) -> tuple[Arrays, str]:
    """The four arrays of a source, checked against their pinned hashes, and the route they came by.

    Args:
        root: the project's root; ``data/raw`` below it is the second route, and where a download goes.

    Raises:
        DataError: if no route gives the pinned arrays, with what each one said.
    """
    if source == "digits":
        return verified(digits.arrays(), pinned, "scikit-learn's digits"), "scikit-learn"
    try:
        return first_of(cifar10_routes(root, source), lambda arrays, name: checked(arrays, source, pinned, name))
    except DataError as failures:
        official = "the official cifar-10-batches-py"
        accepted = f"{ARCHIVE} or with {official}" if source == "cifar10" else official
        raise DataError(
            f"no route gave the pinned CIFAR-10 arrays.\n{failures}\nDo one of these, then run again:\n"
            f"  1. set CIFAR10_ROOT to a folder with {accepted};\n"
            f"  2. put {'either of them' if source == 'cifar10' else 'that'} into data/raw;\n"
            "  3. run where torchvision can download CIFAR-10.\n"
            "Or run `make quick`, which needs no data: it uses scikit-learn's digits."
        ) from None


def first_of(routes: list[Route], check: Callable[[Any, str], Any]) -> tuple[Any, str]:
    """What the first route gives that passes the check, and the route's name.

    Raises:
        DataError: if there is none; a line per route says why.
    """
    failures = []
    for name, route in routes:
        try:
            return check(route(), name), name
        except DataError as failure:
            failures.append(f"  {name}: {failure}")
    raise DataError("\n".join(failures))


def from_variable(variable: str, read: Callable[[Path], Any]) -> Route:
    """The route to where an environment variable points."""

    def route() -> Any:
        place = os.environ.get(variable)
        if not place:
            raise DataError("not set")
        return read(Path(place).expanduser())

    return f"${variable}", route


def settle() -> None:
    """Let processes that work in another folder find what this one would: the variables that say where become
    absolute."""
    raw = Path("data/raw")
    for variable in ("CIFAR10_ROOT", "TINYSHAKESPEARE"):
        if given := os.environ.get(variable) or (str(raw) if raw.is_dir() else ""):
            os.environ[variable] = str(Path(given).expanduser().resolve())


def cifar10_routes(root: Path, source: str = "cifar10") -> list[Route]:
    """The routes in the order they are tried; the last is a download."""
    raw = root / "data" / "raw"
    whole = source == "cifar10-whole"
    return [
        from_variable("CIFAR10_ROOT", lambda folder: from_folder(folder, whole)),
        ("data/raw", lambda: from_folder(raw, whole)),
        ("torchvision's download", lambda: from_torchvision(raw, True, whole)),
    ]


def from_folder(folder: Path, whole: bool = False) -> Arrays:
    """The arrays from a folder that holds the archive, or the official batches as torchvision lays them out; the whole
    of CIFAR-10 is only in these."""
    if (folder / ARCHIVE).is_file() and not whole:
        return from_archive(folder / ARCHIVE)
    if (folder / "cifar-10-batches-py").is_dir():
        return from_torchvision(folder, False, whole)
    raise DataError(f"no {'' if whole else f'{ARCHIVE} and no '}cifar-10-batches-py in {folder}")


def from_archive(path: Path) -> Arrays:
    """The arrays of an npz archive.

    Raises:
        DataError: naming the file if it is truncated or no archive, or the array that is missing or corrupted.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is truncated or not an npz archive ({error})") from error
    arrays = {}
    with archive:
        for name in NAMES:
            try:
                arrays[name] = archive[name]
            except KeyError:
                raise DataError(f"{path} has no array {name}") from None
            except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                raise DataError(f"array {name} of {path} is corrupted ({error})") from error
    return arrays


def from_torchvision(folder: Path, download: bool, whole: bool = False) -> Arrays:
    """The first 1,000 images of each official batch, through ``torchvision.datasets.CIFAR10``; or all, those of each
    training batch in such an order that its first 1,000 are at equal distances.

    Raises:
        DataError: if torchvision cannot download them, or finds files that are missing or corrupted.
    """
    from torchvision.datasets import CIFAR10

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        train, test = (CIFAR10(str(folder), train=flag, download=download) for flag in (True, False))
    except Exception as error:  # torchvision, its unpickler and its downloader raise all kinds of errors
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"torchvision could not read CIFAR-10 in {folder}: {said}") from error
    finally:
        socket.setdefaulttimeout(before)
    # torchvision gives N x 32 x 32 x 3, batch after batch.
    of_batch = _spread() if whole else np.arange(PER_BATCH)
    rows = np.concatenate([start + of_batch for start in range(0, len(train.data), _BATCH)])
    tests = slice(None if whole else PER_BATCH)
    channels_first = (0, 3, 1, 2)
    return {
        "x_train": np.ascontiguousarray(train.data[rows].transpose(channels_first)),
        "y_train": np.asarray(train.targets, dtype=np.uint8)[rows],
        "x_test": np.ascontiguousarray(test.data[tests].transpose(channels_first)),
        "y_test": np.asarray(test.targets, dtype=np.uint8)[tests],
    }


def _spread() -> np.ndarray:
    """The rows of a batch, the first `PER_BATCH` at equal distances and all others between them."""
    rows = np.empty(_BATCH, dtype=int)
    at_distances = np.arange(_BATCH) % (_BATCH // PER_BATCH) == 0
    rows[at_distances], rows[~at_distances] = np.arange(PER_BATCH), np.arange(PER_BATCH, _BATCH)
    return rows


def sha256(array: np.ndarray) -> str:
    """Of the array's bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def checked(arrays: Arrays, source: str, pinned: dict[str, str], origin: str) -> Arrays:
    """The arrays of a source, if those that are pinned among them have their hashes; raises as `verified`."""
    among = arrays
    if source == "cifar10-whole":
        every = _BATCH // PER_BATCH
        among = {name: x[::every] if "train" in name else x[:PER_BATCH] for name, x in arrays.items()}
    verified(among, pinned, origin)
    return arrays


def verified(arrays: Arrays, pinned: dict[str, str], origin: str) -> Arrays:
    """The arrays, if each has the pinned hash.

    Raises:
        DataError: naming the first array that has another.
    """
    for name in NAMES:
        actual = sha256(arrays[name])
        if actual != pinned[name]:
            raise DataError(
                f"array {name} from {origin} has SHA-256 {actual[:12]}..., params.yaml pins {pinned[name][:12]}..."
            )
    return arrays
