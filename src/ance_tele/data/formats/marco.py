"""The MS MARCO passage folder: collection.tsv, queries.SPLIT.tsv, qrels.SPLIT.tsv; raw text, never quoted."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import Read, find, none_found, once
from ance_tele.data.formats.lines import read_fields, read_lines
from ance_tele.data.formats.trec import read_trec_qrels
from ance_tele.data.raw import Judgement, Listed, RawCollection, Record
from ance_tele.data.splits import our_splits

TRIPLE = "three are needed: query id, positive passage id, negative passage id"

# As deep as mined lists; the file of all triples has a thousand per query.
NEGATIVES_PER_QUERY = 200


def read_marco(folder: Path) -> Read:
    """Read a folder in the layout of MS MARCO passage ranking.

    Args:
        folder: Holds ``collection.tsv`` (passage id, text; or passage id, title, text), ``queries.SPLIT.tsv``
            (query id, text) and ``qrels.SPLIT.tsv`` (query id, 0, passage id, grade), each plain or ``.gz``. The
            split is the middle of the name; ``dev.small`` is the dev split where there is no other.
            ``qidpidtriples*.tsv`` (query id, positive, negative) gives negatives, the first 200 of a query; where
            ``qrels.train.tsv`` is missing, it takes its place.
    """
    files = find(folder, ".tsv")
    corpus = [path for path in files if path.name.startswith("collection.")][:1]
    queries = [path for path in files if path.name.startswith("queries.")]
    qrels = {_middle(path): path for path in files if path.name.startswith("qrels.")}
    triples = [path for path in files if path.name.startswith("qidpidtriples")]
    for found, wanted in (
        (corpus, "collection.tsv or collection.tsv.gz"),
        (queries, "queries.SPLIT.tsv such as queries.train.tsv"),
        ([*qrels, *triples], "qrels.SPLIT.tsv such as qrels.train.tsv, and no qidpidtriples*.tsv either"),
    ):
        if not found:
            raise none_found(folder, wanted)
    if "dev.small" in qrels and "dev" not in qrels:
        qrels["dev"] = qrels.pop("dev.small")
    names = our_splits(qrels)
    judged: dict[str, tuple[str, Iterable[Judgement]]] = {
        names[split]: (path.name, read_trec_qrels(path)) for split, path in qrels.items()
    }
    where, notes = ", ".join(path.name for path in triples), Counter[str]()
    if triples and "train" not in judged:
        judged["train"] = where, read_triples(triples)
    raw = RawCollection(
        folder.resolve().name,
        read_passages(corpus[0]),
        once(
            Record(key.strip(), "", text, number)
            for path in queries
            for number, (key, text) in read_fields(path, 2, "two are needed: query id, text", "\t")
        ),
        judged,
        corpus[0].name,
        ", ".join(path.name for path in queries),
        listed={"train": (where, read_negatives(triples, notes))} if triples else {},
        notes=notes,
    )
    return raw, [*corpus, *queries, *qrels.values(), *triples]


def _middle(path: Path) -> str:
    name = path.name.removesuffix(".gz").removesuffix(".tsv")
    return name.partition(".")[2] or "test"


def read_passages(path: Path) -> Iterator[Record]:
    """Yield the passages of a file with two fields per line (id, text) or three (id, title, text)."""
    width = 0
    for number, line in read_lines(path):
        parts = line.split("\t")
        if not width and len(parts) in (2, 3):
            width = len(parts)
        if len(parts) != width:
            wanted = f"{width}, as the lines before it" if width else "two (id, text) or three (id, title, text)"
            raise UserError(f"{path.name} line {number} has {len(parts)} tab-separated fields; it needs {wanted}.")
        yield Record(parts[0].strip(), parts[1] if width == 3 else "", parts[-1], number)


def read_negatives(files: Iterable[Path], notes: Counter[str]) -> Iterator[Listed]:
    """Yield the first negatives of each query in training triples; the others (up to 400 million) are counted."""
    met = Counter[str]()
    for path in files:
        for number, (query, _, negative) in read_fields(path, 3, TRIPLE):
            met[query] += 1
            if met[query] <= NEGATIVES_PER_QUERY:
                yield Listed(query, negative, True, math.nan, False, number)
    if beyond := sum(count - NEGATIVES_PER_QUERY for count in met.values() if count > NEGATIVES_PER_QUERY):
        notes[f"triples beyond the first {NEGATIVES_PER_QUERY} of a query, whose negatives are not used"] = beyond


def read_triples(files: Iterable[Path]) -> Iterator[Judgement]:
    """Yield the positives of training triples (query id, positive, negative), each pair once."""
    seen: set[str] = set()
    for path in files:
        for number, (query, positive, _) in read_fields(path, 3, TRIPLE):
            pair = f"{query} {positive}"
            if pair not in seen:
                seen.add(pair)
                yield Judgement(query, positive, 1, number)
