"""The rows of the paper's Table 1: with which recipe, and from which start, each of its systems is trained."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ance_tele.console.errors import UserError, unknown
from ance_tele.paper.figures import Benchmark, published
from ance_tele.pretraining.config import TERMS, Objective
from ance_tele.recipes import RECIPES

RowStart = Literal["bert", "condenser", "cocondenser", "seed", "t5", "dpr"]
"""Where a row starts: from a pretraining of the table's own ("bert" is the one by masked words), from a T5, or from the
model of the row DPR of the same seed."""

COLUMNS: tuple[tuple[str, Benchmark, str], ...] = (("MARCO", "msmarco", "MRR@10"), ("NQ", "nq", "Answer@20"))
"""What is shown of the published figures: name, benchmark, metric."""

# The paper's Table 3 has these for three starts.
_TABLE3: dict[RowStart, str] = {"bert": "bert-base", "condenser": "condenser", "cocondenser": "co-condenser"}


@dataclass(frozen=True)
class Row:
    """A system of Table 1.

    Attributes:
        label: Its name in the paper.
        system: Recipe and settings, as :func:`ance_tele.experiments.grid.system` takes them.
        start: Where it starts.
        further: It is not in Table 1, but in the paper's Table 3: a recipe from another start.
    """

    label: str
    system: str
    start: RowStart = "bert"
    further: bool = False

    @property
    def recipe(self) -> str:
        """Name of its recipe."""
        return self.system.partition(" ")[0]

    @property
    def trains(self) -> bool:
        """Whether it trains a model."""
        return self.recipe != "bm25"


ROWS = (
    Row("BM25", "bm25"),
    Row("DPR", "dpr"),
    Row("DrBoost", "drboost"),
    Row("ANCE", "ance"),
    Row("SEED-Encoder", "ance", "seed"),
    Row("RocketQA", "rocketqa"),
    Row("ME-BERT", "me-bert"),
    Row("GTR-base", "dpr pooling=mean normalize=true temperature=0.01", "t5"),
    Row("Condenser", "ance", "condenser"),
    Row("coCondenser", "ance", "cocondenser"),
    Row("ANCE-Tele", "ance-tele", "cocondenser"),
    Row("PAIR", "pair"),
    Row("RocketQA-v2", "rocketqav2", "dpr"),
    Row("AR2", "ar2", "dpr"),
    Row("DPR from Condenser", "dpr", "condenser", further=True),
    Row("DPR from coCondenser", "dpr", "cocondenser", further=True),
    Row("ANCE-Tele from BERT", "ance-tele", "bert", further=True),
    Row("ANCE-Tele from Condenser", "ance-tele", "condenser", further=True),
)
"""Table 1 in the paper's order, then DPR and ANCE-Tele from its other starts; ANCE is there from all three."""


def starts_wanted(names: Sequence[str]) -> tuple[Objective, ...]:
    """Return the pretrainings in the order in which they are made; coCondenser goes on from Condenser.

    Raises:
        UserError: One of them does not exist.

    Example:
        >>> starts_wanted(["cocondenser", "mlm"])
        ('mlm', 'condenser', 'cocondenser')
    """
    for name in names:
        if name not in TERMS:
            raise UserError(unknown("start", name, TERMS))
    needed = {*names, *(["condenser"] if "cocondenser" in names else [])}
    return tuple(name for name in TERMS if name in needed)


def rows_of(
    starts: Collection[str], t5: str | None = None, passages: str | None = None, queries: str | None = None
) -> tuple[list[Row], list[str]]:
    """Return the rows that can be measured, and for each other one a sentence why not.

    Args:
        starts: The pretrainings; without "mlm" the model that is given takes the place of BERT.
        t5: A T5, for GTR.
        passages: File of docT5query's terms.
        queries: File of GAR's terms.

    Example:
        >>> rows, left_out = rows_of(["mlm"])
        >>> [row.label for row in rows if row.recipe == "ance"]
        ['ANCE']
        >>> "SEED-Encoder is left out: there is no start seed." in left_out
        True
    """
    made = {*starts, "bert", "dpr", *(["t5"] if t5 else [])}
    expanded = [
        Row(label, f"bm25 {name}={path}")
        for label, name, path in (("docT5query", "expand_passages", passages), ("GAR", "expand_queries", queries))
        if path
    ]
    rows, left_out = [], []
    for row in (ROWS[0], *expanded, *ROWS[1:]):
        if row.recipe not in RECIPES:
            left_out.append(f"{row.label} is left out: there is no recipe {row.recipe}.")
        elif row.start not in made:
            hint = "no T5 is given (--t5)" if row.start == "t5" else f"there is no start {row.start}"
            left_out.append(f"{row.label} is left out: {hint}.")
        else:
            rows.append(row)
    return rows, left_out


def figures(label: str, row: Row | None = None) -> dict[str, float]:
    """Return the published figures of a row, or of a system that others have run, by "MARCO MRR@10" and the like.

    Example:
        >>> figures("ANCE-Tele")
        {'MARCO MRR@10': 0.391, 'NQ Answer@20': 0.849}
    """
    found = {}
    for name, benchmark, metric in COLUMNS:
        if row is not None and row.further:
            known = published(benchmark, "table3", row.recipe, _TABLE3[row.start])
        else:
            known = published(benchmark, "table1", label)
        if known and metric in known:
            found[f"{name} {metric}"] = known[metric]
    return found
