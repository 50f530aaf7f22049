"""What the tests of formats share: write files, read them, show what was read."""

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection

Files = Mapping[str, "str | bytes | list[Any] | pa.Table"]


def write(folder: Path, files: Files) -> Path:
    """Write files: text, bytes, a Parquet table, or a list that becomes JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        path = folder / name
        if isinstance(value, pa.Table):
            pq.write_table(value, path)
            continue
        if isinstance(value, list):
            value = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in value)
        raw = value.encode() if isinstance(value, str) else value
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return folder


class Content(NamedTuple):
    corpus: dict[str, tuple[str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, dict[str, int]]]
    answers: dict[str, list[str]]


def content(found: Collection) -> Content:
    """Return everything that a collection holds; a query without a judgement has an empty dictionary."""
    corpus, queries = found.corpus, found.queries
    qrels: dict[str, dict[str, dict[str, int]]] = {}
    for split, judged in found.qrels.items():
        qrels[split] = {}
        for place, query in enumerate(judged.queries):
            part = slice(judged.offsets[place], judged.offsets[place + 1])
            ids = corpus.take_ids(judged.passages[part]).to_pylist()
            qrels[split][queries[query]["id"]] = dict(zip(ids, judged.grades[part].tolist(), strict=True))
    return Content(
        {corpus[row]["id"]: (corpus[row]["title"], corpus[row]["text"]) for row in range(len(corpus))},
        {queries[row]["id"]: queries[row]["text"] for row in range(len(queries))},
        qrels,
        {queries[row]["id"]: found.answers.of(row) for row in found.answers.queries},
    )


def read(data: str | Path, cache: Path, strict: bool = True) -> Content:
    return content(load_collection(data, cache, strict))


def refused(data: str | Path, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_collection(data, cache)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    return sentence
