"""Search with a trained run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.explorer.kept import KnownCheckpoint
from ance_tele.runs.folder import open_run

if TYPE_CHECKING:
    from ance_tele.search.topk import TopK


@dataclass(frozen=True)
class Hit:
    """A passage found: its rank from 1, its score, its id, title and text."""

    rank: int
    score: float
    id: str
    title: str
    text: str


def search_run(run: str | Path, words: str, k: int = 10, data: str | Path | None = None) -> list[Hit]:
    """Search the corpus of a run with its last model; the corpus is encoded first if its vectors were not kept.

    Args:
        run: A run folder.
        words: The query.
        k: How many passages.
        data: Where the collection lies now, if it was moved.

    Returns:
        At most k passages, best first; the score is the similarity that the model was trained with.

    Raises:
        UserError: The query is empty, this is no run folder, or its data is gone or has changed.

    Example::

        for hit in at.search_run("runs/mine", "who wrote the iliad", k=3):
            print(hit.rank, f"{hit.score:.2f}", hit.id, hit.title)
    """
    check_question(words, k)
    opened = open_run(Path(run), data)
    if opened.model is None:
        raise UserError(
            f"{run} is a run without a model (recipe '{opened.recipe.name}'); there is nothing to search with."
        )
    last = opened.last
    known = KnownCheckpoint.of(opened, last)
    retriever = (known and known.over(opened, last)) or opened.retriever(last)
    return hits(retriever.ask(words, k), opened.collection.corpus)


def check_question(words: str, k: int) -> None:
    """Refuse a query that cannot be searched for.

    Raises:
        UserError: There are no words, or k is below 1.
    """
    if not words.strip():
        raise UserError("The query is empty; give some words to search for.")
    if k < 1:
        raise UserError(f"k is {k}; it must be at least 1.")


def hits(found: "TopK", corpus: Texts) -> list[Hit]:
    """Return the passages found for one query, best first, with their texts."""
    passages = [corpus[int(row)] for row in found.rows[0]]
    return [
        Hit(rank, float(score), passage["id"], passage["title"], passage["text"])
        for rank, (score, passage) in enumerate(zip(found.scores[0], passages, strict=True), 1)
    ]
