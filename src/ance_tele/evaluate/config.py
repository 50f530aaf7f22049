"""What is measured, and on which queries."""

from collections.abc import Container
from dataclasses import dataclass
from typing import Annotated, Literal

from ance_tele.console.errors import UserError, unknown
from ance_tele.data.languages import LANGUAGES

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
ANSWER_METRICS = ("Answer@5", "Answer@20", "Answer@100")

BASELINES = ("bm25", "zero-shot")

# Main metrics in order of preference: sentences, tests and curves use the first that was measured.
HEADLINES = ("MRR@10", "Answer@20", "Answer@5")

ExcludeSelf = Literal["id_and_text", "id", "text", "never"]


def cutoff(metric: str) -> int:
    """Return the cut-off of a metric: 10 for "MRR@10"; 0 without."""
    most = metric.rpartition("@")[2]
    return int(most) if most.isdecimal() else 0


def headline(measured: Container[str]) -> str:
    """Return the main metric, for sentences, tests and curves, of those that were measured."""
    return next((name for name in HEADLINES if name in measured), HEADLINES[0])


@dataclass(frozen=True)
class EvaluateConfig:
    """What is measured, and on which queries.

    Attributes:
        split: The split that every episode is measured on. The final figures are always the test split's,
            where there is one.
        relevance_level: Grade from which on a passage is relevant for metrics that know no grades (MRR, recall,
            success); None means the usual level of the collection where it is known (2 for TREC DL), else 1.
        exclude_self: Where a query is a passage of the corpus too, as in ArguAna or Quora, that passage is left out of
            its ranking, unless it is judged relevant: a passage of the same id and text ("id_and_text"), of the same
            id ("id": BEIR and mteb), of the same text ("text"), or none ("never").
        eval_depth: Passages retrieved per query; metrics that need more are left out.
        baselines: What the episodes are compared with: "bm25", "zero-shot".
        language: How BM25 reads the texts, as a baseline and as a source of negatives: ISO code of the language whose
            stemmer and stop words it takes, such as "en"; "auto" detects it, "none" leaves words as they are. Scripts
            without spaces are read by characters and their pairs whatever is set.

    Example:
        >>> EvaluateConfig(split="dev", eval_depth=100).exclude_self
        'id_and_text'
    """

    split: str = "test"
    relevance_level: Annotated[int | None, (1, 1 << 30)] = None
    exclude_self: ExcludeSelf = "id_and_text"
    eval_depth: Annotated[int, (10, 1 << 20)] = 1000
    baselines: tuple[str, ...] = BASELINES
    language: str = "auto"

    def check(self) -> None:
        """Check what types and ranges of the fields do not."""
        for name in self.baselines:
            if name not in BASELINES:
                raise UserError(unknown("baseline", name, BASELINES))
        if self.language not in ("auto", "none", *LANGUAGES):
            raise UserError(f"language is '{self.language}'; it must be auto, none, or one of {', '.join(LANGUAGES)}.")
