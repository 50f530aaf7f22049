"""Training examples, whatever format they come in, as a collection: a question, what is relevant, what is not."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ance_tele.data.collection import Answered, Judgement, RawCollection, Record
from ance_tele.data.errors import UserError


class Example(NamedTuple):
    """One question as a training file gives it.

    Attributes:
        query: Its id and text.
        positives: Relevant passages; of no text where the file only refers to a corpus.
        others: The rest of its passages: they only add to the corpus.
        answers: Answer strings, if there are any.
    """

    query: Record
    positives: list[Record]
    others: list[Record]
    answers: tuple[str, ...] = ()


# Makes an example of a row, of what to call the row in messages, of an id for a question without one, and of its line.
Parse = Callable[[Mapping[str, Any], str, str, int], Example]
# Reads the rows of a file, with their numbers from 1.
Rows = Callable[[Path], Iterator[tuple[int, Mapping[str, Any]]]]
# What a reader returns: the streams, and the files that they read.
Read = tuple[RawCollection, list[Path]]


@dataclass(frozen=True)
class Part:
    """The examples of one split: a name for messages, and a function that reads them, as often as it is called."""

    split: str
    name: str
    read: Callable[[], Iterator[Example]]


def part(split: str, files: Sequence[Path], rows: Rows, parse: Parse, unit: str = "line") -> Part:
    """Make a part of training files; questions without an id are numbered through all of them (``train-17``)."""

    def read() -> Iterator[Example]:
        place = 0
        for path in files:
            for number, row in rows(path):
                place += 1
                yield parse(row, f"{path.name} {unit} {number}", f"{split}-{place}", number)

    return Part(split, ", ".join(path.name for path in files), read)


def collect(name: str, parts: Sequence[Part], corpus: tuple[str, Iterable[Record]] | None = None) -> RawCollection:
    """Make a collection of examples.

    Args:
        name: Short name, for reports.
        parts: One for each split; each is read once for the queries, the judgements, the answers, and the corpus.
        corpus: Name and stream of the passages; by default all that the examples hold, each once.
    """
    names = ", ".join(part.name for part in parts)
    if corpus is None:
        met = (passage for part in parts for example in part.read() for passage in example.positives + example.others)
        corpus = names, once(met)
    return RawCollection(
        name,
        corpus[1],
        once(example.query for part in parts for example in part.read()),
        {part.split: (part.name, _judgements(part)) for part in parts},
        corpus[0],
        names,
        {part.split: (part.name, _answers(part)) for part in parts},
    )


def _judgements(part: Part) -> Iterator[Judgement]:
    for query, positives, _, _ in part.read():
        for key in dict.fromkeys(passage.id for passage in positives):
            yield Judgement(query.id, key, 1, query.line)


def _answers(part: Part) -> Iterator[Answered]:
    for query, _, _, answers in part.read():
        if answers:
            yield Answered(query.id, answers, query.line)


def once(records: Iterable[Record]) -> Iterator[Record]:
    """Pass over the repeats of a record; one that has the id of another but not its text is left for the checks."""
    seen: dict[str, int] = {}
    for record in records:
        content = hash((record.title, record.text))
        before = seen.get(record.id)
        if before is None:
            seen[record.id] = content
        if before != content:
            yield record


def text_id(text: str, title: str = "") -> str:
    """Return an id for a passage that has none: a hash of what it says, 24 hexadecimal digits."""
    content = f"{len(title)}\0{title}{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def split_of(path: Path) -> str | None:
    """Return the split that a file name speaks of: train, dev or test; None if it speaks of none."""
    words = re.findall(r"(?<![a-z])(train|training|dev|val|valid|validation|test|eval)(?![a-z])", path.name.lower())
    return split_name(words[-1]) if words else None


def split_name(word: str) -> str:
    """Return our word for a split: validation data is called dev."""
    return {"training": "train", "val": "dev", "valid": "dev", "validation": "dev", "eval": "dev"}.get(word, word)


def by_split(files: Iterable[Path]) -> dict[str, list[Path]]:
    """Group training files by split; those whose name speaks of none are for training."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(split_of(path) or "train", []).append(path)
    return found


def read_folder(place: Path, suffixes: Sequence[str], rows: Rows, parse: Parse, wanted: str) -> Read:
    """Read training files that hold all their passages, split by split as their names say.

    Raises:
        UserError: There is none; the sentence names ``wanted``.
    """
    files = find(place, *suffixes)
    if not files:
        raise none_found(place, wanted)
    return collect(stem(place), split_parts(files, rows, parse)), files


def split_parts(files: Iterable[Path], rows: Rows, parse: Parse) -> list[Part]:
    """Make a part of each split of training files."""
    return [part(split, paths, rows, parse) for split, paths in by_split(files).items()]


def find(place: Path, *suffixes: str) -> list[Path]:
    """Return the files below a folder (or the one file) that end in one of the suffixes, plain or gzipped, sorted."""
    wanted = tuple(f"{suffix}{packed}" for suffix in suffixes for packed in ("", ".gz"))
    files = [place] if place.is_file() else sorted(place.iterdir())
    return [path for path in files if path.is_file() and path.name.endswith(wanted) and path.name[0] != "."]


def stem(place: Path) -> str:
    """Return a short name of a folder or of a file, without its suffixes."""
    name = place.resolve().name
    return re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz))+$", "", name) if place.is_file() else name


def none_found(place: Path, wanted: str) -> UserError:
    """Say that a folder lacks the files of the format that it was taken for."""
    found = ", ".join(sorted(path.name for path in place.iterdir())[:8]) if place.is_dir() else place.name
    return UserError(f"{place} holds no {wanted} (found: {found or 'nothing'}).")
