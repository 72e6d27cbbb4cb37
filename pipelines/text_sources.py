"""Where the text comes from: three routes to the same bytes of Tiny Shakespeare, and a Markov chain of our own.

Every route must give the SHA-256 that params.yaml pins. A text is UTF-8; what tokens it is cut into, and where it is
split, is no matter of these routes (`benchmarks.lab.text`).
"""

import hashlib
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipelines import markov_text
from pipelines.files import replacing
from pipelines.sources import DataError, Route, Sha256, first_of, from_variable

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
BYTES = 1_115_394
NAMES = ("tinyshakespeare.txt", "input.txt")
_DOWNLOAD_TIMEOUT_S = 30


class Corpus(BaseModel):
    """What params.yaml says of the text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    source: Literal["tiny-shakespeare", "markov-chain"]
    sha256: Sha256  # of its bytes in UTF-8


def obtain(source: str, pinned: str, root: Path) -> tuple[bytes, str]:
    """The text of a source in UTF-8, checked against its pinned hash, and the route it came by.

    Args:
        root: the project's root; ``data/raw`` below it is the second route, and where a download goes.

    Raises:
        DataError: if no route gives the pinned text, with what each one said.
    """
    if source == "markov-chain":
        return verified(markov_text.text().encode(), pinned, "the Markov chain"), "a Markov chain"
    try:
        return first_of(routes(root, pinned), lambda content, name: verified(content, pinned, name))
    except DataError as failures:
        raise DataError(
            f"no route gave the pinned text of Tiny Shakespeare.\n{failures}\nDo one of these, then run again:\n"
            f"  1. set TINYSHAKESPEARE to the file, or to a folder that has it as {' or '.join(NAMES)};\n"
            f"  2. put it into data/raw as {NAMES[0]};\n"
            f"  3. run where {URL} can be reached.\n"
            "Or run `make quick`, which needs no data: it uses a text that a Markov chain writes."
        ) from None


def routes(root: Path, pinned: str) -> list[Route]:
    """The routes to Tiny Shakespeare in the order they are tried; the last is a download."""
    raw = root / "data" / "raw"
    return [
        from_variable("TINYSHAKESPEARE", from_place),
        ("data/raw", lambda: from_place(raw)),
        ("the download", lambda: download(raw, pinned)),
    ]


def from_place(place: Path) -> bytes:
    """The text from its file, or from a folder that holds it.

    Raises:
        DataError: if it is not there, or cannot be read.
    """
    if not place.exists():
        raise DataError(f"{place} does not exist")
    path = next((place / name for name in NAMES if (place / name).is_file()), place)
    if not path.is_file():
        raise DataError(f"no {' and no '.join(NAMES)} in {place}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error


def download(raw: Path, pinned: str) -> bytes:
    """The text from where it was published; kept in ``raw`` if it is the pinned one.

    Raises:
        DataError: if it cannot be had, or is another.
    """
    try:
        with urllib.request.urlopen(URL, timeout=_DOWNLOAD_TIMEOUT_S) as answer:
            content = answer.read(BYTES + 1)
    except (OSError, HTTPException) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"could not read {URL}: {said}") from error
    verified(content, pinned, URL)
    with replacing(raw / NAMES[0]) as temporary:
        temporary.write_bytes(content)
    return content


def verified(content: bytes, pinned: str, origin: str) -> bytes:
    """The bytes, if they have the pinned hash.

    Raises:
        DataError: if they are no UTF-8, or have another hash; with their number, so that a truncated file shows.
    """
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"the text from {origin} is not UTF-8 (byte {error.start})") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != pinned:
        raise DataError(
            f"the text from {origin} ({len(content):,} bytes) has SHA-256 {actual[:12]}..., params.yaml pins "
            f"{pinned[:12]}..."
        )
    return content
