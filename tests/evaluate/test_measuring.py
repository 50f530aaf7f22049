"""What is measured on a split: from which grade on, how deep, without which passages; and models that hold NaN."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytrec_eval
from rich.console import Console
from safetensors.torch import load_file, save_file
from toy import write_toy

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Qrels, Texts
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.episode import run
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.levels import relevance_level, usual_level
from ance_tele.evaluate.model import evaluate_model
from ance_tele.evaluate.retrieval import qrels_dict
from ance_tele.evaluate.run import Run
from ance_tele.recipes import recipe
from ance_tele.report.markdown import report
from ance_tele.report.renderers import terminal
from ance_tele.report.run_tables import results
from ance_tele.runs.summary import Summary
from ance_tele.search.topk import TopK

pytestmark = pytest.mark.usefixtures("undrawn")


def collection_of(grades: dict[str, list[int]], name: str = "toy") -> Collection:
    """One query a split, judged in these grades."""
    passages = Texts(pa.table({"id": pa.array([f"d{number}" for number in range(9)], pa.large_string())}))
    queries = Texts(pa.table({"id": pa.array([f"q{number}" for number in range(9)], pa.large_string())}))
    qrels = {
        split: Qrels(np.array([place]), np.array([0, len(of)]), np.arange(len(of)), np.array(of))
        for place, (split, of) in enumerate(grades.items())
    }
    return Collection(name, passages, queries, qrels, "", Path())


@pytest.mark.parametrize(
    ("name", "split", "level"),
    [
        ("msmarco-passage-trec-dl-2019-judged", "test", 2),
        ("TRECDL2019", "test", 2),
        ("msmarco", "dl20", 2),
        ("msmarco-passage-v2-trec-dl-2023", "test", 2),
        ("trec-dl-hard", "test", 2),
        ("msmarco", "test", 2),
        ("antique", "test", 3),
        ("msmarco", "dev", None),
        ("msmarco-document-trec-dl-2019", "test", None),  # documents: NIST counts grades 1 to 3 as relevant
        ("mmarco", "test", None),
        ("model2019", "test", None),
        ("handle-2020", "test", None),
        ("dl-2025", "test", None),
        ("scifact", "test", None),
    ],
)
def test_the_usual_level_of_known_collections(name: str, split: str, level: int | None) -> None:
    usual = usual_level(name, split)
    assert (usual and usual.level) == level


def test_a_level_is_the_one_asked_for_or_the_usual_one(logged: list[str]) -> None:
    graded = collection_of({"dev": [1, 1], "test": [0, 1, 3]}, "trec-dl-2019")
    assert relevance_level(None, graded, "test") == 2
    assert "relevant from grade 2 on (usual here; TREC DL, passages: trec.nist.gov" in logged[0]
    assert relevance_level(None, graded, "dev") == 1 and len(logged) == 1  # no judgement reaches it
    assert relevance_level(1, graded, "test") == 1 and len(logged) == 1
    assert relevance_level(3, graded, "test") == 3
    assert relevance_level(2, graded, "dev") == 1
    assert (
        "no judgement of split 'dev' reaches grade 2: the highest is 1; there a passage is relevant from" in logged[-1]
    )
    with pytest.raises(UserError, match="relevance_level is 4, but no judgement of split 'test' reaches grade 4: the"):
        relevance_level(4, graded, "test")
    with pytest.raises(UserError, match="relevance_level is 0; it must be at least 1"):
        relevance_level(0, graded, "test")
    two = collection_of({"test": [2, 3]})
    assert relevance_level(3, two, "test") == 3


def test_passages_left_out_of_rankings() -> None:
    rng = np.random.default_rng(5)
    rows = np.array([rng.permutation(12)[:8] for _ in range(30)])
    rows[3, 5:] = -1
    found = TopK(rows, np.where(rows >= 0, -np.arange(8, dtype=np.float32), -np.inf).astype(np.float32))
    owner = np.sort(rng.integers(0, 30, 40))
    own = rng.integers(0, 12, 40)
    left = found.without(owner, own, 6)
    for query in range(30):
        gone = set(own[owner == query].tolist())
        kept = [place for place, row in enumerate(rows[query]) if row not in gone and row >= 0][:6]
        filled = [*rows[query][kept].tolist(), *[-1] * (6 - len(kept))]
        assert left.rows[query].tolist() == filled
        assert left.scores[query][: len(kept)].tolist() == found.scores[query][kept].tolist()
        assert np.isneginf(left.scores[query][len(kept) :]).all()


@pytest.fixture(scope="module")
def duplicates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection, the test queries being passages too, as in Quora; some ids meet by chance."""
    folder = tmp_path_factory.mktemp("data") / "duplicates"
    write_toy(folder)
    queries = [json.loads(line) for line in (folder / "queries.jsonl").read_text("utf-8").splitlines()]
    judged = [line.split("\t")[0] for line in (folder / "qrels" / "test.tsv").read_text("utf-8").splitlines()[1:]]
    asked = [row for row in queries if row["_id"] in judged]
    more = [{"_id": row["_id"], "title": "", "text": row["text"].replace(" ", "  ")} for row in asked[:30]]
    more += [{"_id": row["_id"], "title": "", "text": "w1 w2 t0"} for row in asked[30:40]]
    more += [{"_id": f"copy-{row['_id']}", "title": "", "text": row["text"]} for row in asked[40:] for _ in range(1)]
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in more)
    # One of them is judged relevant to itself: it stays.
    with (folder / "qrels" / "test.tsv").open("a", encoding="utf-8") as file:
        file.write(f"{asked[0]['_id']}\t{asked[0]['_id']}\t1\n")
    return folder


@pytest.mark.parametrize(("which", "count"), [("id_and_text", 29), ("id", 39), ("text", 37), ("never", 0)])
def test_a_query_that_is_a_passage_is_left_out_of_its_own_ranking(
    duplicates: Path, tiny_model: Path, which: Any, count: int, logged: list[str]
) -> None:
    """As BEIR and mteb do it (same id): out of a list one longer, then scored by trec_eval."""
    collection, config = load_collection(duplicates), EncoderConfig()
    texts = {row["id"]: row["text"] for row in collection.corpus.table.to_pylist()}
    asked = {row["id"]: row["text"] for row in collection.queries.table.to_pylist()}
    qrels = qrels_dict(collection.split("test"), collection)
    whole, _ = evaluate_model(tiny_model, collection, "test", config, 101, exclude_self="never")
    ran, scores = evaluate_model(tiny_model, collection, "test", config, 100, exclude_self=which)

    def itself(query: str, passage: str) -> bool:
        same_id, same_text = query == passage, " ".join(texts[passage].split()) == asked[query]
        rule = {"id_and_text": same_id and same_text, "id": same_id, "text": same_text, "never": False}
        return rule[which] and qrels[query].get(passage, 0) <= 0

    expected = {
        query: [passage for passage in ranking if not itself(query, passage)][:100]
        for query, ranking in whole.rankings()
    }
    assert dict(ran.rankings()) == expected
    ranked = {query: {one: -float(place) for place, one in enumerate(ids)} for query, ids in expected.items()}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"}).evaluate(ranked)
    for ours, name in (("nDCG@10", "ndcg_cut_10"), ("Recall@100", "recall_100")):
        assert scores.means()[ours] == pytest.approx(np.mean([theirs[query][name] for query in qrels]))
    said = [line for line in logged if "queries are passages themselves" in line]
    assert len(said) == bool(count) and (not count or said[0].startswith(f"{count} of 48 test queries"))


def test_a_run_leaves_them_out_in_every_system(
    duplicates: Path, tiny_model: Path, tmp_path: Path, logged: list[str]
) -> None:
    small = recipe("zero-shot").with_settings(eval_depth=20, split="dev")
    summary = run(small, load_collection(duplicates), tiny_model, tmp_path / "run", duplicates)
    assert summary["evaluation"]["test"]["queries_excluded"] == 29
    assert summary["evaluation"]["dev"]["queries_excluded"] == 0
    assert sum("29 of 48 test queries are passages themselves (same id and text)" in line for line in logged) == 1
    for query, ids in Run.read_trec(tmp_path / "run" / "final" / "run.trec").rankings():
        # The first is judged relevant to itself, and from topic 15 on ids meet by chance.
        assert len(ids) == 20 and (query not in ids or query == "q00-4" or query >= "q15")
    said = "On test, 29 queries are passages themselves (by id and text), and such a passage is left"
    assert said in report(Summary.of(summary))
    on_test = recipe("bm25").with_settings(eval_depth=20)
    run(on_test, load_collection(duplicates), None, tmp_path / "bm25", duplicates)
    rankings = dict(Run.read_trec(tmp_path / "bm25" / "bm25" / "run.trec").rankings())
    assert [query for query, ids in rankings.items() if query in ids] == ["q00-4"]


def test_metrics_deeper_than_the_lists_are_left_out(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, logged: list[str]
) -> None:
    collection, out = load_collection(toy), tmp_path / "run"
    summary = run(recipe("zero-shot").with_settings(eval_depth=10), collection, tiny_model, out, toy)
    metrics = summary["final"]
    assert set(metrics) == {"MRR@10", "nDCG@10", "Recall@5", "Success@10"}
    assert set(summary["baselines"]["bm25"]) == set(metrics)
    (said,) = [line for line in logged if line.startswith("not measured on test")]
    assert said.endswith("(eval_depth): MRR@100, Recall@20, Recall@100, Recall@1000")
    assert "Recall@1000 were not measured: 10 passages were retrieved" in report(Summary.of(summary))
    Console(width=80).print(terminal(results(Summary.of(summary))))
    assert "R@100" not in capsys.readouterr().out
    _, whole = evaluate_model(tiny_model, collection, "test", EncoderConfig())  # 144 passages: nothing lies deeper
    assert whole.means()["Recall@1000"] == 1.0
    assert {name: whole.means()[name] for name in metrics} == pytest.approx(metrics)
    with pytest.raises(UserError, match="eval_depth is 9; it must lie between 10 and"):
        recipe("zero-shot").with_settings(eval_depth=9)


def test_answers_deeper_than_the_lists_are_left_out(toy: Path) -> None:
    from ance_tele.data.collection import Answers

    collection = load_collection(toy)
    answers = Answers(collection.split("test").queries, pa.chunked_array([[["t0"]] * 48], pa.list_(pa.large_string())))
    answered = Collection(**{**vars(collection), "answers": answers})
    on = Evaluation.of(EvaluateConfig("test", eval_depth=10), answered)
    assert on.metrics[-1] == "Answer@5" and on.not_measured[-2:] == ("Answer@20", "Answer@100")
    assert Evaluation.of(EvaluateConfig("test", eval_depth=144), answered).not_measured == ()
    assert on.inputs["not_measured"] == list(on.not_measured)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory, toy: Path, tiny_model: Path) -> Path:
    out = tmp_path_factory.mktemp("runs") / "shallow"
    sizes = {"episodes": 1, "depth": 20, "pool_per_source": 4, "negatives_per_query": 2, "batch_queries": 8}
    small = recipe("q-neg").with_settings(**sizes, max_train_queries=16, watch_lookahead=False, eval_depth=50)
    run(small, load_collection(toy), tiny_model, out, toy)
    return out


def test_forgetting_is_named_after_the_depth_that_was_mined(shallow: Path) -> None:
    table = pq.read_table(shallow / "episode-1" / "per_training_query.parquet")
    assert "MRR@20" in table.column_names and "MRR@100" not in table.column_names
    summary = json.loads((shallow / "summary.json").read_text("utf-8"))
    assert summary["training_metric"] == "MRR@20"
    report = (shallow / "report.md").read_text("utf-8")
    assert "training MRR@20" in report and "Forgetting is read from MRR@20 of the training queries" in report
    assert json.loads((shallow / "analysis" / "dynamics.json").read_text("utf-8"))["metric"] == "MRR@20"


def test_every_system_has_a_name_of_its_own_in_its_run(shallow: Path) -> None:
    tags = {}
    for name in ("bm25", "episode-0", "episode-1"):
        lines = (shallow / name / "run.trec").read_text("utf-8").splitlines()
        (tags[name],) = {line.split()[5] for line in lines}
        by_query: dict[str, list[float]] = {}
        for line in lines:
            by_query.setdefault(line.split()[0], []).append(float(line.split()[4]))
        assert all((np.diff(np.float32(scores)) < 0).all() for scores in by_query.values())
    weights = json.loads((shallow / "run.json").read_text("utf-8"))["fingerprints"]["model"]
    assert tags["bm25"] == "bm25" and tags["episode-0"] == f"zero-shot-{weights[:6]}"
    assert tags["episode-1"].startswith("q-neg-s42-e1-")


@pytest.fixture
def damaged(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model, one of its weights NaN."""
    import shutil

    folder = shutil.copytree(tiny_model, tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("layer.1.output.dense.weight"))
    tensors[name][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_nan_in_the_weights_as_given_is_told_as_that(
    damaged: Path, toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for words in (
        ["evaluate", str(damaged), "--data", str(toy)],
        ["run", "zero-shot", "--model", str(damaged), "--data", str(toy), "--out", str(tmp_path / "run")],
        ["run", "q-neg", "--model", str(damaged), "--data", str(toy), "--out", str(tmp_path / "other")],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert f"The model {damaged} holds NaN as it was given, in its tensor '" in said, said
        assert "layer.1.output.dense.weight': the file is damaged, or its own training diverged; take another" in said
