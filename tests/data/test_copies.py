"""Copies and queries that are passages, checked by dictionaries of texts."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.data import copies as module
from ance_tele.data.collection import Collection
from ance_tele.data.copies import Copies, first_queries, queries_by_id
from ance_tele.data.describe import describe
from ance_tele.data.load import collection_from_dicts

# White space of every kind, letters that differ in little, and nothing at all.
words = st.text(st.sampled_from("aAbé中 \t\n\x1c\xa0\u3000"), max_size=5)
passages = st.lists(st.tuples(words, words), min_size=1, max_size=12)


def made(corpus: list[tuple[str, str]], queries: list[str], cache: Path) -> Collection:
    """Make a collection whose queries and passages are both counted from 0."""
    texts = {str(number): passage for number, passage in enumerate(corpus)}
    asked = {str(number): text for number, text in enumerate(queries)}
    return collection_from_dicts(texts, asked, {"train": {"0": {"0": 1}}}, cache=cache)


def flat(text: str) -> str:
    return " ".join(text.split())


@given(passages, st.lists(words, min_size=1, max_size=8), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_as_dictionaries_of_texts_find_them(
    tmp_path_factory: pytest.TempPathFactory, corpus: list[tuple[str, str]], queries: list[str], collide: bool
) -> None:
    corpus = [("", "x") if not flat(title + text) else (title, text) for title, text in corpus]
    queries = [text if text.strip() else "y" for text in queries]
    with pytest.MonkeyPatch.context() as patch:
        if collide:  # texts that have nothing in common but their hash
            patch.setattr(module, "_hash", lambda text: len("".join(text.split())) % 2)
        collection = made(corpus, queries, tmp_path_factory.mktemp("cache"))
        found = Copies.of(collection)

        rows = defaultdict(list)
        for row, (title, text) in enumerate(corpus):
            rows[flat(f"{title} {text}")].append(row)
        first = [rows[flat(f"{title} {text}")][0] for title, text in corpus]
        assert found.first.tolist() == first
        assert found.count == len(corpus) - len(rows)
        some = np.arange(0, len(corpus), 2)
        expected = {row for one in some for row in rows[flat(" ".join(corpus[one]))]} - set(some.tolist())
        assert found.of_rows(some).tolist() == sorted(expected)

        asked = np.arange(len(queries))[::2]
        pairs = {
            (place, first[row])
            for place, query in enumerate(asked)
            for row, (title, text) in enumerate(corpus)
            if flat(queries[query]) in (flat(text), flat(f"{title} {text}"))
        }
        owners, firsts = found.of_queries(collection.queries, asked)
        assert list(zip(owners.tolist(), firsts.tolist(), strict=True)) == sorted(pairs)
        by_id = [
            query
            if query < len(corpus) and flat(queries[query]) in (flat(corpus[query][1]), flat(" ".join(corpus[query])))
            else -1
            for query in asked.tolist()
        ]
        assert queries_by_id(collection, asked).tolist() == by_id
        alike = [[flat(queries[one]) for one in asked].index(flat(queries[query])) for query in asked]
        assert first_queries(collection.queries, asked).tolist() == alike


def test_hashes_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = made([("", "one"), ("", "two"), ("", " one ")], ["one"], tmp_path)
    assert Copies.of(collection).count == 1

    def never(text: str) -> int:
        raise AssertionError("hashed again")

    monkeypatch.setattr(module, "_hash", never)
    assert Copies.of(collection).count == 1


def test_data_counts_them(tmp_path: Path) -> None:
    corpus = {"a": "one", "b": "two", "c": " two", "d": "three", "e": "three", "q1": ("Title", "four"), "7": "five"}
    queries = {"q1": "four", "q2": "three", "q3": "six", "7": "seven"}
    qrels = {"train": {"q1": {"b": 1}, "q2": {"d": 1, "e": 1}}, "test": {"q3": {"a": 1}, "7": {"c": 0, "a": 1}}}
    lines = list(describe(collection_from_dicts(corpus, queries, qrels, cache=tmp_path)))
    assert [" ".join(line.split()) for line in lines if line.startswith(("copies", "in corpus"))] == [
        "copies 2 passages have the text of an earlier one; 1 have that of a relevant passage, which nobody judged "
        "relevant",
        "in corpus 2 train queries are passages themselves (same id and text: 1)",
    ]
