"""What an engine is to an export: a protocol, what is written to it, and what is stored beside to know it again."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.store.files import PROGRAMMING
from ance_tele.store.urls import why

# The key under which engines keep the description.
MARK = "ance_tele"


@dataclass(frozen=True)
class Description:
    """What a table of vectors holds; kept with it.

    Attributes:
        key: Fingerprint of the vectors, the passages and whether texts are written.
        passages: How many.
        dimension: Of a vector.
        normalised: The vectors have length one, so that the dot product is the cosine.
        model: Name of the encoder, for people.
        texts: Titles and texts are written too.
        metric: What ranks passages as here; always the dot product.
    """

    key: str
    passages: int
    dimension: int
    normalised: bool
    model: str
    texts: bool
    metric: str = "dot"

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Batch:
    """Consecutive passages: the row of the first one, ids, titles and texts (None without), float32 vectors [n, d]."""

    first: int
    ids: list[str]
    titles: list[str] | None
    texts: list[str] | None
    vectors: np.ndarray

    @property
    def rows(self) -> range:
        """The rows of the passages, which are the keys of the engines' points."""
        return range(self.first, self.first + len(self.ids))

    @property
    def columns(self) -> dict[str, list[str]]:
        """Ids, and titles and texts where they are written, by name."""
        named = {"id": self.ids, "title": self.titles, "text": self.texts}
        return {name: values for name, values in named.items() if values is not None}


class Engine(Protocol):
    """One table of vectors in one engine.

    Passages are written in the order of the corpus under their row, in batches of always the same size, so that the
    number of rows says which batches are whole; a batch that is written again replaces its rows.

    Attributes:
        batch: Passages of a batch.
    """

    batch: int

    def found(self) -> Mapping[str, Any] | None:
        """Return the description kept with the table; empty if it is of another program; None without a table."""

    def create(self, what: Description) -> None:
        """Make an empty table."""

    def drop(self) -> None:
        """Delete the table."""

    def count(self) -> int:
        """Return how many passages are written."""

    def write(self, batch: Batch) -> None:
        """Write a batch; it is stored when this returns."""

    def build(self) -> str | None:
        """Build the approximate index unless it is there; return what it is. None where searches are exact."""

    def search(self, queries: np.ndarray, k: int, exact: bool) -> np.ndarray:
        """Return the rows of the k passages that the engine finds best, int64 [q, k], -1 where there are fewer.

        Queries are float32 [q, dimension]; ``exact`` goes past the index.
        """

    def code(self) -> tuple[list[str], str]:
        """Return Python: imports, and lines that print the ten best passages for ``query``, a float32 array [d]."""

    def close(self) -> None:
        """Release the engine."""


def described(text: str | None) -> dict[str, Any]:
    """Return a description from its JSON; empty if it is none.

    >>> described("of another program"), described('{"key": "k"}')
    ({}, {'key': 'k'})
    """
    try:
        found = json.loads(text or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "key" in found else {}


def package(name: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Raises:
        UserError: It is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UserError(
            f"The package {name.partition('.')[0]} is needed for this engine and cannot be imported "
            f"({why(error)}): {install(extra)}."
        ) from None


@contextmanager
def asking(place: str) -> Iterator[None]:
    """Turn an error of an engine into a sentence.

    Raises:
        UserError: The block has failed, other than by an error of code or of the system.
    """
    try:
        yield
    except (UserError, MemoryError, *PROGRAMMING):
        raise
    except Exception as error:  # the engines' packages raise whatever they run into
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(
            f"{place} cannot be read or written ({why(error)}); check its name, that it runs, that no other process "
            "holds it, and the credentials. The same command goes on where this one stopped."
        ) from error


def padded(found: list[list[int]], k: int) -> np.ndarray:
    """Return lists of rows as an array, int64 [q, k], filled up with -1.

    >>> padded([[4, 2], [1]], 2).tolist()
    [[4, 2], [1, -1]]
    """
    out = np.full((len(found), k), -1, dtype=np.int64)
    for row, one in zip(out, found, strict=True):
        row[: len(one)] = one
    return out


def without_password(address: str) -> str:
    """Return a URL without the password in it."""
    parts = urlsplit(address)
    if not parts.password:
        return address
    return parts._replace(netloc=f"{parts.username or ''}@{parts.netloc.rpartition('@')[2]}").geturl()
