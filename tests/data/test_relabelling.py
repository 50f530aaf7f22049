"""Verdicts of relabelling projects: read from words, grades and lists, and what becomes of them in a run."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewUse
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.data.relabelling import Scale, is_relabelling, read_relabelled
from ance_tele.data.review import read_review
from ance_tele.data.reviewed import load_review
from ance_tele.mining.config import MiningConfig
from ance_tele.runs.folder import open_run
from ance_tele.runs.training_set import TrainingSet
from ance_tele.store.files import read_json

pytestmark = pytest.mark.usefixtures("undrawn")

# ---- files -------------------------------------------------------------------------------------------

EXPECTED = [("q1", "a", "relevant"), ("q1", "b", "unsure"), ("q2", "a", "negative")]
FILES = {
    "words.jsonl": '{"query_id": "q1", "passage_id": "a", "verdict": "Relevant"}\n'
    '{"qid": "q1", "docid": "b", "label": "doubtful"}\n{"query-id": "q2", "corpus-id": "a", "verdict": "irrelevant"}\n',
    "grades.jsonl": '{"query_id": "q1", "passage_id": "a", "grade": 3}\n'
    '{"query_id": "q1", "passage_id": "b", "grade": 1.0}\n{"query_id": "q2", "passage_id": "a", "grade": 0}\n',
    "grades.csv": 'passage_id,grade,query_id,why\na,2,q1,\nb,1,q1,"it, too"\na,-1,q2,\n',
    "qrels.tsv": "query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t1\nq2\ta\t0\n",
    "fractions.jsonl": '{"query_id": "q1", "passage_id": "a", "grade": 0.9}\n'
    '{"query_id": "q1", "passage_id": "b", "grade": 0.5}\n{"query_id": "q2", "passage_id": "a", "grade": 0.1}\n',
    "verdict.csv": "query_id,passage_id,verdict\nq1,a,relevant\nq1,b,unsure\nq2,a,negative\n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_one_passage_a_row(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(FILES[name])
    assert is_relabelling(path) == (name != "verdict.csv")
    if name == "verdict.csv":
        verdicts = read_review(path)
    else:
        found = read_relabelled(path, (0.8, 0.5) if name == "fractions.jsonl" else ())
        verdicts = found.verdicts
        assert (found.scale is None) == (name == "words.jsonl")
    assert [(one.query_id, one.passage_id, one.verdict) for one in verdicts] == EXPECTED


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_lists_by_query(kind: str, tmp_path: Path) -> None:
    """As RLHN publishes them: what is relevant after all stands among the positives."""
    rows = [
        {
            "query_id": "q1",
            "query": "one",
            "positive_passages": [{"docid": "a", "text": "x", "title": ""}, {"docid": "c", "text": "y", "title": ""}],
            "negative_passages": [{"docid": "b", "text": "z", "title": ""}],
        },
        {
            "query_id": "q2",
            "query": "two",
            "positive_passages": [],
            "negative_passages": [{"docid": "a", "text": "x", "title": ""}],
        },
    ]
    path = tmp_path / f"rlhn.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = read_relabelled(path)
    assert found.scale is None
    assert [(one.query_id, one.passage_id, one.verdict) for one in found.verdicts] == [
        ("q1", "a", "relevant"),
        ("q1", "c", "relevant"),
        ("q1", "b", "negative"),
        ("q2", "a", "negative"),
    ]
    if kind == "jsonl":
        path.write_text('{"query_id": "q1", "positive_passages": ["a", {"_id": "c"}]}\n')
        assert [one.passage_id for one in read_relabelled(path).verdicts] == ["a", "c"]


@given(st.lists(st.integers(-1, 4), min_size=1), st.data())
def test_scales(grades: list[int], data: st.DataObject) -> None:
    """Higher grades are never less relevant; the usual scale is that of the highest grade."""
    given = data.draw(st.sampled_from([(), (2.0, 1.0), (3.0,), (2.0, 2.0)]))
    scale = Scale.of(given, grades, "x")
    order = ["negative", "unsure", "relevant"]
    places = [order.index(scale.verdict(grade)) for grade in sorted(grades)]
    assert places == sorted(places)
    if not given:
        assert (scale.relevant, scale.doubtful) == ((1, 1) if max(grades) <= 1 else (2, 1))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("r.jsonl", '{"query_id": "q", "passage_id": "d"}\n', "line 1 has no field 'verdict' or 'grade'"),
        ("r.jsonl", '{"passage_id": "d", "grade": 1}\n', "line 1 has no field 'query_id' or 'query-id' or 'qid'"),
        ("r.jsonl", '{"query_id": "q", "passage_id": "", "grade": 1}\n', "line 1 has no passage_id; fill it in"),
        (
            "r.jsonl",
            '{"query_id": "q", "passage_id": "d", "grade": "good"}\n',
            "the verdict 'good'; it must be a grade",
        ),
        ("r.jsonl", '{"query_id": "q", "passage_id": "d", "grade": true}\n', "the verdict True; it must be a grade"),
        ("r.jsonl", '{"query_id": "q", "passage_id": "d", "grade": 1e999}\n', "the verdict inf; it must be a grade"),
        (
            "r.jsonl",
            '{"query_id": "q", "passage_id": "d", "grade": 0.7}\n',
            "holds the grade 0.7, a fraction: say from",
        ),
        (
            "r.jsonl",
            '{"query_id": "q", "positive_passages": "d"}\n',
            "'positive_passages' must be a list of ids, got 'd'",
        ),
        ("r.jsonl", '{"query_id": "q", "positive_passages": [{"text": "d"}]}\n', "has no field 'passage_id'"),
        ("r.jsonl", "{\n", "line 1 is not JSON"),
        (
            "r.csv",
            "query_id,passage_id,grade\nq,d,1\nq,e,1\nq,d,2\n",
            "row 3 calls passage 'd' 2 for query 'q', and row 1 calls it 1; leave one of the two out",
        ),
    ],
)
def test_a_file_that_is_none(name: str, content: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError) as refused:
        read_relabelled(path)
    assert "r." in str(refused.value) and sentence in str(refused.value)
    with pytest.raises(UserError, match="there is no such file"):
        read_relabelled(tmp_path / "nowhere.jsonl")


def test_grades_that_are_no_scale() -> None:
    for grades in ((1.0, 2.0), (3.0, 2.0, 1.0)):
        with pytest.raises(UserError, match="it takes the grade from which on a passage is relevant, and a lower one"):
            Scale.of(grades, [1], "x")


# ---- in a collection -----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Collection:
    return collection_from_dicts(
        {name: f"text {name}" for name in "abcde"},
        {"q1": "one", "q2": "two", "q3": "three", "t": "test"},
        {"train": {"q1": {"c": 1, "a": 0}, "q2": {"b": 1, "c": 1}, "q3": {"e": 1}}, "test": {"t": {"a": 1}}},
        cache=tmp_path / "cache",
    )


GRADED = [("q1", "a", 3), ("q1", "b", 1), ("q2", "b", 0), ("q2", "d", 0), ("q3", "e", 0), ("t", "a", 2), ("q9", "a", 2)]


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    path = tmp_path / "graded.jsonl"
    rows = [{"query_id": query, "passage_id": passage, "grade": grade} for query, passage, grade in GRADED]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def ids(collection: Collection, training: TrainingSet, what: str) -> dict[str, list[str]]:
    qrels = getattr(training, what)
    return {
        collection.queries[int(row)]["id"]: collection.corpus.take_ids(
            qrels.passages[qrels.offsets[place] : qrels.offsets[place + 1]]
        ).to_pylist()
        for place, row in enumerate(qrels.queries)
    }


def test_what_becomes_of_each_verdict(small: Collection, graded: Path) -> None:
    def training(*use: str) -> TrainingSet:
        review = load_review(graded, small, ReviewUse(*use))  # type: ignore[arg-type]
        return TrainingSet.of(small, MiningConfig(), review=review)

    kept = training()
    assert ids(small, kept, "positives") == {"q1": ["c"], "q2": ["b", "c"], "q3": ["e"]}
    assert ids(small, kept, "known") == {"q1": ["c", "a"], "q2": ["b", "c"], "q3": ["e"]}
    added = training("positives", "exclude", "keep")
    assert ids(small, added, "positives") == {"q1": ["c", "a"], "q2": ["b", "c"], "q3": ["e"]}
    assert ids(small, added, "known") == {"q1": ["c", "a", "b"], "q2": ["b", "c"], "q3": ["e"]}
    dropped = training("exclude", "exclude", "drop")
    assert ids(small, dropped, "positives") == {"q1": ["c"], "q2": ["c"]}, "q3 has no positive any more"
    assert ids(small, dropped, "known") == {"q1": ["c", "a", "b"], "q2": ["c"]}
    weighed = training("exclude", 0.25)  # type: ignore[arg-type]
    assert ids(small, weighed, "known") == ids(small, kept, "known") and weighed.weight == 0.25
    assert weighed.doubtful is not None
    found = [small.corpus.take_ids(weighed.doubtful.of_query(place)).to_pylist() for place in range(len(weighed))]
    assert found == [["b"], [], []]
    assert dropped.left_out.tolist() == small.queries.rows(["q3"]).tolist()


def test_one_sentence_says_what_was_done(small: Collection, graded: Path) -> None:
    review = load_review(graded, small, ReviewUse("positives", "exclude", "drop"))
    assert review.line == (
        f"review {graded} (relevant from grade 2 on, doubtful from 1 on): 1 passages called relevant, further "
        "positives; 1 doubtful, never drawn as negatives; 3 irrelevant, 2 of them relevant by the data, which are "
        "dropped as positives; 2 left out, of queries that are none of the training, or unknown passages"
    )
    plain = load_review(graded, small)
    assert (
        "1 doubtful, used as if there were no verdict; 3 irrelevant, 2 of them relevant by the data, which stay"
        in plain.line
    )
    # Only what decides something is kept, and makes another run.
    assert [row.passage_id for row in plain.verdicts] == ["a"]
    prints = {load_review(graded, small, ReviewUse(*use)).fingerprint for use in (  # type: ignore[arg-type]
        ("exclude", "keep", "keep"), ("exclude", "exclude", "keep"), ("exclude", "keep", "drop"), ("positives",),
        ("exclude", 0.5), ("exclude", 0.25),
    )}  # fmt: skip
    assert len(prints) == 6
    assert "1 doubtful, which count as 0.5 of a negative" in load_review(graded, small, ReviewUse("exclude", 0.5)).line
    for weight in (0.0, 1.0, -2.0):
        with pytest.raises(UserError, match="a weight lies between 0 and 1, which are exclude and keep"):
            ReviewUse("exclude", weight)


def test_of_other_data(small: Collection, tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    path.write_text('{"query_id": "x", "passage_id": "y", "grade": 1}\n')
    with pytest.raises(
        UserError, match=r"None of the 1 verdicts of .*other\.jsonl is of a training query and a passage"
    ):
        load_review(path, small)


# ---- runs --------------------------------------------------------------------------------------------


def test_a_run_with_grades(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Callable[..., str]
) -> None:
    collection = load_collection(toy)
    train = collection.qrels["train"]
    queries = collection.queries.take_ids(train.queries).to_pylist()
    path, out = tmp_path / "llm.jsonl", tmp_path / "run"
    pairs = {
        (query, f"d{query[1:3]}-{number}"): (number + int(query[1:3])) % 4
        for query in queries[:30]
        for number in range(6)
    }
    rows = [{"query_id": query, "passage_id": passage, "grade": grade} for (query, passage), grade in pairs.items()]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    command = run_command(toy, tiny_model, out, episodes=1, epochs=1, baselines="[zero-shot]")
    use = ["--review_as=positives", "--review_doubtful=exclude", "--review_irrelevant=drop"]
    assert main([*command, f"--review={path}", *use]) == 0
    printed = capsys.readouterr().out
    assert "(relevant from grade 2 on, doubtful from 1 on)" in printed and "which are dropped as positives" in printed
    table = pq.read_table(out / "positives.parquet")
    positives = set(zip(table["query_id"].to_pylist(), table["passage_id"].to_pylist(), strict=True))
    assert {pair for pair, grade in pairs.items() if grade >= 2} <= positives
    assert not {pair for pair, grade in pairs.items() if grade == 0} & positives
    table = pq.read_table(out / "episode-1" / "pool.parquet")
    pool = set(zip(table["query_id"].to_pylist(), table["passage_id"].to_pylist(), strict=True))
    assert not {pair for pair, grade in pairs.items() if grade >= 1} & pool
    assert {pair for pair, grade in pairs.items() if grade == 0} & pool
    summary = read_json(out / "summary.json")["data"]["review"]
    doubtful = sum(grade == 1 for grade in pairs.values())
    assert (summary["as"], summary["doubtful"]) == ("positives", doubtful) and summary["dropped"] > 0
    report = (out / "report.md").read_text()
    assert "--review_as positives --review_doubtful exclude --review_irrelevant drop --out NEW" in report
    assert f"| doubtful passages that a review makes no negatives | {doubtful} |" in report
    # The run keeps what it needs, knows its review again, and is another run without it.
    opened = open_run(out)
    assert opened.review is not None
    assert opened.review.fingerprint == read_json(out / "run.json")["fingerprints"]["review"]
    assert main([*command, f"--review={out / 'given_review.csv'}", *use]) == 0, "the copy is the same review"
    assert "the review was" in refusal(*command, f"--review={path}", "--review_as=positives")
    assert "must be a number or one of keep, exclude" in refusal(*command, f"--review={path}", "--review_doubtful=drop")


def test_a_doubtful_negative_counts_as_a_share(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """In the loss alone: pools stay what they are; in ranks, too, the same weights come out."""
    base = tmp_path / "run"
    assert main(run_command(toy, tiny_model, base, "q-neg", episodes=1, epochs=1, baselines="[zero-shot]")) == 0
    table = pq.read_table(base / "episode-1" / "pool.parquet")
    pool = list(zip(table["query_id"].to_pylist(), table["passage_id"].to_pylist(), strict=True))
    path = tmp_path / "llm.jsonl"
    rows = [{"query_id": query, "passage_id": passage, "verdict": "doubtful"} for query, passage in pool]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    losses = {}
    for weight in ("keep", "0.999999", "0.01"):
        out = tmp_path / weight
        command = run_command(toy, tiny_model, out, "q-neg", episodes=1, epochs=1, baselines="[zero-shot]")
        assert main([*command, f"--review={path}", f"--review_doubtful={weight}"]) == 0
        assert pq.read_table(out / "episode-1" / "pool.parquet").equals(table)
        losses[weight] = read_json(out / "episode-1" / "training_log.json")["loss"][0][1]
    assert losses["keep"] == read_json(base / "episode-1" / "training_log.json")["loss"][0][1]
    assert losses["0.999999"] == pytest.approx(losses["keep"], rel=1e-4)
    assert losses["0.01"] < 0.9 * losses["keep"]
    assert "| doubtful passages that a review makes 0.01 of a negative |" in (tmp_path / "0.01/report.md").read_text()
    assert "--review_doubtful 0.01 --out NEW" in (tmp_path / "0.01/report.md").read_text()
    opened = open_run(tmp_path / "0.01")
    assert opened.review is not None and opened.review.uses.doubtful == 0.01
