"""Export of pools, with texts, as training data for other programs; streamed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Collection, Qrels
from ance_tele.mining.pool import Pool
from ance_tele.store.files import atomic

Kind = Literal["tevatron", "tevatron2", "flagembedding", "triplets"]

# Queries in memory at a time, with all their passages.
QUERIES_PER_BLOCK = 256

Line = dict[str, Any]
Write = Callable[[list[Line]], None]


@dataclass(frozen=True)
class Exported:
    """Counts of an export.

    Attributes:
        queries: Queries written.
        lines: Lines or rows of the file.
        left_out: Queries without a negative or without a positive.
        short: Queries with fewer negatives than requested: lists are shorter, triplets repeat negatives.
    """

    queries: int
    lines: int
    left_out: int
    short: int


def export_pool(
    pool: Pool,
    positives: Qrels,
    collection: Collection,
    path: Path,
    kind: Kind,
    negatives_per_query: int | None = None,
    seed: int = 42,
    separator: str = " ",
) -> Exported:
    """Write the pool of an episode as training data, atomically.

    The kinds, and where their formats are documented:

    - "tevatron": ``query_id``, ``query``, ``positive_passages`` and ``negative_passages`` of ``docid``, ``title``,
      ``text``; ``answers`` too where the collection has any (texttron/tevatron, docs/datasets.md of v1).
    - "tevatron2": ``query_id``, ``query_text``, ``positive_document_ids``, ``negative_document_ids``, and ``answers``
      likewise (texttron/tevatron, README of v2, "Training Data"); :func:`export_corpus` writes what the ids refer to.
    - "flagembedding": ``query``, ``pos``, ``neg``; where queries have instructions, ``prompt``, which the two above
      get too (FlagOpen/FlagEmbedding, examples/finetune/embedder/README.md).
    - "triplets": for sentence-transformers, whose losses go by the order of the columns (its "Dataset Overview"): for
      each positive a row of ``anchor``, ``positive``, ``negative_1`` to ``negative_n``; where ``negatives_per_query``
      is None, for each positive and negative a row of ``anchor``, ``positive``, ``negative``.

    Args:
        pool: A multiset: repeated ids are written repeatedly.
        positives: Relevant passages of the same queries, in the same order.
        collection: Their texts.
        path: The file: ``.jsonl``, for triplets also ``.parquet``.
        kind: See above.
        negatives_per_query: How many to draw: what training draws in its first epoch and, for the further positives
            of a triplet's query, in the epochs of these. None takes the whole pool, in its order.
        seed: Of the draw; the run's seed for the negatives that the run trained on.
        separator: Between title and text in "flagembedding" and "triplets", where a passage is one string.

    Returns:
        How many queries and lines were written, how many queries were left out or got fewer negatives.

    Raises:
        UserError: There is no such kind, the name has another suffix, or ``negatives_per_query`` is below 1.
        ValueError: Pool and positives are of different queries.

    Example:
        >>> import ance_tele as at
        >>> qrels = {"train": {"q1": {"a": 1}}}
        >>> collection = at.collection_from_dicts({name: f"passage {name}" for name in "abc"}, {"q1": "first"}, qrels)
        >>> positives = collection.split("train").relevant()
        >>> candidates = at.Candidates(positives.queries, {"query": at.CandidateLists.of([[0, 2]])})
        >>> pool = at.mix(candidates, positives, at.MiningConfig(sources=("query",)), episode=1, seed=42)
        >>> export_pool(pool, positives, collection, Path("pool.jsonl"), "flagembedding")
        Exported(queries=1, lines=1, left_out=0, short=0)
        >>> print(Path("pool.jsonl").read_text().strip())
        {"query": "first", "pos": ["passage a"], "neg": ["passage c"]}
    """
    if kind not in get_args(Kind):
        raise UserError(f"'{kind}' is no kind of export; take one of: {', '.join(get_args(Kind))}.")
    suffixes = (".jsonl", ".parquet") if kind == "triplets" else (".jsonl",)
    if path.suffix not in suffixes:
        raise UserError(f"{path.name} must end in {' or '.join(suffixes)}: that is what '{kind}' is written as.")
    if negatives_per_query is not None and negatives_per_query < 1:
        raise UserError(f"negatives_per_query is {negatives_per_query}; at least 1 is needed, or None for all.")
    if not np.array_equal(pool.queries, positives.queries):
        raise ValueError(
            f"pool holds {len(pool.queries)} queries, positives {len(positives)}: they must be the same queries in the "
            "same order; give the positives that the pool was mixed for."
        )
    columns, lines = _triplet_columns(negatives_per_query) if path.suffix == ".parquet" else None, 0
    some = np.flatnonzero((pool.sizes > 0) & (np.diff(positives.offsets) > 0))
    bar = progress("writing", len(some), "queries")
    with atomic(path) as target, _writer(target, columns) as write, bar as advance:
        for start in range(0, len(some), QUERIES_PER_BLOCK):
            part = some[start : start + QUERIES_PER_BLOCK]
            examples = _examples(part, pool, positives, collection, kind, negatives_per_query, seed)
            block = [line for example in examples for line in _lines(example, kind, negatives_per_query, separator)]
            write(block)
            lines += len(block)
            advance(len(part))
    short = int((pool.sizes[some] < (negatives_per_query or 0)).sum())
    return Exported(len(some), lines, len(pool.queries) - len(some), short)


def export_corpus(collection: Collection, path: Path) -> int:
    """Write the corpus that the ids of "tevatron2" refer to, and return the number of passages.

    A line is ``docid`` and ``text``, the names that Tevatron v2 reads (src/tevatron/retriever/dataset.py). The title
    is the start of the text: v2 reads a ``title`` when it encodes, but not when it trains.

    Raises:
        UserError: The name does not end in ``.jsonl``.
    """
    if path.suffix != ".jsonl":
        raise UserError(f"{path.name} must end in .jsonl: that is what a corpus is written as.")
    corpus, row = collection.corpus, 0
    bar = progress("writing", len(corpus), "passages")
    with atomic(path) as target, _writer(target, None) as write, bar as advance:
        for titles, texts in corpus.batches():
            ids = corpus.take_ids(np.arange(row, row + len(texts))).to_pylist()
            passages = map(_Passage, ids, titles, texts)
            write([{"docid": passage.docid, "text": passage.joined(" ")} for passage in passages])
            row += len(texts)
            advance(len(texts))
    return row


@contextmanager
def _writer(path: Path, columns: list[str] | None) -> Iterator[Write]:
    """Yield a function that writes lines: to Parquet if columns are given, else to JSONL."""
    if columns is None:
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield lambda lines: file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        return
    schema = pa.schema([(name, pa.large_string()) for name in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield lambda lines: writer.write_table(pa.Table.from_pylist(lines, schema))


# ---- what is written -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Passage:
    docid: str
    title: str = ""
    text: str = ""

    def joined(self, separator: str) -> str:
        return f"{self.title}{separator}{self.text}" if self.title else self.text


@dataclass(frozen=True)
class _Example:
    """A query with its positives and its negatives in drawing order."""

    id: str
    text: str
    positives: list[_Passage]
    negatives: list[_Passage]
    answers: dict[str, list[str]]  # by field name; empty if the collection has none
    prompt: dict[str, str]  # likewise


def _examples(
    part: np.ndarray,
    pool: Pool,
    positives: Qrels,
    collection: Collection,
    kind: Kind,
    negatives: int | None,
    seed: int,
) -> Iterator[_Example]:
    """Yield the queries at positions ``part`` (ascending), with texts if the kind has texts."""
    relevant = [positives.passages[positives.offsets[query] : positives.offsets[query + 1]] for query in part]
    drawn = []
    for query, rows in zip(part.tolist(), relevant, strict=True):
        needed = negatives and negatives * (len(rows) if kind == "triplets" else 1)
        drawn.append(pool.shuffled(query, seed)[:needed] if needed else pool.negatives(query))
    passages = _passages(np.unique(np.concatenate([*relevant, *drawn])), collection, kind != "tevatron2")
    rows = pool.queries[part]
    ids, texts = collection.queries.take_ids(rows).to_pylist(), gather(collection.queries.table["text"], rows)
    prompts = None if collection.queries.prompts is None else gather(collection.queries.prompts, rows)
    for place, row in enumerate(rows.tolist()):
        answers = {"answers": collection.answers.of(row)} if len(collection.answers) else {}
        good, bad = ([passages[passage] for passage in some[place].tolist()] for some in (relevant, drawn))
        prompt = {} if prompts is None else {"prompt": prompts[place]}
        yield _Example(ids[place], texts[place], good, bad, answers, prompt)


def _passages(rows: np.ndarray, collection: Collection, texts: bool) -> dict[int, _Passage]:
    """Return the passages at ascending rows, by row."""
    columns = [collection.corpus.take_ids(rows).to_pylist()]
    if texts:
        columns += [gather(collection.corpus.table[name], rows) for name in ("title", "text")]
    return dict(zip(rows.tolist(), map(_Passage, *columns), strict=True))


def _lines(example: _Example, kind: Kind, negatives: int | None, separator: str) -> Iterator[Line]:
    """Yield the lines of a query."""
    about = {**example.prompt, **example.answers}
    if kind == "tevatron":
        passages = {"positive_passages": example.positives, "negative_passages": example.negatives}
        whole = {name: [vars(one) for one in some] for name, some in passages.items()}
        yield {"query_id": example.id, "query": example.text, **about, **whole}
        return
    if kind == "tevatron2":
        passages = {"positive_document_ids": example.positives, "negative_document_ids": example.negatives}
        ids = {name: [one.docid for one in some] for name, some in passages.items()}
        yield {"query_id": example.id, "query_text": example.text, **about, **ids}
        return
    good, bad = ([one.joined(separator) for one in some] for some in (example.positives, example.negatives))
    if kind == "flagembedding":
        yield {"query": example.text, "pos": good, "neg": bad, **example.prompt}
        return
    for epoch, positive in enumerate(good):
        if negatives is None:
            rows = [[text] for text in bad]
        else:
            rows = [[bad[(epoch * negatives + place) % len(bad)] for place in range(negatives)]]
        for row in rows:
            yield dict(zip(_triplet_columns(negatives), (example.text, positive, *row), strict=True))


def _triplet_columns(negatives: int | None) -> list[str]:
    numbers = [] if negatives is None else [f"negative_{number}" for number in range(1, negatives + 1)]
    return ["anchor", "positive", *(numbers or ["negative"])]
