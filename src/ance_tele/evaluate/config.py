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
        eval_depth: Passages retrieved per query.
        baselines: What stands beside the episodes: "bm25", "zero-shot".
    """

    split: str = "test"
    eval_depth: int = 1000
    baselines: tuple[str, ...] = ("bm25", "zero-shot")
