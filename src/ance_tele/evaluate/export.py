"""Export of a run to DPR's format of retrieval results, which readers in open-domain question answering take."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.data.answers import match_answers
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Collection
from ance_tele.data.ragged import offsets_of
from ance_tele.evaluate.answers import known_rows
from ance_tele.evaluate.run import Run
from ance_tele.store.files import atomic

# Queries in memory at a time, with the texts of their passages.
QUERIES_PER_BLOCK = 256


def export_dpr(run: Run, collection: Collection, path: Path, depth: int = 100) -> tuple[int, int]:
    """Write the best passages of each query as DPR does; the file appears whole or not at all.

    A JSON list of ``question``, ``answers`` and ``ctxs``, each of these ``id``, ``title``, ``text``, ``score`` (a
    string, as DPR has it) and ``has_answer`` (facebookresearch/DPR, ``save_results`` in dense_retriever.py).

    Args:
        run: Ranked passages.
        collection: Texts and answers; queries without answers are left out.
        path: The file; ``.json``.
        depth: Passages per query.

    Returns:
        How many queries were written, and how many left out.

    Raises:
        UserError: The collection has no answers, an id of the run is not of this collection, the name does not end
            in ``.json``, or the depth is below 1.

    Example:
        >>> import ance_tele as at
        >>> corpus, queries, answers = {"p1": "Bern is a capital."}, {"q1": "capital?"}, {"test": {"q1": ["Bern"]}}
        >>> collection = at.collection_from_dicts(corpus, queries, {"test": {"q1": {"p1": 1}}}, answers=answers)
        >>> export_dpr(at.Run.from_dict({"q1": {"p1": 0.9}}), collection, Path("run.json"))
        (1, 0)
        >>> json.loads(Path("run.json").read_text())[0]["ctxs"][0]["has_answer"]
        True
    """
    if path.suffix != ".json":
        raise UserError(f"{path.name} must end in .json: that is what a run is written as for DPR.")
    if depth < 1:
        raise UserError(f"depth is {depth}; at least 1 passage per query is needed.")
    if not len(collection.answers):
        raise UserError(f"Collection '{collection.name}' has no answers, which DPR's format needs.")
    queries = known_rows(collection.queries, run.query_ids, "query", collection.name)
    places = np.flatnonzero(np.isin(queries, collection.answers.queries))
    best = [run.passage_ids[place][:depth] for place in places]
    offsets = offsets_of([len(ids) for ids in best])
    rows = known_rows(collection.corpus, [name for ids in best for name in ids], "passage", collection.name)
    with (
        atomic(path) as target,
        target.open("w", encoding="utf-8") as file,
        progress("writing", len(places), "queries") as advance,
    ):
        file.write("[")
        for start in range(0, len(places), QUERIES_PER_BLOCK):
            part = slice(start, start + QUERIES_PER_BLOCK)
            bounds = offsets[start : start + QUERIES_PER_BLOCK + 1]
            scores = [run.scores[place][:depth] for place in places[part]]
            found = rows[bounds[0] : bounds[-1]]
            items = _items(collection, queries[places[part]], bounds - bounds[0], found, np.concatenate(scores))
            file.write(",".join(f"\n{json.dumps(item, ensure_ascii=False)}" for item in items))
            file.write("," if part.stop < len(places) else "")
            advance(len(items))
        file.write("\n]\n")
    return len(places), len(queries) - len(places)


def _items(
    collection: Collection, queries: np.ndarray, offsets: np.ndarray, rows: np.ndarray, scores: np.ndarray
) -> list[dict[str, Any]]:
    """Return the entries of some queries; passages and scores are ragged."""
    corpus = collection.corpus
    questions = [collection.queries[query]["text"] for query in queries]
    answers = [collection.answers.of(query) for query in queries]
    distinct, place = np.unique(rows, return_inverse=True)
    columns = (gather(corpus.table[name], distinct) for name in ("id", "title", "text"))
    passages = list(zip(*columns, strict=True))
    matched = match_answers(offsets, rows, answers, corpus)
    contexts = [
        dict(zip(("id", "title", "text", "score", "has_answer"), (*passages[index], str(score), match), strict=True))
        for index, score, match in zip(place.tolist(), scores, matched.tolist(), strict=True)
    ]
    return [
        {"question": question, "answers": given, "ctxs": contexts[start:stop]}
        for question, given, start, stop in zip(questions, answers, offsets[:-1], offsets[1:], strict=True)
    ]
