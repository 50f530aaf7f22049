"""Runs of other systems next to ours: read from TREC files, measured and tested alike, or refused in one sentence."""

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.given import given_runs, measure_given, measured, named_runs
from ance_tele.evaluate.run import Run
from ance_tele.evaluate.statistics import permutation_test
from ance_tele.report.load import read_run
from ance_tele.store.files import read_json

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def collection(toy: Path) -> Collection:
    return load_collection(toy)


@pytest.fixture(scope="module")
def on(collection: Collection) -> Evaluation:
    return Evaluation.of(EvaluateConfig(), collection, "test")


def test_our_own_run_gets_our_own_figures(lexical: Path, on: Evaluation, tmp_path: Path) -> None:
    """Also packed, and with the queries of another split in it."""
    lines = (lexical / "bm25" / "run.trec").read_text() + "q00-3 Q0 d00-1 1 0.5 x\n"
    path = tmp_path / "run.trec.gz"
    path.write_bytes(gzip.compress(lines.encode()))
    (one,) = given_runs({"theirs": path}, on.collection)
    made = measure_given(one, on, tmp_path / "theirs")
    assert made is not None and made.facts["metrics"] == read_json(lexical / "bm25" / "metrics.json")["metrics"]
    ours, theirs = (pq.read_table(folder / "per_query.parquet") for folder in (lexical / "bm25", tmp_path / "theirs"))
    assert ours.equals(theirs)
    again = measure_given(given_runs({"theirs": path}, on.collection)[0], on, tmp_path / "theirs")
    assert again is not None and again.reused


PASSAGES = [f"p{number}" for number in range(12)]


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["q1", "q2", "q3"]),
        st.dictionaries(st.sampled_from(PASSAGES), st.floats(0, 1, width=32), min_size=1),
        min_size=1,
    )
)
def test_whatever_it_ranks(rankings: dict[str, dict[str, float]]) -> None:
    """Queries without a line count 0, of every metric; a query's own passage is left out, as in our rankings."""
    corpus = {**{name: f"text {name}" for name in PASSAGES}, "p0": "one"}
    qrels = {"test": {name: {"p3": 1} for name in ("q1", "q2", "q3")}}
    queries, answers = {"q1": "one", "q2": "two", "q3": "three"}, {"test": {"q1": ["p3"], "q2": ["p5"]}}
    made = collection_from_dicts(corpus, queries, qrels, answers=answers)
    whole = Evaluation.of(EvaluateConfig(exclude_self="text"), made)
    assert whole.own.tolist() == [0]
    on, run, scores = measured(Run.from_dict(rankings), whole)
    assert run.query_ids == scores.query_ids == ["q1", "q2", "q3"] and "p0" not in run.passage_ids[0]
    for place, query in enumerate(run.query_ids):
        if query not in rankings:
            assert all(values[place] == 0 or np.isnan(values[place]) for values in scores.values.values())
        ranked = sorted(rankings.get(query, {}), key=lambda name: (-np.float32(rankings[query][name]), name))
        kept = [name for name in ranked if query != "q1" or name != "p0"]
        assert run.passage_ids[place] == kept
        if "MRR@10" in on.metrics:
            assert scores.values["MRR@10"][place] == (1 / (1 + kept.index("p3")) if "p3" in kept[:10] else 0)
    if "Answer@5" in scores.values:
        assert not np.isnan(scores.values["Answer@5"][:2]).any()


def test_a_file_that_was_cut_has_no_deeper_metrics(on: Evaluation) -> None:
    corpus, queries = on.collection.corpus.ids.to_pylist(), on.collection.queries.take_ids(on.qrels.queries).to_pylist()
    cut = Run.from_dict({query: {name: -float(rank) for rank, name in enumerate(corpus[:20])} for query in queries})
    own, _, scores = measured(cut, on)
    assert {"MRR@10", "Recall@20"} <= set(own.metrics) and not {"MRR@100", "Recall@100"} & set(scores.values)
    # Rankings of different lengths end where the system found no more.
    uneven = {query: dict.fromkeys(corpus[: 10 + place], -1.0) for place, query in enumerate(queries)}
    assert measured(Run.from_dict(uneven), on)[0].metrics == on.metrics


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("q00-4 Q0 d00-4 1 0.5\n", r"run\.trec line 1 has 5 fields; six are needed"),
        ("q00-4 Q0 d00-4 1 high x\n", r"run\.trec line 1: the score 'high' is no number"),
        ("q00-4 Q0 d00-4 1 0.5 x\nq00-4 Q0 d00-4 2 0.4 x\n", r"line 2 ranks passage 'd00-4' for query 'q00-4', as a"),
        ("q00-4 Q0 d00-4 1 0.5 x\nq9 Q0 d00-4 1 0.4 x\n", r"names the query 'q9', which collection 'toy' lacks;"),
        ("q00-4 Q0 d9 1 0.5 x\nq00-4 Q0 d8 2 0.4 x\n", r"names the passage 'd8', .* lacks \(2 of 2 ids\)"),
        ("q00-4 Q0 d00-4 1 0.5 x\n", r"run\.trec ranks 1 passages for most queries, and .* at least 5"),
        ("", r"has no line for any of the test queries"),
        ("q00-3 Q0 d00-3 1 0.5 x\n", r"has no line for any of the test queries"),
    ],
)
def test_a_file_that_is_no_run_of_this_collection(
    content: str, sentence: str, toy: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    import re

    path = tmp_path / "run.trec"
    path.write_text(content)
    said = refusal("run", "bm25", f"--data={toy}", f"--out={tmp_path}/out", "--beside", f"theirs={path}")
    assert re.search(sentence, said), said


def test_names() -> None:
    assert list(named_runs(["a=b=c", "docT5query=d.gz"]).items()) == [("a", Path("b=c")), ("docT5query", Path("d.gz"))]
    for words, sentence in (
        (["x"], "it must be NAME=FILE"),
        (["a/b=x"], "it must be NAME=FILE"),
        (["../a=x"], "it must be NAME=FILE"),
        (["=x"], "it must be NAME=FILE"),
        (["a=x", "a=y"], "names 'a' as another system"),
        (["bm25=x"], "names 'bm25' as another system"),
    ):
        with pytest.raises(UserError, match=sentence):
            named_runs(words, ["bm25"])


# ---- in runs and comparisons ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(lexical: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BM25's run with the relevant passage second for every other query, and three queries without a line."""
    run = Run.read_trec(lexical / "bm25" / "run.trec")
    rankings = {}
    for place, (query, ids) in enumerate(run.rankings()):
        assert ids[0][1:] == query[1:], "BM25 finds them all"
        ranked = [ids[1], ids[0], *ids[2:]] if place % 2 else ids
        rankings[query] = {name: -float(rank) for rank, name in enumerate(ranked)}
    path = tmp_path_factory.mktemp("theirs") / "d2q.trec"
    Run.from_dict(dict(list(rankings.items())[3:])).write_trec(path)
    return path


MRR = (22 + 23 / 2) / 48


def test_a_run_shows_and_tests_them(
    toy: Path, lexical: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    shutil.copytree(lexical, out)  # a finished run; what is added does not make it another one
    command = ["run", "bm25", f"--data={toy}", f"--out={out}", "--learning_rate", "1e-4", "--beside", f"d2q={theirs}"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "d2q: d2q.trec measured on 48 test queries; 3 queries have no line and count 0" in printed
    summary = read_json(out / "summary.json")
    shown = summary["beside"]["d2q"]
    assert (shown["file"], shown["queries"], shown["found_nothing"], shown["usable"]) == ("d2q.trec", 48, 3, True)
    assert shown["metrics"] == shown["final"] and shown["metrics"]["MRR@10"] == pytest.approx(MRR)
    (test,) = summary["comparisons"]
    ours, others = (
        pq.read_table(folder / "per_query.parquet")["MRR@10"].to_numpy()
        for folder in (out / "bm25", out / "beside" / "d2q" / "test")
    )
    assert (test["system"], test["baseline"]) == ("bm25", "d2q")
    assert test["difference"] == pytest.approx((ours - others).mean())
    assert test["p"] == permutation_test(ours, others)
    report, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    for text in (report, page, printed):
        assert f"{shown['metrics']['MRR@10']:.3f}" in text
        assert "BM25 is better than d2q by" in text
    assert "d2q was run by others (d2q.trec); 3 queries without a line count 0." in report
    assert list(read_run(out).summary.systems) == ["bm25", "d2q"]
    # Without them the next time, there is no trace of them in the summary.
    assert main(command[:-2]) == 0
    assert "beside" not in read_json(out / "summary.json")


def test_too_few_lines_for_a_test(toy: Path, lexical: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "run", tmp_path / "few.trec"
    shutil.copytree(lexical, out)
    path.write_text("".join(f"q00-4 Q0 d{topic:02d}-4 {topic} {-topic} x\n" for topic in range(12)))
    command = ["run", "bm25", f"--data={toy}", f"--out={out}", "--learning_rate", "1e-4", "--beside", f"few={path}"]
    assert main(command) == 0
    summary = read_json(out / "summary.json")
    assert summary["beside"]["few"]["usable"] is False and not summary["comparisons"]
    assert "few has no line for 47 of 48 queries: no test was made against it." in (out / "report.md").read_text()


def test_rows_of_a_comparison(
    toy: Path, tiny_model: Path, theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An expanded BM25 is a system as any other, and so is the run of another program."""
    terms, out = tmp_path / "terms.tsv", tmp_path / "out"
    terms.write_text("".join(f"d{topic:02d}-4\tu{6 * topic + 4}\n" for topic in range(24)))
    systems = ["bm25", f"bm25 expand_passages={terms}"]
    command = ["compare", "--recipes", *systems, f"--data={toy}", f"--model={tiny_model}", f"--out={out}"]
    assert main([*command, "--beside", f"d2q={theirs}"]) == 0
    printed = capsys.readouterr().out
    found = read_json(out / "comparison.json")
    rows = {row["system"]: row for row in found["rows"]}
    assert list(rows) == [*systems, "d2q"] and [row["letter"] for row in rows.values()] == ["a", "b", "c"]
    assert rows["d2q"]["file"] == "d2q.trec" and "file" not in rows["bm25"]
    assert "dev" not in rows["d2q"]["values"], "the file has no line for these queries"
    assert rows["d2q"]["values"]["test"]["MRR@10"]["mean"] == pytest.approx(MRR)
    assert "c" in rows["bm25"]["values"]["test"]["MRR@10"]["better_than"]
    tested = {(one["a"], one["b"]) for one in found["tests"] if (one["split"], one["metric"]) == ("test", "MRR@10")}
    assert ("bm25", "d2q") in tested and (systems[1], "d2q") in tested
    plain, expanded = (rows[name]["values"]["test"]["MRR@10"]["mean"] for name in systems)
    assert expanded >= plain
    text = (out / "comparison.md").read_text()
    assert "Run by others: d2q (d2q.trec)." in text and "d2q" in (out / "comparison.tex").read_text()
    assert f"{tiny_model.name},d2q,test,MRR@10,42," in (out / "comparison.csv").read_text()
    assert "d2q" in printed
    assert main([*command, "--beside", f"bm25={theirs}"]) == 2
