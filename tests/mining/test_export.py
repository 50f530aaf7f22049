"""What other programs read: each file holds the fields their documents name, and real libraries load it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ance_tele.console.errors import UserError
from ance_tele.data.annotations import Answers
from ance_tele.data.answers import has_answer
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.evaluate import export as dpr_export
from ance_tele.evaluate.export import export_dpr
from ance_tele.evaluate.run import Run
from ance_tele.mining import export as pool_export
from ance_tele.mining.export import Exported, Kind, export_corpus, export_pool
from ance_tele.mining.pool import Pool
from ance_tele.training.batches import BatchPlan

CORPUS = {
    "d0": ("Foxes", 'A "red" fox\u2028runs.'),
    "d1": ("", "A blue bird."),
    "d2": ("Sky", "The sky is blue."),
    "d3": ("Füchse", "Rot und schnell 🦊."),
    "d4": ("Stones", "Grey\tand old."),
}
QUERIES = {"qa": "What is red?", "qb": "Was ist schnell?", "qc": "What is old?", "qd": "no negatives"}
QRELS = {"qa": {"d0": 1}, "qb": {"d3": 1, "d0": 2}, "qc": {"d4": 1}, "qd": {"d1": 1}}
NEGATIVES = [[1, 2, 2, 4], [4, 1], [0, 1, 2], []]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return collection_from_dicts(CORPUS, QUERIES, {"train": QRELS}, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def with_answers(collection: Collection) -> Collection:
    strings = [["red"], ["schnell", "rot"], []]
    kind = pa.list_(pa.large_string())
    return replace(collection, answers=Answers(np.arange(3), pa.chunked_array([pa.array(strings, kind)])))


def pool_of(queries: np.ndarray, negatives: list[list[int]]) -> Pool:
    passages = np.array([row for rows in negatives for row in rows], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in negatives])]).astype(np.int64)
    code = np.zeros(len(passages), dtype=np.uint8)
    return Pool(queries, offsets, passages, code, code, code, code.astype(np.int16), code.astype(np.float32))


@pytest.fixture(scope="module")
def positives(collection: Collection) -> Qrels:
    return collection.split("train").relevant()


@pytest.fixture(scope="module")
def pool(positives: Qrels) -> Pool:
    return pool_of(positives.queries, NEGATIVES)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]


def passage(name: str) -> dict[str, str]:
    return {"docid": name, "title": CORPUS[name][0], "text": CORPUS[name][1]}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is written in several blocks."""
    monkeypatch.setattr(pool_export, "QUERIES_PER_BLOCK", 2)
    monkeypatch.setattr(dpr_export, "QUERIES_PER_BLOCK", 2)


def test_a_tevatron_file_holds_the_documented_fields(
    pool: Pool, positives: Qrels, collection: Collection, tmp_path: Path
) -> None:
    done = export_pool(pool, positives, collection, tmp_path / "train.jsonl", "tevatron")
    assert done == Exported(queries=3, lines=3, left_out=1, short=0)
    expected = [
        ("qa", ["d0"], ["d1", "d2", "d2", "d4"]),
        ("qb", ["d3", "d0"], ["d4", "d1"]),
        ("qc", ["d4"], ["d0", "d1", "d2"]),
    ]
    assert lines_of(tmp_path / "train.jsonl") == [
        {
            "query_id": query,
            "query": QUERIES[query],
            "positive_passages": list(map(passage, good)),
            "negative_passages": list(map(passage, bad)),
        }
        for query, good, bad in expected
    ]


def test_a_file_for_tevatron_2_holds_ids_and_the_corpus_beside_it_resolves_them(
    pool: Pool, positives: Qrels, collection: Collection, tmp_path: Path
) -> None:
    export_pool(pool, positives, collection, tmp_path / "train.jsonl", "tevatron2")
    assert export_corpus(collection, tmp_path / "corpus.jsonl") == len(CORPUS)
    lines = lines_of(tmp_path / "train.jsonl")
    assert lines[1] == {
        "query_id": "qb",
        "query_text": QUERIES["qb"],
        "positive_document_ids": ["d3", "d0"],
        "negative_document_ids": ["d4", "d1"],
    }
    corpus = lines_of(tmp_path / "corpus.jsonl")
    assert corpus[:2] == [
        {"docid": "d0", "text": 'Foxes A "red" fox\u2028runs.'},
        {"docid": "d1", "text": "A blue bird."},
    ]
    named = {name for line in lines for name in line["positive_document_ids"] + line["negative_document_ids"]}
    assert named <= {line["docid"] for line in corpus}


@pytest.mark.parametrize("kind", ["tevatron", "tevatron2"])
def test_answers_are_written_for_tevatron_where_the_collection_has_them(
    pool: Pool, positives: Qrels, with_answers: Collection, tmp_path: Path, kind: Kind
) -> None:
    export_pool(pool, positives, with_answers, tmp_path / "train.jsonl", kind)
    assert [line["answers"] for line in lines_of(tmp_path / "train.jsonl")] == [["red"], ["schnell", "rot"], []]


def test_a_flagembedding_file_holds_the_documented_fields(
    pool: Pool, positives: Qrels, with_answers: Collection, tmp_path: Path
) -> None:
    export_pool(pool, positives, with_answers, tmp_path / "train.jsonl", "flagembedding", separator=" | ")
    lines = lines_of(tmp_path / "train.jsonl")
    assert lines[1] == {
        "query": QUERIES["qb"],
        "pos": ["Füchse | Rot und schnell 🦊.", 'Foxes | A "red" fox\u2028runs.'],
        "neg": ["Stones | Grey\tand old.", "A blue bird."],
    }
    for line in lines:
        assert list(line) == ["query", "pos", "neg"]
        assert all(isinstance(text, str) for text in line["pos"] + line["neg"])


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_triplets_are_one_row_per_positive_with_a_column_per_negative(
    pool: Pool, positives: Qrels, collection: Collection, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"train{suffix}"
    done = export_pool(pool, positives, collection, path, "triplets", 3)
    assert done == Exported(queries=3, lines=4, left_out=1, short=1)
    rows = pa.parquet.read_table(path).to_pylist() if suffix == ".parquet" else lines_of(path)
    assert [list(row) for row in rows] == [["anchor", "positive", "negative_1", "negative_2", "negative_3"]] * 4
    assert [(row["anchor"], row["positive"]) for row in rows] == [
        (QUERIES["qa"], 'Foxes A "red" fox\u2028runs.'),
        (QUERIES["qb"], "Füchse Rot und schnell 🦊."),
        (QUERIES["qb"], 'Foxes A "red" fox\u2028runs.'),
        (QUERIES["qc"], "Stones Grey\tand old."),
    ]
    both = {"Stones Grey\tand old.", "A blue bird."}
    assert {rows[1][f"negative_{number}"] for number in (1, 2, 3)} == both  # two negatives, one of them twice


def test_triplets_of_the_whole_pool_are_one_row_per_positive_and_negative(
    pool: Pool, positives: Qrels, collection: Collection, tmp_path: Path
) -> None:
    done = export_pool(pool, positives, collection, tmp_path / "train.jsonl", "triplets")
    rows = lines_of(tmp_path / "train.jsonl")
    assert done.lines == len(rows) == 4 + 2 * 2 + 3
    assert rows[4] == {
        "anchor": QUERIES["qb"],
        "positive": "Füchse Rot und schnell 🦊.",
        "negative": "Stones Grey\tand old.",
    }


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_what_is_drawn_is_what_training_draws(
    pool: Pool, positives: Qrels, collection: Collection, tmp_path: Path, count: int
) -> None:
    plan = BatchPlan(pool, positives, batch_queries=2, negatives=count, seed=5)
    done = export_pool(pool, positives, collection, tmp_path / "lists.jsonl", "tevatron2", count, seed=5)
    assert done.short == sum(0 < len(rows) < count for rows in NEGATIVES)
    for query, line in enumerate(lines_of(tmp_path / "lists.jsonl")):
        first = [f"d{row}" for row in plan.draw(query, 0)]
        assert line["negative_document_ids"] == first[: len(NEGATIVES[query])]

    export_pool(pool, positives, collection, tmp_path / "rows.jsonl", "triplets", count, seed=5)
    rows = iter(lines_of(tmp_path / "rows.jsonl"))
    whole = [f"{title} {text}" if title else text for title, text in CORPUS.values()]
    for query, epochs in enumerate([1, 2, 1]):
        for epoch in range(epochs):
            _, positive, *drawn = next(rows).values()
            assert positive == whole[plan.positive(query, epoch)]
            assert drawn == [whole[row] for row in plan.draw(query, epoch)]


def test_sentence_transformers_trains_on_triplets(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from datasets import load_dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    collection = load_collection(toy)
    positives = collection.split("train").relevant()
    rng = np.random.default_rng(0)
    negatives = [[row for row in rng.permutation(144)[:6].tolist() if row != good] for good in positives.passages]
    pool = pool_of(positives.queries, negatives)
    losses = []
    for suffix, builder in ((".jsonl", "json"), (".parquet", "parquet")):
        path = tmp_path / f"triplets{suffix}"
        export_pool(pool, positives, collection, path, "triplets", 2)
        data = load_dataset(builder, data_files=str(path), split="train", cache_dir=str(tmp_path / "hub"))
        assert data.column_names == ["anchor", "positive", "negative_1", "negative_2"]
        assert len(data) == len(positives)
        torch.manual_seed(0)
        model = SentenceTransformer(str(tiny_model), device="cpu").eval()
        loss = MultipleNegativesRankingLoss(model)
        features = [model.tokenize(data[:8][name]) for name in data.column_names]
        value = loss(features, torch.empty(0))
        value.backward()
        assert torch.isfinite(value)
        assert value > 0
        losses.append(value.item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("kind", ["tevatron", "tevatron2", "flagembedding"])
def test_datasets_loads_every_list(
    pool: Pool, positives: Qrels, with_answers: Collection, tmp_path: Path, kind: Kind
) -> None:
    from datasets import load_dataset

    export_pool(pool, positives, with_answers, tmp_path / "train.jsonl", kind)
    data = load_dataset("json", data_files=str(tmp_path / "train.jsonl"), split="train", cache_dir=str(tmp_path))
    assert data.to_list() == lines_of(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    ("name", "kind", "negatives", "message"),
    [
        ("train.jsonl", "colbert", None, "'colbert' is no kind of export; take one of: tevatron, tevatron2"),
        ("train.json", "tevatron", None, r"train.json must end in .jsonl: that is what 'tevatron'"),
        ("train.parquet", "flagembedding", None, r"train.parquet must end in .jsonl"),
        ("train.csv", "triplets", 2, r"train.csv must end in .jsonl or .parquet"),
        ("train.jsonl", "triplets", 0, "negatives_per_query is 0; at least 1"),
    ],
)
def test_what_cannot_be_written_is_refused(
    pool: Pool,
    positives: Qrels,
    collection: Collection,
    tmp_path: Path,
    name: str,
    kind: Any,
    negatives: Any,
    message: str,
) -> None:
    with pytest.raises(UserError, match=message):
        export_pool(pool, positives, collection, tmp_path / name, kind, negatives)
    assert list(tmp_path.iterdir()) == []


def test_a_pool_of_other_queries_is_refused(
    pool: Pool, positives: Qrels, collection: Collection, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="pool holds 4 queries, positives 2"):
        export_pool(pool, positives.select(positives.queries[:2]), collection, tmp_path / "train.jsonl", "tevatron")


def test_an_export_that_fails_leaves_the_old_file(positives: Qrels, collection: Collection, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("old")
    beyond = pool_of(positives.queries, [[1], [1], [99], [1]])  # in the second block
    with pytest.raises(IndexError):
        export_pool(beyond, positives, collection, path, "tevatron")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


# ---- runs ------------------------------------------------------------------------------------------------

RUN = {"qb": {"d3": 0.1, "d0": 2.5, "d1": 0.5}, "qd": {"d0": 1.0}, "qa": {"d0": 1.0, "d1": 1.0}, "qc": {"d4": 7.0}}


def test_a_run_for_dpr_holds_what_dpr_writes(with_answers: Collection, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert export_dpr(Run.from_dict(RUN), with_answers, path, depth=2) == (3, 1)
    items = json.loads(path.read_text("utf-8"))
    assert [item["question"] for item in items] == [QUERIES[query] for query in ("qb", "qa", "qc")]
    assert items[0] == {
        "question": QUERIES["qb"],
        "answers": ["schnell", "rot"],
        "ctxs": [
            {"id": "d0", "title": "Foxes", "text": CORPUS["d0"][1], "score": "2.5", "has_answer": False},
            {"id": "d1", "title": "", "text": "A blue bird.", "score": "0.5", "has_answer": False},
        ],
    }
    assert items[1]["ctxs"][0]["has_answer"] is True
    assert items[2]["answers"] == []


def test_every_passage_of_a_dpr_file_is_marked_by_its_own_text(with_answers: Collection, tmp_path: Path) -> None:
    export_dpr(Run.from_dict(RUN), with_answers, tmp_path / "run.json")
    items = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert [len(item["ctxs"]) for item in items] == [3, 2, 1]
    for item in items:
        scores = [float(context["score"]) for context in item["ctxs"]]
        assert scores == sorted(scores, reverse=True)
        for context in item["ctxs"]:
            assert (context["title"], context["text"]) == CORPUS[context["id"]]
            assert context["has_answer"] is has_answer(context["text"], item["answers"])


def test_a_run_without_passages_is_still_json(with_answers: Collection, tmp_path: Path) -> None:
    assert export_dpr(Run.from_dict({"qd": {"d0": 1.0}}), with_answers, tmp_path / "none.json") == (0, 1)
    assert json.loads((tmp_path / "none.json").read_text()) == []
    assert export_dpr(Run.from_dict({"qa": {}}), with_answers, tmp_path / "empty.json") == (1, 0)
    assert json.loads((tmp_path / "empty.json").read_text())[0]["ctxs"] == []


def test_a_run_that_does_not_fit_the_collection_is_refused(
    collection: Collection, with_answers: Collection, tmp_path: Path
) -> None:
    run = Run.from_dict({"qa": {"d0": 1.0, "d9": 0.5}})
    with pytest.raises(UserError, match="holds the passage 'd9'"):
        export_dpr(run, with_answers, tmp_path / "run.json")
    with pytest.raises(UserError, match="has no answers, which DPR's format needs"):
        export_dpr(run, collection, tmp_path / "run.json")
    with pytest.raises(UserError, match=r"run.trec must end in .json"):
        export_dpr(run, with_answers, tmp_path / "run.trec")
    with pytest.raises(UserError, match="depth is 0"):
        export_dpr(run, with_answers, tmp_path / "run.json", depth=0)
    assert list(tmp_path.iterdir()) == []
