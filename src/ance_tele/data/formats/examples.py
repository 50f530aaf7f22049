"""Training examples of any format as a collection: queries with positives, negatives and scores."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ance_tele.console.errors import UserError
from ance_tele.data.formats.tables import unit_of
from ance_tele.data.raw import Answered, Judgement, Listed, RawCollection, Record
from ance_tele.data.splits import split_name


class Example(NamedTuple):
    """One question as a training file gives it.

    Attributes:
        query: Its id, text and instruction.
        positives: Relevant passages; of no text where the file only refers to a corpus.
        negatives: Passages that it names as not relevant.
        others: The rest of its passages: they only add to the corpus.
        answers: Answer strings, if there are any.
        scores: Of a teacher, of each positive and then of each negative (NaN: none); or empty.
        margins: The scores are differences to the positive, whose own is 0.
        graded: A pair with a score that is no class, and so relevant whatever the score.
        unread: Non-empty fields of the row that are not used.
        numbered: Its id is the number of its row; rows with the same text and instruction are one query.
        joined: It is a further row of such a query, and has the id of the first one.
    """

    query: Record
    positives: list[Record]
    negatives: list[Record]
    others: Sequence[Record] = ()
    answers: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    margins: bool = False
    graded: bool = False
    unread: tuple[str, ...] = ()
    numbered: bool = True
    joined: bool = False


# Parses a row, given its name for messages, an id for a question without one, and its line.
Parse = Callable[[Mapping[str, Any], str, str, int], Example]
# Reads the rows of a file, with their numbers from 1.
Rows = Callable[[Path], Iterator[tuple[int, Mapping[str, Any]]]]
# What a reader returns: the streams, and the files that they read.
Read = tuple[RawCollection, list[Path]]


@dataclass(frozen=True)
class Part:
    """The examples of one split: a name for messages, and a function that reads them and may be called repeatedly."""

    split: str
    name: str
    read: Callable[[], Iterator[Example]]


def part(split: str, files: Sequence[Path], rows: Rows, parse: Parse, unit: str = "") -> Part:
    """Return a part of training files; questions without an id are numbered through all of them (``train-17``).

    Of these, rows with the same (stripped) text and instruction are one query. Row numbers count the ``unit``, by
    default that of :func:`~ance_tele.data.formats.tables.read_rows`.
    """

    def read() -> Iterator[Example]:
        place, first = 0, dict[int, int]()
        for path in files:
            for number, row in rows(path):
                place += 1
                example = parse(row, f"{path.name} {unit or unit_of(path)} {number}", f"{split}-{place}", number)
                if example.numbered:
                    before = first.setdefault(hash((example.query.text.strip(), example.query.prompt)), place)
                    if before != place:
                        query = example.query._replace(id=f"{split}-{before}")
                        example = example._replace(query=query, joined=True)
                yield example

    return Part(split, ", ".join(path.name for path in files), read)


def collect(name: str, parts: Sequence[Part], corpus: tuple[str, Iterable[Record]] | None = None) -> RawCollection:
    """Return the collection of examples.

    Args:
        name: Short name, for reports.
        parts: One for each split; each is read once for the queries, the judgements, the answers, and the corpus.
        corpus: Name and stream of the passages; by default all that the examples hold, each once.
    """
    names = ", ".join(part.name for part in parts)
    if corpus is None:
        examples = (example for part in parts for example in part.read())
        corpus = names, once(passage for one in examples for passage in (*one.positives, *one.negatives, *one.others))
    notes, holds = Counter[str](), set[str]()
    return RawCollection(
        name,
        corpus[1],
        once(_queries(parts, notes, holds)),
        {part.split: (part.name, _judgements(part)) for part in parts},
        corpus[0],
        names,
        {part.split: (part.name, _answers(part, holds)) for part in parts},
        {part.split: (part.name, _listed(part, holds)) for part in parts},
        repeats=True,
        notes=notes,
    )


def _queries(parts: Sequence[Part], notes: Counter[str], holds: set[str]) -> Iterator[Record]:
    """Yield each query once; record notes, and in ``holds`` what other streams there are."""
    for part in parts:
        for example in part.read():
            for name in example.unread:
                notes[f"{part.name}: rows with a field '{name}', which is not used"] += 1
            if example.graded:
                notes[f"{part.name}: pairs with a score, taken as relevant whatever it is (0: not relevant)"] += 1
            if example.answers:
                holds.add("answers")
            if example.negatives or not all(map(math.isnan, example.scores)):
                holds.add("listed")
            if example.joined:
                notes[f"{part.name}: rows joined to the query of an earlier row, which has the same text"] += 1
            else:
                yield example.query


def _judgements(part: Part) -> Iterator[Judgement]:
    for example in part.read():
        for key in dict.fromkeys(passage.id for passage in example.positives):
            yield Judgement(example.query.id, key, 1, example.query.line)


def _answers(part: Part, holds: set[str]) -> Iterator[Answered]:
    for example in part.read() if "answers" in holds else ():
        if example.answers:
            yield Answered(example.query.id, example.answers, example.query.line)


def _listed(part: Part, holds: set[str]) -> Iterator[Listed]:
    for example in part.read() if "listed" in holds else ():
        query, line, count = example.query.id, example.query.line, len(example.positives)
        for place, passage in enumerate([*example.positives, *example.negatives]):
            score = example.scores[place] if example.scores else math.nan
            if place >= count or not math.isnan(score):
                yield Listed(query, passage.id, place >= count, score, example.margins, line)


def once(records: Iterable[Record]) -> Iterator[Record]:
    """Yield records without exact repeats; those with one id and different texts are left for the checks."""
    seen: dict[str, int] = {}
    for record in records:
        content = hash((record.title, record.text))
        before = seen.get(record.id)
        if before is None:
            seen[record.id] = content
        if before != content:
            yield record


def text_id(text: str, title: str = "") -> str:
    """Return an id for a passage without one: a hash of its text, 24 hexadecimal digits."""
    content = f"{len(title)}\0{title}{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def split_of(path: Path) -> str | None:
    """Return the split that a file name mentions: train, dev or test; None without."""
    words = re.findall(r"(?<![a-z])(train|training|dev|val|valid|validation|test|eval)(?![a-z])", path.name.lower())
    return split_name(words[-1]) if words else None


def read_folder(place: Path, suffixes: Sequence[str], rows: Rows, parse: Parse, wanted: str) -> Read:
    """Read training files that contain their passages, by split; ``wanted`` names the files in the error if there are
    none.
    """
    files = find(place, *suffixes)
    if not files:
        raise none_found(place, wanted)
    return collect(stem(place), split_parts(files, rows, parse)), files


def split_parts(files: Iterable[Path], rows: Rows, parse: Parse) -> list[Part]:
    """Return a part for each split of training files; those whose name mentions none are "train"."""
    found: dict[str, list[Path]] = {}
    for path in files:
        found.setdefault(split_of(path) or "train", []).append(path)
    return [part(split, paths, rows, parse) for split, paths in found.items()]


def find(place: Path, *suffixes: str) -> list[Path]:
    """Return the files below a folder (or the one file) with one of the suffixes, plain or gzipped, sorted."""
    wanted = tuple(f"{suffix}{packed}" for suffix in suffixes for packed in ("", ".gz"))
    files = [place] if place.is_file() else sorted(place.iterdir())
    return [path for path in files if path.is_file() and path.name.endswith(wanted) and path.name[0] != "."]


def stem(place: Path) -> str:
    """Return the name of a folder, or of a file without its suffixes."""
    name = place.resolve().name
    return re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz))+$", "", name) if place.is_file() else name


def none_found(place: Path, wanted: str) -> UserError:
    """Return the error for a folder without the files of a format."""
    found = ", ".join(sorted(path.name for path in place.iterdir())[:8]) if place.is_dir() else place.name
    return UserError(f"{place} holds no {wanted} (found: {found or 'nothing'}).")
