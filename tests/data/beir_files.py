"""What the tests of collections share: a small collection in BEIR layout, and what is read of it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import load_collection

HEADER = "query-id\tcorpus-id\tscore"
FILES: dict[str, list[str]] = {
    "corpus.jsonl": [
        '{"_id": "d1", "title": "One", "text": "first text"}',
        '{"_id": "d2", "title": "", "text": "second", "metadata": {"x": 1}}',
        '{"_id": "d3", "text": "third"}',
    ],
    "queries.jsonl": ['{"_id": "q1", "text": "same"}', '{"_id": "q2", "text": "same"}', '{"_id": "q3", "text": "ös"}'],
    "qrels/train.tsv": ["q1\td1\t1", "q2\td2\t2"],
    "qrels/test.tsv": [HEADER, "q3\td3\t1", "q3\td1\t0"],
}
CONTENT = (
    {"d1": ("One", "first text"), "d2": ("", "second"), "d3": ("", "third")},
    {"q1": "same", "q2": "same", "q3": "ös"},
    {"train": {"q1": {"d1": 1}, "q2": {"d2": 2}}, "test": {"q3": {"d3": 1, "d1": 0}}},
)


def write(folder: Path, changes: Mapping[str, Any] | None = None, encode: Callable[[str], bytes] = str.encode) -> Path:
    """Write the small collection; ``changes`` replace files (lines or bytes) or, with None, leave them out."""
    for name, lines in {**FILES, **(changes or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if lines is not None:
            path.write_bytes(lines if isinstance(lines, bytes) else encode("".join(f"{line}\n" for line in lines)))
    return folder


def content(collection: Collection) -> tuple[dict[str, tuple[str, str]], dict[str, str], dict[str, Any]]:
    """Return everything that a collection holds, as dictionaries."""
    corpus, queries = collection.corpus, collection.queries
    qrels: dict[str, Any] = {}
    for split, judged in collection.qrels.items():
        qrels[split] = {}
        for place, query in enumerate(judged.queries):
            part = slice(judged.offsets[place], judged.offsets[place + 1])
            ids = corpus.take_ids(judged.passages[part]).to_pylist()
            qrels[split][queries[query]["id"]] = dict(zip(ids, judged.grades[part].tolist(), strict=True))
    return (
        {corpus[row]["id"]: (corpus[row]["title"], corpus[row]["text"]) for row in range(len(corpus))},
        {queries[row]["id"]: queries[row]["text"] for row in range(len(queries))},
        qrels,
    )


def refused(folder: Path, cache: Path, strict: bool = True) -> str:
    """Return the one sentence that a folder is refused with; nothing may be left in the cache."""
    with pytest.raises(UserError) as caught:
        load_collection(folder, cache, strict)
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith(".")
    assert not [
        path.name for path in cache.rglob("*") if not path.name.endswith(".lock") and path.name != "collections"
    ]
    return sentence
