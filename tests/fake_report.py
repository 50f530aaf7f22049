"""Runs as the report reads them, written by hand: summaries, analyses, run folders; and a reader of its page."""

import csv
import json
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.report.load import RunData
from ance_tele.report.write import write_report
from ance_tele.runs.analysed import Analysis, Dynamics, Suspects
from ance_tele.runs.out_of_domain import OutOfDomain
from ance_tele.runs.summary import Summary
from ance_tele.store.records import decode, decode_list

NASTY = "<script>alert(1)</script> & \"q\" 'a' </style> {{ 7*7 }} $\\frac$ <img src=x onerror=y> https://evil.example/x"


def measured(mrr: float) -> dict[str, float]:
    return {"MRR@10": mrr, "nDCG@10": mrr + 0.03, "Recall@100": min(1.0, mrr + 0.3)}


def summary_of(
    recipe: str = "ance-tele", collection: str = "toy", forgotten: tuple[float, ...] = (0.05, 0.15, 0.1)
) -> dict:
    episodes = [
        {
            "number": number,
            "metrics": measured(0.2 + 0.1 * number),
            "forgetting_rate": rate,
            "learned_rate": 0.3,
            "unchanged_rate": 0.7 - rate,
            "training_mrr": 0.5,
            "new_negatives": 0.4,
            "seconds": {"search": 1.0, "train": 2.0},
            "steps": 10,
            "stopped_at_refresh": number < 3,
            "pool": {"size": 60, "by_source": {"query": 40, "lookahead": 20}, "short_queries": 0},
        }
        for number, rate in enumerate(forgotten, 1)
    ]
    return {
        "schema": 1,
        "recipe": recipe,
        "collection": collection,
        "model": "start",
        "seed": 3,
        "split": "dev",
        "data": {"fingerprint": "f00d", "passages": 90, "queries": {"train": 5, "dev": 4}, "training_queries_used": 5},
        "baselines": {"bm25": measured(0.33), "zero-shot": measured(0.1)},
        "episodes": episodes,
        "final": measured(0.5),
        "comparisons": [{"system": "episode 3", "baseline": "bm25", "metric": "MRR@10", "difference": 0.17, "p": 0.01}],
        "settings": {"alpha": 0.5, "depth": 20},
        "environment": {"machine": "bench", "python": "3.11", "packages": {"torch": "2.9"}},
    }


def dynamics_of(forgotten: tuple[float, ...] = (0.05, 0.15, 0.1), new: float = 0.3, swing: float = 0.08) -> dict:
    return {
        "schema": 1,
        "recipe": "ance-tele",
        "queries": 5,
        "episodes": 3,
        "rounds": [{"round": number, "source": "query", "lookahead": True} for number in range(1, 5)],
        "learning": [
            {"episode": 0, "training_mrr": 0.1},
            *(
                {"episode": number, "training_mrr": 0.5, "forgotten": rate, "learned": 0.3, "unchanged": 0.7 - rate}
                for number, rate in enumerate(forgotten, 1)
            ),
        ],
        "composition": {
            "mined": [
                {"round": 1, "size": 90, "first": {"1": 1.0}},
                {"round": 2, "size": 90, "first": {"1": 0.375, "2": 0.625}},
                {"round": 4, "size": 90, "first": {"1": 0.2, "2": 0.8 - new, "4": new}},
            ],
            "pools": [{"episode": 1, "size": 60, "first": {"1": 1.0}}, {"episode": 2, "first": {"1": 0.55, "2": 0.45}}],
            "sources": [
                {"episode": 1, "query": 0.5, "lookahead": 0.5},
                {"episode": 2, "query": 0.25, "lookahead": 0.25, "momentum": 0.5},
            ],
            "origins": [
                {"episode": 1, "query": 0.5, "lookahead": 0.5},
                {"episode": 2, "query": 0.51, "lookahead": 0.49},
            ],
        },
        "new": [
            {"round": 1, "new": 1.0, "near_positive": None, "random": None},
            {"round": 2, "new": 0.625, "near_positive": 0.08, "random": 0.01},
            {"round": 4, "new": new, "near_positive": 0.0625, "random": 0.0125},
        ],
        "swing": [{"round": 1, "share": swing, "count": 7}, {"round": 2, "share": 0.02, "count": 2}],
    }  # fmt: skip


CASES = [
    {
        "query_id": "q1",
        "query": "restart a <b>service</b>",
        "mrr": {"0": 0.0, "1": 0.5},
        "positives": [{"id": "d1", "title": "Title", "text": "restart the service"}],
        "negatives": [
            {
                "id": "d2",
                "title": "",
                "text": "Restart of <i>another</i> thing",
                "class": "A",
                "ranks": {"1": 4, "2": None, "3": 17},
                "words": ["restart"],
            }
        ],
    }
]


PROJECTION = {
    "query_id": "q1",
    "query": "restart a service",
    "start": 2,
    "episodes": 1,
    "points": [
        {"kind": kind, "id": f"d{place}", "episode": episode, "x": place + episode, "y": place * 0.5}
        for episode in (0, 1)
        for place, kind in enumerate(("query", "positive", "A", "B"))
    ],
}


SUSPECTS = {
    "pairs": 1000,
    "suspects": 20,
    "by_source": {"query": {"pairs": 600, "suspects": 18, "share": 0.03},
                  "lookahead": {"pairs": 400, "suspects": 2, "share": 0.005}},
    "by_reason": {"copy": 4, "outscores": 11, "kept": 9},
    "settings": {"overlap": 0.6},
}  # fmt: skip


ELSEWHERE = {
    "collection": "scifact",
    "split": "test",
    "queries": 300,
    "episode": 3,
    "metric": "MRR@10",
    "difference": 0.11,
    "p": 0.002,
    "zero-shot": {"MRR@10": 0.3125},
    "trained": {"MRR@10": 0.4225},
}

MERGE = {
    "base": "tiny-bert",
    "method": "linear",
    "rule": "mean",
    "weight": 0.5,
    "episode": 3,
    "on": [
        {
            "collection": "demo",
            "own": True,
            "split": "dev",
            "metric": "MRR@10",
            "scores": {"0": 0.3, "0.5": 0.45, "1": 0.46},
            "final_split": "test",
            "final": {"base": 0.31, "trained": 0.47, "merged": 0.46},
            "differences": {"base": 0.15, "trained": -0.01},
            "p": {"base": 0.001, "trained": 0.4},
        },
        {
            "collection": "scifact",
            "own": False,
            "split": "test",
            "metric": "MRR@10",
            "scores": {"0": 0.6, "0.5": 0.59, "1": 0.4},
            "final_split": "test",
            "final": {"base": 0.6, "trained": 0.4, "merged": 0.59},
            "differences": {"base": -0.01, "trained": 0.19},
            "p": {"base": 0.4, "trained": 0.001},
        },
    ],
}


MRR = [[0.0, 1.0, 0.5, 1.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.25, 0.125], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]


def write_run(folder: Path, summary: Mapping[str, Any] | None = None, analysed: bool = True, **parts: Any) -> Path:
    """A run folder of three episodes with known numbers; ``parts`` replace files of the analysis."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary or summary_of()), "utf-8")
    for number in (1, 2, 3):
        (folder / f"episode-{number}").mkdir(exist_ok=True)
        log = {"loss": [[5, 2.5 / number], [10, 1.5 / number]], "learning_rate": [[5, 1e-5]]}
        (folder / f"episode-{number}" / "training_log.json").write_text(json.dumps(log), "utf-8")
    if not analysed:
        return folder
    files = {"dynamics": dynamics_of(), "suspects": SUSPECTS, "cases": CASES, "projection": PROJECTION, **parts}
    (folder / "analysis").mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / "analysis" / f"{name}.json").write_text(json.dumps(content), "utf-8")
    columns: dict[str, Any] = {"query_id": [f"q{row}" for row in range(len(MRR))]}
    columns |= {f"mrr_{place}": [row[place] for row in MRR] for place in range(4)}
    falls = [sum(max(a - b, 0) for a, b in pairwise(row)) for row in MRR]
    pq.write_table(pa.table({**columns, "falls": [1] * 5, "lost": falls}), folder / "analysis" / "per_query.parquet")
    rows = [
        {"query_id": f"q{number}", "passage_id": f"d{number}", "reasons": "copy,kept", "score": 9.0 - number,
         "sources": "query", "overlap": 0.75, "margin": 1.25, "top_rounds": 2}
        for number in range(30)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "analysis" / "suspects.parquet")
    (folder / "elsewhere").mkdir(exist_ok=True)
    (folder / "elsewhere" / "scifact.json").write_text(json.dumps(ELSEWHERE), "utf-8")
    (folder / "merged").mkdir(exist_ok=True)
    (folder / "merged" / "merge.json").write_text(json.dumps(MERGE), "utf-8")
    return folder


def run_of(
    summary: Mapping[str, Any],
    name: str = "run",
    dynamics: Mapping[str, Any] | None = None,
    suspects: Mapping[str, Any] | None = None,
    elsewhere: tuple[Mapping[str, Any], ...] = (),
    losses: Mapping[int, list[tuple[float, float]]] | None = None,
) -> RunData:
    """A run as the report has it, from the contents of its files."""
    analysis = Analysis(
        done=dynamics is not None,
        dynamics=decode(Dynamics, dynamics or {}),
        suspects=decode(Suspects, suspects or {}),
        out_of_domain=decode_list(OutOfDomain, elsewhere),
    )
    return RunData(name, Summary.of(summary), losses=losses or {}, analysis=analysis)


class Page(HTMLParser):
    """Tags with their attributes, and the text a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        self.text = " ".join(" ".join(self.said).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "link", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.said.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(run: Path, **how: Any) -> Page:
    write_report(run, **how)
    page = Page((run / "report.html").read_text("utf-8"))
    assert page.open == []  # whatever is opened is closed
    return page


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def metrics(mrr: float, ndcg: float, recall: float) -> dict[str, float]:
    return {"MRR@10": mrr, "MRR@100": mrr, "nDCG@10": ndcg, "Recall@100": recall, "Success@10": recall}


SCORES = [
    (0.611, 0.702, 0.921),
    (0.655, 0.731, 0.944),
    (0.712, 0.757, 0.962),
    (0.704, 0.75, 0.96),
    (0.72, 0.77, 0.97),
]


def demo_summary(episodes: int) -> dict[str, Any]:
    """A summary with so many episodes; every number that is shown differs from its neighbours."""
    summary = {
        "schema": 1,
        "recipe": "ance-tele" if episodes else "zero-shot",
        "collection": "demo",
        "model": "all-MiniLM-L6-v2",
        "seed": 42,
        "split": "test",
        "data": {
            "fingerprint": "f1n9e7",
            "passages": 9012,
            "queries": {"train": 9600, "dev": 600, "test": 1800},
            "training_queries_used": 2000,
        },
        "baselines": {"bm25": metrics(0.662, 0.699, 0.912), "zero-shot": metrics(0.58, 0.625, 0.83)},
        "episodes": [],
        "comparisons": [],
        "settings": {"alpha": 0.5, "batch_size": 32, "teacher": None},
        "environment": {"machine": "test bench", "python": "3.11.7", "packages": {"torch": "2.13.0"}},
        "unknown": {"ignored": True},
    }
    for number in range(1, episodes + 1):
        summary["episodes"].append(
            {
                "number": number,
                "metrics": metrics(*SCORES[number - 1]),
                "forgetting_rate": 0.12 + number / 1000,
                "learned_rate": 0.31,
                "unchanged_rate": 0.57 - number / 1000,
                "training_mrr": 0.61,
                "new_negatives": 1.0 if number == 1 else 0.4,
                "seconds": {"encode": 61.2, "search": 3.1, "mix": 0.2, "train": 101.7, "evaluate": 2.2},
                "steps": 120,
                "stopped_at_refresh": number < episodes,
                "pool": {
                    "size": 120000,
                    "by_source": {"query": 90000, "lookahead": 30000},
                    "short_queries": 0,
                    "missing": 0,
                    "repeats": 0,
                },
            }
        )
    return summary


def compare(
    summary: dict[str, Any], difference: float, p: float, baseline: str = "bm25", metric: str = "MRR@10"
) -> dict[str, Any]:
    """Add a comparison of the last system with a baseline."""
    last = summary["episodes"][-1]["number"] if summary["episodes"] else None
    system = f"episode {last}" if last else "zero-shot"
    one = {"system": system, "baseline": baseline, "metric": metric, "difference": difference, "p": p}
    summary["comparisons"].append(one)
    return summary
