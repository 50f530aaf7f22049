"""Filters of false negatives: a slow reading of the rules, and sentence-transformers' own miner."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judges import write_judge

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.vectors import Vectors, pair_scores
from ance_tele.mining import margins as module
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.config import THRESHOLDS, MiningConfig
from ance_tele.mining.margins import keep_negatives, without_false_negatives
from ance_tele.search.topk import exact_topk

# Few values, so that scores often lie on the bar; all of them exact in float32, below zero too.
SCORES = st.sampled_from([-2.0, -1.0, -0.75, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 2.0])
CHOSEN = st.fixed_dictionaries(
    {},
    optional={
        "absolute_margin": st.sampled_from([0.0, 0.25, 1.0]),
        "relative_margin": st.sampled_from([0.0, 0.25, 0.5, 1.0]),
        "max_score": st.sampled_from([-0.5, 0.0, 0.5, 1.0]),
        "range_min": st.integers(1, 4),
    },
)


def dropped_by(score: float, positive: float, chosen: dict[str, Any]) -> str | None:
    """Name the first filter of scores that drops a candidate."""
    if "absolute_margin" in chosen and not score <= positive - chosen["absolute_margin"]:
        return "absolute_margin"
    if "relative_margin" in chosen and not score <= positive - abs(positive) * chosen["relative_margin"]:
        return "relative_margin"
    if "max_score" in chosen and not score <= chosen["max_score"]:
        return "max_score"
    return None


def slowly(
    lists: list[list[tuple[float, bool]]], positives: list[float], chosen: dict[str, Any]
) -> tuple[list[bool], dict[str, int]]:
    keep, counts = [], dict.fromkeys(chosen, 0)
    for entries, positive in zip(lists, positives, strict=True):
        places = 0
        for score, known in entries:
            reason = None if known else dropped_by(score, positive, chosen)
            if not known and reason is None:
                places += 1
                reason = "range_min" if places <= chosen.get("range_min", 0) else None
            keep.append(reason is None)
            if reason:
                counts[reason] += 1
    return keep, counts


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SCORES, st.lists(st.tuples(SCORES, st.booleans()), max_size=8)), max_size=5), CHOSEN)
def test_as_a_slow_reading_of_the_rules_has_it(
    queries: list[tuple[float, list[tuple[float, bool]]]], chosen: dict[str, Any]
) -> None:
    lists, positives = [entries for _, entries in queries], [positive for positive, _ in queries]
    offsets = np.cumsum([0, *map(len, lists)])
    flat = [entry for entries in lists for entry in entries]
    scores, known = np.array([s for s, _ in flat], np.float32), np.array([k for _, k in flat], bool)
    keep, counts = keep_negatives(offsets, scores, np.array(positives, np.float32), known, chosen)
    assert (keep.tolist(), counts) == slowly(lists, positives, chosen)
    ordered = [name for name in THRESHOLDS if name in chosen]
    assert list(counts) == ordered


def ragged(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, lists)]), np.array([row for part in lists for row in part], dtype=np.int64)


PASSAGES = st.lists(st.integers(0, 9), unique=True, max_size=7)


@settings(max_examples=100, deadline=None)
@given(
    st.data(),
    st.lists(st.tuples(PASSAGES, PASSAGES, PASSAGES.filter(bool), PASSAGES), min_size=1, max_size=5),
    CHOSEN,
    st.integers(1, 3),
)
def test_the_score_of_query_and_passage_decides_whatever_the_source(
    data: st.DataObject, rows: list[tuple[list[int], ...]], chosen: dict[str, Any], block: int
) -> None:
    table = np.array(data.draw(st.lists(SCORES, min_size=len(rows) * 10, max_size=len(rows) * 10)), np.float32)
    table = table.reshape(len(rows), 10)
    asked: list[tuple[int, int]] = []

    def score(positions: np.ndarray, passages: np.ndarray) -> np.ndarray:
        assert (np.diff(positions) >= 0).all()
        asked.extend(zip(positions.tolist(), passages.tolist(), strict=True))
        return table[positions, passages]

    names = ("query", "lookahead")
    lists = {}
    for place, name in enumerate(names):
        offsets, passages = ragged([row[place] for row in rows])
        ranks = np.concatenate([np.arange(1, len(row[place]) + 1) for row in rows]).astype(np.int16)
        lists[name] = CandidateLists(offsets, passages.astype(np.int32), np.full(len(passages), 9, np.float32), ranks)
    numbers = np.arange(len(rows)) * 3
    grades = np.ones(0, np.int64)
    positives = Qrels(numbers, *ragged([row[2] for row in rows]), grades)
    known = Qrels(numbers, *ragged([sorted({*row[2], *row[3]}) for row in rows]), grades)
    scored = bool(chosen.keys() - {"range_min"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_QUERIES_PER_BLOCK", block)
        found, dropped = without_false_negatives(
            Candidates(numbers, lists), positives, known, chosen, score if scored else None
        )
    assert len(asked) == len(set(asked)) and bool(asked) == scored
    lowest = [min(table[query, passage] for passage in row[2]) for query, row in enumerate(rows)]
    for place, name in enumerate(names):
        entries = [
            [(table[query, passage], passage in {*row[2], *row[3]}) for passage in row[place]]
            for query, row in enumerate(rows)
        ]
        keep, counts = slowly(entries, lowest, chosen)  # type: ignore[arg-type]
        assert {filter_: by[name] for filter_, by in dropped.items()} == counts
        left, before = found.lists[name], lists[name]
        for column in ("passages", "scores", "ranks"):
            assert getattr(left, column).tolist() == getattr(before, column)[keep].tolist()
        parts = np.split(np.array(keep, bool), before.offsets[1:-1])
        assert np.diff(left.offsets).tolist() == [int(part.sum()) for part in parts]


def test_a_random_list_has_no_best_places() -> None:
    one = CandidateLists.of([[4, 5]])
    positives = Qrels(np.array([0]), np.array([0, 1]), np.array([9]), np.array([1]))
    found, dropped = without_false_negatives(
        Candidates(np.array([0]), {"query": one, "random": one}), positives, positives, {"range_min": 1}, None
    )
    assert dropped == {"range_min": {"query": 1, "random": 0}}
    assert found.lists["query"].passages.tolist() == [5] and len(found.lists["random"].passages) == 2


# ---- against sentence-transformers ----------------------------------------------------------------


@pytest.fixture(scope="module")
def collection(toy: Path) -> Collection:
    return load_collection(toy)


@pytest.fixture(scope="module")
def mined(collection: Collection, tiny_model: Path) -> dict[str, Any]:
    """The whole corpus ranked for 30 queries by the tiny model, and what the library's own miner needs for that."""
    from ance_tele.encode.loading import load_model

    model = load_model(tiny_model, EncoderConfig())
    positives = collection.split("train").relevant()
    positives = positives.select(positives.queries[:30])
    # Every third query has a second positive.
    third = positives.queries[::3]
    positives = positives.extended(third, (third * 7 + 11) % len(collection.corpus))
    rows = [collection.corpus[row] for row in range(len(collection.corpus))]
    texts = [f"{row['title']} {row['text']}" for row in rows]
    queries = [collection.queries[int(row)]["text"] for row in positives.queries]
    vectors = Vectors((model.encode_document(texts),), "key")
    asked = model.encode_query(queries)
    found = exact_topk(asked, vectors, len(texts), collection.corpus.id_rank)
    return {
        "model": model,
        "positives": positives,
        "texts": texts,
        "queries": queries,
        "candidates": Candidates(positives.queries, {"query": CandidateLists.from_topk(found)}),
        "score": lambda positions, passages: pair_scores(
            asked[positions], vectors, np.arange(len(positions) + 1), passages
        ),
    }


def theirs(mined: dict[str, Any], chosen: dict[str, Any], judge: Any = None) -> set[tuple[str, str]]:
    """Return the negatives that sentence-transformers mines from the whole corpus."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    positives: Qrels = mined["positives"]
    owner = np.repeat(np.arange(len(positives)), np.diff(positives.offsets))
    data = Dataset.from_dict(
        {
            "query": [mined["queries"][query] for query in owner],
            "passage": [mined["texts"][passage] for passage in positives.passages],
        }
    )
    every = len(mined["texts"])
    found = mine_hard_negatives(
        data,
        mined["model"],
        corpus=mined["texts"],
        cross_encoder=judge,
        range_max=every,
        num_negatives=every - chosen.get("range_min", 0),
        output_format="labeled-pair",
        verbose=False,
        **chosen,
    )
    return {(row["query"], row["passage"]) for row in found if not row["label"]}


def ours(mined: dict[str, Any], chosen: dict[str, Any], score: Any = None) -> set[tuple[str, str]]:
    positives: Qrels = mined["positives"]
    acting = MiningConfig(**chosen).thresholds
    found, _ = without_false_negatives(mined["candidates"], positives, positives, acting, score or mined["score"])
    lists = found.lists["query"]
    owner = np.repeat(np.arange(len(positives)), np.diff(lists.offsets))
    relevant = {(mined["queries"][q], mined["texts"][p]) for q in range(len(positives)) for p in _of(positives, q)}
    kept = {(mined["queries"][q], mined["texts"][p]) for q, p in zip(owner, lists.passages, strict=True)}
    assert relevant <= kept
    return kept - relevant


def _of(qrels: Qrels, query: int) -> np.ndarray:
    return qrels.passages[qrels.offsets[query] : qrels.offsets[query + 1]]


@pytest.mark.parametrize(
    "chosen",
    [
        {"max_score": 0.9},
        {"absolute_margin": 0.03},
        {"relative_margin": 0.05},
        {"range_min": 12},
        {"max_score": 0.9, "absolute_margin": 0.02, "relative_margin": 0.05, "range_min": 3},
    ],
    ids=lambda chosen: "+".join(chosen),
)
def test_the_survivors_are_those_of_sentence_transformers(mined: dict[str, Any], chosen: dict[str, Any]) -> None:
    expected, every = theirs(mined, chosen), len(mined["queries"]) * len(mined["texts"])
    assert 0.02 * every < len(expected) < 0.95 * every, "the case decides nothing"
    assert ours(mined, chosen) == expected


# ---- a cross-encoder -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_judge(tiny_model, tmp_path_factory.mktemp("judges") / "judge", 1)


@pytest.mark.parametrize("chosen", [{"max_score": 0.0}, {"relative_margin": 0.05}, {"absolute_margin": 0.1}])
def test_a_cross_encoder_decides_as_in_sentence_transformers(
    mined: dict[str, Any], collection: Collection, judge: Path, chosen: dict[str, Any]
) -> None:
    from ance_tele.encode.cross_encoder import cross_scores, load_cross_encoder

    model = load_cross_encoder(str(judge), EncoderConfig())

    def score(positions: np.ndarray, passages: np.ndarray) -> np.ndarray:
        queries = [mined["queries"][position] for position in positions]
        return cross_scores(model, queries, np.arange(len(queries) + 1), passages, collection.corpus, " ")

    expected = theirs(mined, chosen, model)
    assert 100 < len(expected) < 0.95 * len(mined["queries"]) * len(mined["texts"])
    assert ours(mined, chosen, score) == expected


def test_what_is_no_cross_encoder_is_refused(tiny_model: Path, judge: Path, tmp_path: Path) -> None:
    from ance_tele.encode.cross_encoder import load_cross_encoder
    from ance_tele.encode.loading import load_model

    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(judge / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    damaged = tmp_path / "damaged"
    shutil.copytree(judge, damaged)
    (damaged / "model.safetensors").write_bytes(b"x")
    apart, run = tmp_path / "apart", tmp_path / "run"
    load_model(tiny_model, EncoderConfig(untie_encoders=True), "cpu").save_pretrained(str(apart))
    run.mkdir()
    (run / "run.json").write_text("{}")
    for folder, sentence in (
        (tiny_model, "is no cross-encoder \\(it is BertModel\\)"),
        (write_judge(tiny_model, tmp_path / "two", 2), "gives 2 scores for a pair; it must give one"),
        (pickled, "holds no .safetensors file"),
        (damaged, "cannot be loaded"),
        (apart, "is no cross-encoder \\(it encodes queries and passages apart\\)"),
        (run, "is a run folder, not a cross-encoder; `ance-tele teach "),
        (tmp_path / "nowhere", "neither a folder nor a hub name"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_cross_encoder(str(folder), EncoderConfig())
