"""Write a collection in BEIR layout, whatever it was read from."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.console.errors import UserError
from ance_tele.data.arrow import ROWS_PER_BATCH, read_arrow
from ance_tele.data.collection import UNJUDGED, Collection, Texts
from ance_tele.store.files import atomic


def check_free(folder: Path) -> None:
    """Refuse a place to write to that holds something.

    Raises:
        UserError: Names it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is there already; name a folder that is new or empty.")


def write_beir(collection: Collection, folder: Path) -> None:
    """Write ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv`` and, with answers, ``questions.jsonl``.

    Reading the folder gives the same collection and fingerprint (unless queries were held out). Given negatives and
    scores are in ``given.jsonl``, instructions in the queries' field ``prompt``, queries of a split without judgements
    in ``questions/SPLIT.jsonl``. Written atomically and streamed.

    Args:
        collection: What to write.
        folder: Must not be there yet, or be empty.

    Raises:
        UserError: The folder holds something, or a split's name cannot be a file's.

    Example:
        >>> import ance_tele as at
        >>> collection = at.collection_from_dicts({"p1": "a key"}, {"q1": "keys?"}, {"train": {"q1": {"p1": 1}}})
        >>> write_beir(collection, Path("my-data"))
        >>> Path("my-data/qrels/train.tsv").read_text().split()
        ['query-id', 'corpus-id', 'score', 'q1', 'p1', '1']
    """
    check_free(folder)
    for split in collection.qrels:
        if "/" in split or "\0" in split or split.startswith("."):
            raise UserError(f"The split '{split}' cannot be written: a file name holds no '/' and begins with no dot.")
    with atomic(folder) as target:
        target.mkdir()
        _write_lines(target / "corpus.jsonl", _texts(collection.corpus, title=True))
        _write_lines(target / "queries.jsonl", _texts(collection.queries, title=False))
        (target / "qrels").mkdir()
        for split in collection.qrels:
            if len(collection.qrels[split].passages):
                lines = _judgements(collection, split)
                _write_lines(target / "qrels" / f"{split}.tsv", lines, "query-id\tcorpus-id\tscore\n")
        if len(collection.answers):
            _write_lines(target / "questions.jsonl", _questions(collection, collection.answers.queries))
        if len(collection.negatives) or len(collection.teacher):
            _write_lines(target / "given.jsonl", _given(collection))
        for split, qrels in collection.qrels.items():
            unjudged = np.setdiff1d(qrels.queries, qrels.judged())
            if len(unjudged):
                (target / "questions").mkdir(exist_ok=True)
                _write_lines(target / "questions" / f"{split}.jsonl", _questions(collection, unjudged))


def _write_lines(path: Path, lines: Iterable[str], header: str = "") -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(header)
        file.writelines(lines)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _texts(texts: Texts, title: bool) -> Iterator[str]:
    for start in range(0, len(texts), ROWS_PER_BATCH):
        part = texts.table.slice(start, ROWS_PER_BATCH)
        columns = [part[name].to_pylist() for name in ("id", "title", "text")]
        prompts = [""] * len(part) if texts.prompts is None else part["prompt"].to_pylist()
        for key, heading, body, prompt in zip(*columns, prompts, strict=True):
            before, after = {"title": heading} if title else {}, {"prompt": prompt} if prompt else {}
            yield _line({"_id": key, **before, "text": body, **after})


def _judgements(collection: Collection, split: str) -> Iterator[str]:
    """Yield the judgements in the order of the source, which decides the fingerprint."""
    if collection.hold_out is not None:  # its splits are not those that were read
        qrels = collection.qrels[split]
        rows = pa.table({"query": qrels.owners, "passage": qrels.passages, "grade": qrels.grades})
    else:
        rows = read_arrow(collection.folder / "qrels.arrow")
        rows = rows.filter((pc.field("split") == split) & (pc.field("passage") != UNJUDGED))
    for start in range(0, len(rows), ROWS_PER_BATCH):
        part = rows.slice(start, ROWS_PER_BATCH)
        queries = collection.queries.take_ids(part["query"].to_numpy()).to_pylist()
        passages = collection.corpus.take_ids(part["passage"].to_numpy()).to_pylist()
        for query, passage, grade in zip(queries, passages, part["grade"].to_pylist(), strict=True):
            yield f"{query}\t{passage}\t{grade}\n"


def _given(collection: Collection) -> Iterator[str]:
    """Yield the negatives and the scores of each query that has any."""
    negatives, teacher = collection.negatives, collection.teacher
    for row in np.union1d(negatives.queries, teacher.queries).tolist():
        scored, scores = teacher.of(row)
        keys = collection.corpus.take_ids(scored).to_pylist()
        query = collection.queries.take_ids(np.array([row]))[0].as_py()
        line = {"_id": query, "negatives": collection.corpus.take_ids(negatives.of(row)[0]).to_pylist()}
        yield _line({**line, "scores": dict(zip(keys, map(float, scores), strict=True))})


def _questions(collection: Collection, rows: np.ndarray) -> Iterator[str]:
    for row in rows.tolist():
        query = collection.queries[row]
        yield _line({"_id": query["id"], "text": query["text"], "answers": collection.answers.of(row)})
