"""Description of a collection: counts, lengths, problems."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.console.numbers import counted
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.copies import Copies, queries_by_id
from ance_tele.data.detection import detect, sample
from ance_tele.data.languages import LANGUAGES, UNSPACED_SCRIPTS
from ance_tele.data.notes import level_of


def counted_parts(collection: Collection) -> dict[str, Any]:
    """Return a collection in numbers: passages, queries, splits, what was left out, notes and warnings."""
    splits = {
        split: {"queries": len(qrels.queries), "judged": len(qrels.judged()), "judgements": len(qrels.passages)}
        for split, qrels in collection.qrels.items()
    }
    return {
        "name": collection.name,
        "fingerprint": collection.fingerprint,
        "passages": len(collection.corpus),
        "queries": len(collection.queries),
        "splits": splits,
        "answers": len(collection.answers),
        "problems": dict(collection.problems),
        "notes": dict(collection.notes),
        "warnings": list(warnings(collection)),
    }


def describe(collection: Collection) -> Iterator[str]:
    """Yield lines that describe a collection."""
    yield f"{collection.name}  (fingerprint {collection.fingerprint[:12]})"
    detected = detect([*sample(collection.corpus), *sample(collection.queries)])
    spaced = detected.code == "none" or LANGUAGES[detected.code].script not in UNSPACED_SCRIPTS
    yield f"passages  {len(collection.corpus):>12,}   {_lengths(collection.corpus, spaced)}"
    yield f"queries   {len(collection.queries):>12,}   {_lengths(collection.queries, spaced)}"
    yield f"texts                    {detected.named()}"
    for split, qrels in collection.qrels.items():
        relevant, judged = qrels.relevant(), len(qrels.judged())
        if judged:
            per_query = len(relevant.passages) / max(1, len(relevant))
            yield (
                f"  {split:<8}{judged:>12,} judged {_queries(judged)}, "
                f"{counted(len(qrels.passages), 'judgement', 'judgements')}, "
                f"{per_query:.2f} relevant passages per query"
            )
        if len(unjudged := np.setdiff1d(qrels.queries, qrels.judged())):
            what = "with answers only" if np.isin(unjudged, collection.answers.queries).any() else "without a judgement"
            yield f"  {'' if judged else split:<8}{len(unjudged):>12,} {_queries(len(unjudged))} {what}"
    if len(collection.answers):
        given_to = len(collection.answers)
        strings = sum(len(collection.answers.of(int(row))) for row in collection.answers.queries)
        per_query = strings / given_to
        yield f"answers   {given_to:>12,} {_queries(given_to)} with answer strings, {per_query:.2f} per query"
    for name, given in (("negatives", collection.negatives), ("scores", collection.teacher)):
        if len(given):
            per_query = len(given.passages) / len(given)
            yield f"{name:<10}{len(given):>12,} {_queries(len(given))} with given {name}, {per_query:.2f} per query"
    if (prompts := collection.queries.prompts) is not None:
        own = prompts.filter(pc.not_equal(prompts, ""))
        yield f"prompts   {len(own):>12,} queries with an instruction of their own, {len(own.unique()):,} different"
    in_splits = [qrels.queries for qrels in collection.qrels.values()]
    if spare := len(collection.queries) - len(np.unique(np.concatenate([np.empty(0, np.int64), *in_splits]))):
        yield f"unused    {spare:>12,} {_queries(spare)} in no split"
    yield from _alike(collection)
    for note, count in collection.notes.items():
        yield f"{level_of(note):<10}{count:>12,}   {note}"
    for line in warnings(collection):
        yield f"warning   {line}"
    if not collection.problems:
        yield "problems          none found"
    for problem, count in collection.problems.items():
        yield f"left out  {count:>12,}   {problem}"


def _queries(count: int) -> str:
    return "query" if count == 1 else "queries"


def _alike(collection: Collection) -> Iterator[str]:
    """Yield lines about duplicate passages and queries that are passages, which are excluded from negatives."""
    copies = Copies.of(collection)
    if copies.count:
        none = np.empty(0, dtype=np.int64)
        relevant = np.concatenate([none, *(qrels.relevant().passages for qrels in collection.qrels.values())])
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


def warnings(collection: Collection) -> Iterator[str]:
    """Yield warnings about properties of a collection that invalidate or inflate metrics."""
    if set(collection.qrels) == {"train"}:
        yield "there is only a train split, so nothing to measure on; hold some of it out: run ... --hold_out 0.1"
    train = collection.qrels.get("train")
    for split, qrels in collection.qrels.items():
        judged, relevant = len(qrels.judged()), len(qrels.relevant())
        if judged and not relevant:
            yield f"{split}: none of its judgements is above grade 0, so no passage is relevant"
        elif lacking := judged - relevant:
            yield f"{split}: {lacking:,} of {judged:,} judged queries have no relevant passage"
        if train is None or split == "train":
            continue
        by_id = int(np.isin(qrels.queries, train.queries).sum())
        texts = _trimmed(collection.queries, train.queries)
        seen = pc.sum(pc.is_in(_trimmed(collection.queries, qrels.queries), value_set=texts)).as_py()
        if seen:  # a query that is in both has the same text in both
            ways = f"{by_id:,} by id, {seen - by_id:,} by text"
            yield f"{split}: {seen:,} of {len(qrels):,} queries are training queries, too ({ways})"


def _trimmed(queries: Texts, rows: np.ndarray) -> pa.Array:
    """Return the texts of some queries, stripped."""
    texts = queries.table["text"].take(pa.array(rows))
    return pa.concat_arrays(pc.utf8_trim_whitespace(texts).chunks) if len(rows) else pa.array([], pa.large_string())


def _lengths(texts: Texts, spaced: bool) -> str:
    count, unit = (_words, "words") if spaced else (_characters, "characters")
    parts = [(count(batch["text"]), count(batch["title"])) for batch in texts.table.to_batches()]
    lengths = np.concatenate([text + title for text, title in parts])
    unit += " with titles" if any(title.any() for _, title in parts) else ""
    low, middle, high = np.percentile(lengths, [5, 50, 95]).round().astype(int)
    return f"{unit}: median {middle}, 5% under {low}, 5% over {high}, longest {lengths.max()}"


def _characters(texts: Any) -> np.ndarray:
    """Return the number of non-space characters of each text."""
    return pc.utf8_length(pc.replace_substring_regex(texts, r"\s", "")).to_numpy(zero_copy_only=False)


def _words(texts: Any) -> np.ndarray:
    """Return the number of words of each text."""
    trimmed = pc.utf8_trim_whitespace(texts)
    return np.where(pc.equal(trimmed, ""), 0, pc.list_value_length(pc.utf8_split_whitespace(trimmed)))
