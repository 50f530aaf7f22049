"""``pairs_of``: the pairs and passages of a collection as texts, for a trainer of one's own."""

from datasets import Dataset

from ance_tele.data.collection import Collection
from ance_tele.data.text_format import TextFormat
from ance_tele.runs.training_set import drawn_queries


def pairs_of(collection: Collection, split: str = "train", max_queries: int | None = None) -> tuple[Dataset, list[str]]:
    """Return the relevant pairs of a split and all passages as texts, titles in front of them.

    Args:
        collection: As ``load_collection`` returns it.
        split: Whose judgements of grade 1 and above are taken.
        max_queries: Number of queries, those that a run draws by ``max_train_queries``; None for all.

    Returns:
        A row of ``anchor`` and ``positive`` for each relevant pair; and the corpus, in row order.

    Raises:
        UserError: There is no such split.

    Example:
        >>> import ance_tele as at
        >>> corpus = {"p1": {"title": "Keys", "text": "A key opens a lock."}, "p2": "Old logs are rotated."}
        >>> collection = at.collection_from_dicts(corpus, {"q1": "what opens a lock?"}, {"train": {"q1": {"p1": 1}}})
        >>> pairs, passages = pairs_of(collection)
        >>> pairs["anchor"][:], pairs["positive"][:]
        (['what opens a lock?'], ['Keys A key opens a lock.'])
        >>> passages
        ['Keys A key opens a lock.', 'Old logs are rotated.']
    """
    table = collection.corpus.table
    passages = TextFormat().render(table["title"].to_pylist(), table["text"].to_pylist())
    relevant = drawn_queries(collection.split(split).relevant(), max_queries)
    anchors = collection.queries.table["text"].take(relevant.owners).to_pylist()
    return Dataset.from_dict({"anchor": anchors, "positive": [passages[row] for row in relevant.passages]}), passages
