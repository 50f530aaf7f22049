"""How much better than a run's retriever a cross-encoder ranks what that retriever has found."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder

from ance_tele.console.log import muted
from ance_tele.data.ragged import offsets_of
from ance_tele.encode.cross_encoder import cross_logits
from ance_tele.evaluate.config import headline
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.retrieval import score
from ance_tele.evaluate.run import Run
from ance_tele.runs.folder import OpenedRun

# Most queries that are reranked: an even sample of more.
QUERIES = 1000


@dataclass(frozen=True)
class Reranked:
    """The retriever's ranking against the same passages ranked by a cross-encoder.

    Attributes:
        split: Of the queries.
        queries: How many.
        depth: Passages of each.
        episode: Whose checkpoint has retrieved them; 0 for the model before training.
        metric: Such as "MRR@10".
        before: Of the retriever's ranking.
        after: Of the cross-encoder's.
    """

    split: str
    queries: int
    depth: int
    episode: int
    metric: str
    before: float
    after: float

    def line(self) -> str:
        """Return it in words.

        Example:
            >>> Reranked("dev", 300, 50, 3, "MRR@10", 0.4312, 0.47).line()
            'reranking dev top-50: MRR@10 0.431 -> 0.470 (300 queries, retriever of episode 3)'
        """
        return (
            f"reranking {self.split} top-{self.depth}: {self.metric} {self.before:.3f} -> {self.after:.3f} "
            f"({self.queries:,} queries, retriever of episode {self.episode})"
        )

    def content(self) -> dict[str, Any]:
        """Return the values for a manifest."""
        return asdict(self)


def rerank(model: CrossEncoder, opened: OpenedRun, depth: int, precision: str) -> Reranked | None:
    """Rerank the passages that the last checkpoint of a run finds for dev queries; without dev, for those it measures.

    The vectors that the run has left are used; where there are none, the corpus is encoded.

    Args:
        model: The cross-encoder.
        opened: The run.
        depth: Passages for each query.
        precision: In which pairs are scored: "auto", "float32" or "bf16".

    Returns:
        None where the split has no queries.
    """
    collection, config, number = opened.collection, opened.recipe.evaluation, opened.last
    with muted():
        on = Evaluation.of(config, collection, "dev" if "dev" in collection.qrels else config.split)
        retriever = opened.retriever(number)
        best = retriever.search(on.qrels.queries, on.search_depth, f"searching for {on.split} queries")
    found, _ = on.measure(best)
    retriever.close(keep_vectors=True)
    if not len(found):
        return None
    some = np.unique(np.linspace(0, len(found) - 1, QUERIES).round().astype(int)).tolist()
    names = [found.query_ids[place] for place in some]
    listed = [found.passage_ids[place][:depth] for place in some]
    rows = collection.queries.rows(names)
    texts = collection.queries.table["text"].take(rows).to_pylist()
    flat = [passage for passages in listed for passage in passages]
    given = texts, offsets_of([len(passages) for passages in listed]), collection.corpus.rows(flat)
    logits = iter(cross_logits(model, *given, collection.corpus, opened.recipe.encoder.title_separator, precision))
    runs = (
        Run(names, listed, [found.scores[place][:depth] for place in some]),
        Run.from_dict(
            {
                name: {passage: float(next(logits)) for passage in passages}
                for name, passages in zip(names, listed, strict=True)
            }
        ),
    )
    metric = headline(on.metrics)
    before, after = (
        score(run, on.qrels.select(rows), collection, (metric,), on.level).means().get(metric, 0.0) for run in runs
    )
    return Reranked(on.split, len(some), depth, number, metric, before, after)
