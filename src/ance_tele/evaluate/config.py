"""What is measured, and on which queries."""

from dataclasses import dataclass

METRICS = (
    "MRR@10",
    "MRR@100",
    "nDCG@10",
    "Recall@5",
    "Recall@20",
    "Recall@100",
    "Recall@1000",
    "Success@10",
)


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, and on which queries.

    Attributes:
        split: The split that every episode is measured on. The final figures are always the test split's,
            where there is one.
        relevance_level: Grade from which on a passage is relevant for metrics that know no grades (MRR, recall,
            success); None means the usual level of the collection where it is known (2 for TREC DL), else 1.
        eval_depth: Passages retrieved per query.
        baselines: What stands beside the episodes: "bm25", "zero-shot".
        language: How BM25 reads the texts, as a baseline and as a source of negatives: ISO code of the language whose
            stemmer and stop words it takes, such as "en"; "auto" detects it, "none" leaves words as they are. Scripts
            without spaces are read by characters and their pairs whatever is set.
    """

    split: str = "test"
    relevance_level: int | None = None
    eval_depth: int = 1000
    baselines: tuple[str, ...] = ("bm25", "zero-shot")
    language: str = "auto"
