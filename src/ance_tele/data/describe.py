"""A collection in a few lines: counts, lengths, problems found."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ance_tele.data.collection import Collection, Texts
from ance_tele.data.copies import Copies, queries_by_id


def describe(collection: Collection) -> Iterator[str]:
    """Yield lines that describe a collection."""
    yield f"{collection.name}  (fingerprint {collection.fingerprint[:12]})"
    yield f"passages  {len(collection.corpus):>12,}   {_lengths(collection.corpus)}"
    yield f"queries   {len(collection.queries):>12,}   {_lengths(collection.queries)}"
    for split, qrels in collection.qrels.items():
        relevant, judged = qrels.relevant(), len(qrels.judged())
        if judged:
            per_query = len(relevant.passages) / max(1, len(relevant))
            yield (
                f"  {split:<8}{judged:>12,} judged queries, {len(qrels.passages):,} judgements, "
                f"{per_query:.2f} relevant passages per query"
            )
        if unjudged := len(qrels) - judged:
            yield f"  {'' if judged else split:<8}{unjudged:>12,} queries with answers only"
    if len(collection.answers):
        strings = sum(len(collection.answers.of(int(row))) for row in collection.answers.queries)
        per_query = strings / len(collection.answers)
        yield f"answers   {len(collection.answers):>12,} queries with answer strings, {per_query:.2f} per query"
    asked = [qrels.queries for qrels in collection.qrels.values()]
    if spare := len(collection.queries) - len(np.unique(np.concatenate([np.empty(0, np.int64), *asked]))):
        yield f"unused    {spare:>12,} queries, which are in no split"
    yield from _alike(collection)
    if not collection.problems:
        yield "problems          none found"
    for problem, count in collection.problems.items():
        yield f"left out  {count:>12,}   {problem}"


def _alike(collection: Collection) -> Iterator[str]:
    """Yield lines about passages of the same text, and queries that are passages: neither may become a negative."""
    copies = Copies.of(collection)
    if copies.count:
        relevant = np.concatenate([qrels.relevant().passages for qrels in collection.qrels.values()])
        of_relevant = len(copies.of_rows(np.unique(relevant)))
        yield (
            f"copies    {copies.count:>12,} passages have the text of an earlier one; {of_relevant:,} have that of a "
            "relevant passage, which nobody judged relevant"
        )
    for split, qrels in collection.qrels.items():
        owners, _ = copies.of_queries(collection.queries, qrels.queries)
        if len(owners):
            same_id = int((queries_by_id(collection, qrels.queries) >= 0).sum())
            themselves = len(np.unique(owners))
            yield f"in corpus {themselves:>12,} {split} queries are passages themselves (same id and text: {same_id:,})"


def _lengths(texts: Texts) -> str:
    words = np.concatenate([_words(batch["text"]) + _words(batch["title"]) for batch in texts.table.to_batches()])
    low, middle, high = np.percentile(words, [5, 50, 95]).round().astype(int)
    return f"words: median {middle}, 5% under {low}, 5% over {high}, longest {words.max()}"


def _words(texts: Any) -> np.ndarray:
    """Count the words of each text."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return np.where(pc.equal(trimmed, ""), 0, pc.list_value_length(pc.utf8_split_whitespace(trimmed)))
