"""The paper's figures (Sun et al., EMNLP 2022), as references for those of a run.

Percentages are given as fractions (39.1 is 0.391), metrics by our names. The paper's recall on NQ and TriviaQA is
answer recall, ``Answer@k``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

import yaml

from ance_tele.paper.settings import STARTS

Benchmark = Literal["msmarco", "nq", "triviaqa"]
Start = Literal["bert-base", "condenser", "co-condenser"]

# Words of a collection's name: "wikipedia-nq" is NQ, "msmarco-passage" MS MARCO.
_BENCHMARKS: Mapping[str, Benchmark] = {
    "msmarco": "msmarco",
    "marco": "msmarco",
    "nq": "nq",
    "naturalquestions": "nq",
    "triviaqa": "triviaqa",
    "trivia": "triviaqa",
}
# Collections whose names hold such a word, but whose figures are not comparable.
_OTHERS = {"document", "documents", "doc", "docs", "v2"}


@dataclass(frozen=True)
class Sizes:
    """Size of a benchmark (Table 4): passages, and queries of each split."""

    passages: int
    train: int
    dev: int
    test: int


@dataclass(frozen=True)
class Hours:
    """How long the paper's training took (Table 6): hours of each episode, of one refresh, and of all together."""

    gpu: str
    gpus: int
    training: tuple[float, ...]
    refresh: float
    refreshes: int
    overall: float


@dataclass(frozen=True)
class Row:
    """A row of Table 1.

    Attributes:
        system: Its name in the paper.
        metrics: Fractions by metric; those that the paper does not report are left out.
        params: Size as the paper gives it, such as "110M"; None where there is no model.
        negatives: Where its training negatives come from; None for systems without.
        reference: A larger model, or one distilled from a cross-encoder, for reference only.
    """

    system: str
    metrics: dict[str, float]
    params: str | None = None
    negatives: str | None = None
    reference: bool = False


def benchmark_of(collection: str) -> Benchmark | None:
    """Return which of the paper's benchmarks a collection or a recipe belongs to, by its name; None for any other.

    Usual names are known: msmarco, marco, msmarco-passage, irds:msmarco-passage/dev, nq, natural-questions,
    wikipedia-nq, triviaqa, wikipedia-trivia, and a folder or recipe so called (marco/q-neg). MS MARCO documents and
    MS MARCO v2 are other collections. A subset has the same name: compare :func:`sizes` where it matters.
    """
    name = collection.lower().replace("natural-questions", "nq").replace("natural_questions", "nq")
    words = [word for word in re.split(r"[^a-z0-9]+", name.replace("ms-marco", "msmarco")) if word]
    found = {_BENCHMARKS[word] for word in words if word in _BENCHMARKS}
    return found.pop() if len(found) == 1 and not _OTHERS & set(words) else None


def start_family(model: str) -> Start | None:
    """Return which of the paper's pretrained models a model is, by its name: Luyu/co-condenser-marco is co-condenser.

    Case and dashes are ignored: "bert" and "coCondenser" match.
    """
    last = model.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    known = {_letters(short): short for short in (*STARTS, "bert", "co-condenser")}
    short = known.get(_letters(last))
    if short is None:
        return None
    return next(family for family in get_args(Start) if family.startswith(short) or short.startswith(family))


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def published(collection: str, table: str, system: str, start: str | None = None) -> dict[str, float] | None:
    """Return the paper's figures for a system, or None where it has none.

    Args:
        collection: Name of the collection that was measured.
        table: "table1", "table3" or "table8".
        system: A method of Table 1 ("ANCE-Tele", in any case) or a recipe ("ance-tele", "marco/q-neg", "nq").
        start: For table3, the pretrained model: a hub name, a folder or a short name.

    Returns:
        Fractions by metric: "MRR@10" and "Recall@1000" for MS MARCO, "Answer@5", "Answer@20", "Answer@100" for NQ and
        TriviaQA.
    """
    benchmark = benchmark_of(collection)
    name = _recipe(system)
    if table == "table1":
        rows = {row.system.casefold(): row.metrics for row in table1(collection)}
        return rows.get(system.casefold()) or rows.get(name.casefold())
    if benchmark != "msmarco":
        return None
    found = _facts()[table]
    if table == "table3":
        found = found.get(start_family(start or ""), {})
    return _named(benchmark, found[name]) if name in found else None


def table1(collection: str) -> list[Row]:
    """Return the rows of Table 1 with metrics of a collection, in the paper's order."""
    benchmark = benchmark_of(collection)
    rows = [row for row in _facts()["table1"] if benchmark in row]
    about = ("params", "negatives", "reference")
    return [
        Row(row["system"], _named(benchmark, row[benchmark]), **{name: row[name] for name in about if name in row})
        for row in rows
    ]


def table2(collection: str, alpha: float, beta: float, negatives_per_query: int) -> dict[str, float] | None:
    """Return the paper's figures for ANCE-Tele at other shares or numbers of negatives (MS MARCO), or None."""
    shares = (alpha, beta, negatives_per_query)
    for row in _facts()["table2"]:
        if benchmark_of(collection) == "msmarco" and shares == (row["alpha"], row["beta"], row["negatives_per_query"]):
            return _named("msmarco", row["msmarco"])
    return None


def of_system(collection: str, system: str, start: str, shares: Mapping[str, float]) -> dict[str, float]:
    """Return the paper's figures for a system of a comparison, by metric; {} where it has none.

    ``system`` is a recipe's name, with its own settings behind it if it has any ("ance-tele alpha=0.3").
    """
    name, *own = system.split()
    if own and name == "ance-tele" and {word.partition("=")[0] for word in own} <= shares.keys():
        return table2(collection, shares["alpha"], shares["beta"], int(shares["negatives_per_query"])) or {}
    tables = () if own else ("table3", "table8", "table1")
    return next((known for table in tables if (known := published(collection, table, system, start))), {})


def forgetting(collection: str, system: str) -> dict[int, float] | None:
    """Return the paper's forgetting rate by episode (Table 9, MS MARCO) as fractions, or None."""
    rates = _facts()["table9"].get(_recipe(system)) if benchmark_of(collection) == "msmarco" else None
    return {episode: _fraction(rate) for episode, rate in enumerate(rates, 1)} if rates else None


def curve(collection: str, name: str, system: str, start: str) -> dict[int, float] | None:
    """Return a curve of the authors' notebooks (MS MARCO) as fractions by episode; None where there is none.

    ``name`` is "dev MRR@10", "dev MRR@10 over five episodes" or "forgetting rate".
    """
    points = _facts()["curves"][name].get(start_family(start), {}).get(_recipe(system), {})
    if benchmark_of(collection) != "msmarco" or not points:
        return None
    return {episode: _fraction(value) for episode, value in points.items()}


def composition(collection: str) -> dict[int, dict[str, float]] | None:
    """Return ANCE's negatives by first round: ``{episode: {"bm25" or episode: share of its top-200}}``.

    From the authors' notebooks: ANCE from BERT on MS MARCO, about 400,000 queries. None for other collections.
    """
    if benchmark_of(collection) != "msmarco":
        return None
    return {
        episode: {str(first): _fraction(share) for first, share in shares.items()}
        for episode, shares in _facts()["composition"].items()
    }


def sizes(collection: str) -> Sizes | None:
    """Return the published size of a benchmark (Table 4), or None."""
    benchmark = benchmark_of(collection)
    return Sizes(**_facts()["sizes"][benchmark]) if benchmark else None


def hours(collection: str) -> Hours | None:
    """Return the paper's training time (Table 6), or None."""
    benchmark = benchmark_of(collection)
    if benchmark is None:
        return None
    facts = _facts()["hours"][benchmark]
    return Hours(**{**facts, "training": tuple(facts["training"])})


@cache
def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = yaml.safe_load(files("ance_tele.paper").joinpath("facts.yaml").read_text("utf-8"))
    return facts


def _recipe(system: str) -> str:
    """Remove the benchmark from a recipe's name: marco/q-neg is q-neg, and nq alone is ance-tele."""
    name = system.rpartition("/")[2]
    return "ance-tele" if name in ("marco", "nq", "triviaqa") else name


def _named(benchmark: Benchmark | None, values: Sequence[float | None]) -> dict[str, float]:
    names = _facts()["metrics"][benchmark]
    return {name: _fraction(value) for name, value in zip(names, values, strict=True) if value is not None}


def _fraction(percent: float) -> float:
    return round(percent / 100, 6)
