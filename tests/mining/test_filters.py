"""Filters of false negatives: a slow reading of the rules, sentence-transformers' own miner, whole runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.vectors import Vectors, pair_scores
from ance_tele.mining import filters as module
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.config import FILTERS, MiningConfig
from ance_tele.mining.filters import keep_negatives, without_false_negatives
from ance_tele.recipes import recipe
from ance_tele.report.conditions import making
from ance_tele.runs.summary import Summary
from ance_tele.search.topk import exact_topk
from ance_tele.store.artefacts import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

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
    ordered = [name for name in FILTERS if name in chosen]
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

    def score(start: int, stop: int, offsets: np.ndarray, passages: np.ndarray) -> np.ndarray:
        owner = np.repeat(np.arange(start, stop), np.diff(offsets))
        asked.extend(zip(owner.tolist(), passages.tolist(), strict=True))
        return table[owner, passages]

    names = ("query", "lookahead")
    lists = {}
    for place, name in enumerate(names):
        offsets, passages = ragged([row[place] for row in rows])
        ranks = np.concatenate([np.arange(1, len(row[place]) + 1) for row in rows]).astype(np.int16)
        lists[name] = Lists(offsets, passages.astype(np.int32), np.full(len(passages), 9, np.float32), ranks)
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
    one = Lists(np.array([0, 2]), np.array([4, 5], np.int32), np.zeros(2, np.float32), np.array([1, 2], np.int16))
    positives = Qrels(np.array([0]), np.array([0, 1]), np.array([9]), np.array([1]))
    found, dropped = without_false_negatives(
        Candidates(np.array([0]), {"query": one, "random": one}), positives, positives, {"range_min": 1}, None
    )
    assert dropped == {"range_min": {"query": 1, "random": 0}}
    assert found.lists["query"].passages.tolist() == [5] and len(found.lists["random"].passages) == 2


# ---- beside sentence-transformers ----------------------------------------------------------------


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
        "candidates": Candidates(positives.queries, {"query": Lists.from_topk(found)}),
        "score": lambda start, stop, *lists: pair_scores(asked[start:stop], vectors, *lists),
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
    acting = MiningConfig(**chosen).filters
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


def write_judge(tiny_model: Path, folder: Path, labels: int) -> Path:
    """Write a cross-encoder with random weights, of the tiny model's tokenizer."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir()
    shutil.copy(tiny_model / "tokenizer.json", folder)
    shutil.copy(tiny_model / "tokenizer_config.json", folder)
    torch.manual_seed(11)
    values = json.loads((tiny_model / "config.json").read_text())
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    # Scores that lie apart; and no sigmoid, so that about half of them lie below zero.
    config = BertConfig(
        **{name: values[name] for name in sizes},
        max_position_embeddings=128,
        num_labels=labels,
        initializer_range=0.3,
        sentence_transformers={"activation_fn": "torch.nn.modules.linear.Identity"},
    )
    model = BertForSequenceClassification(config)
    model.classifier.bias.data.fill_(-1.7)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("chosen", [{"max_score": 0.0}, {"relative_margin": 0.05}, {"absolute_margin": 0.1}])
def test_a_cross_encoder_decides_as_in_sentence_transformers(
    mined: dict[str, Any], collection: Collection, judge: Path, chosen: dict[str, Any]
) -> None:
    from ance_tele.encode.cross_encoder import cross_scores, load_cross_encoder

    model = load_cross_encoder(str(judge), EncoderConfig())

    def score(start: int, stop: int, *lists: np.ndarray) -> np.ndarray:
        return cross_scores(model, mined["queries"][start:stop], *lists, collection.corpus, " ")  # type: ignore[misc]

    expected = theirs(mined, chosen, model)
    assert 100 < len(expected) < 0.95 * len(mined["queries"]) * len(mined["texts"])
    assert ours(mined, chosen, score) == expected


def test_what_is_no_cross_encoder_is_refused(tiny_model: Path, judge: Path, tmp_path: Path) -> None:
    from ance_tele.encode.cross_encoder import load_cross_encoder

    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(judge / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"x")
    damaged = tmp_path / "damaged"
    shutil.copytree(judge, damaged)
    (damaged / "model.safetensors").write_bytes(b"x")
    for folder, sentence in (
        (tiny_model, "is no cross-encoder \\(it is BertModel\\)"),
        (write_judge(tiny_model, tmp_path / "two", 2), "gives 2 scores for a pair; it must give one"),
        (pickled, "holds no .safetensors file"),
        (damaged, "cannot be loaded"),
        (tmp_path / "nowhere", "neither a folder nor a hub name"),
    ):
        with pytest.raises(UserError, match=sentence):
            load_cross_encoder(str(folder), EncoderConfig())


# ---- whole runs ----------------------------------------------------------------------------------

QUICK = {
    "query_max_len": 16,
    "passage_max_len": 16,
    "depth": 20,
    "pool_per_source": 6,
    "negatives_per_query": 4,
    "batch_queries": 36,
    "epochs": 1,
    "episodes": 2,
    "precision": "float32",
    "baselines": "[zero-shot]",
    "report_to": "[none]",
    "max_train_queries": 36,
}


def command(toy: Path, model: Path, out: Path, **given: Any) -> list[str]:
    flags = [f"--{name}={value}" for name, value in {**QUICK, **given}.items()]
    return ["run", "ance-tele", f"--data={toy}", f"--model={model}", f"--out={out}", *flags]


def rows(path: Path) -> list[tuple[str, str, str, int]]:
    columns = ("source", "query_id", "passage_id", "rank")
    return list(zip(*(pq.read_table(path)[name].to_pylist() for name in columns), strict=True))


def test_a_run_with_filters(
    toy: Path, tiny_model: Path, judge: Path, collection: Collection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Candidates are the unfiltered lists without what the cross-encoder puts too near to the positive."""
    from ance_tele.encode.cross_encoder import load_cross_encoder

    out = tmp_path / "run"
    given = command(toy, tiny_model, out, relative_margin=0.05, range_min=2, cross_encoder=judge)
    assert main(given) == 0
    said = capsys.readouterr().out
    relevant = dict(zip(*(pq.read_table(out / "positives.parquet")[c].to_pylist() for c in (0, 1)), strict=True))
    model = load_cross_encoder(str(judge), EncoderConfig())
    queries = {row["id"]: row["text"] for row in (collection.queries[i] for i in range(len(collection.queries)))}
    corpus = [collection.corpus[i] for i in range(len(collection.corpus))]
    texts = {row["id"]: f"{row['title']} {row['text']}" for row in corpus}
    summary = json.loads((out / "summary.json").read_text())
    for episode in (1, 2):
        lists = rows(out / f"episode-{episode - 1}" / "training_lists.parquet")
        lists += rows(out / f"episode-{episode}" / "lookahead_lists.parquet")
        pairs = sorted({row[1:3] for row in lists} | set(relevant.items()))
        values = model.predict([(queries[q], texts[p]) for q, p in pairs], show_progress_bar=False)
        scores = dict(zip(pairs, values.tolist(), strict=True))
        kept, counts = [], {name: {"query": 0, "lookahead": 0} for name in ("relative_margin", "range_min")}
        places: dict[tuple[str, str], int] = {}
        for source, query, passage, rank in lists:
            reason = None
            if passage != relevant[query]:
                best = scores[query, relevant[query]]
                if scores[query, passage] > best - abs(best) * 0.05:
                    reason = "relative_margin"
                else:
                    places[source, query] = places.get((source, query), 0) + 1
                    reason = "range_min" if places[source, query] <= 2 else None
            if reason:
                counts[reason][source] += 1
            else:
                kept.append((source, query, passage, rank))
        assert rows(out / f"episode-{episode}" / "candidates.parquet") == kept
        assert summary["episodes"][episode - 1]["pool"]["dropped"] == counts
        total = {name: sum(by.values()) for name, by in counts.items()}
        assert total["relative_margin"] > 100 and total["range_min"] > 50
        assert f"left out: {total['relative_margin']:,} by relative_margin, {total['range_min']:,} by range_min" in said
        sentence = f"{total['relative_margin']:,} by relative_margin and {total['range_min']:,} by range_min in episode"
        (dropped,) = [line for line in making(Summary.of(summary)) if line.startswith("Candidates that")]
        assert sentence in dropped
    assert str(tmp_path) not in (out / "config.yaml").read_text() + (out / "summary.json").read_text()
    assert main(given) == 0 and capsys.readouterr().out.count(" stands ") >= 8
    assert main(command(toy, tiny_model, out, relative_margin=0.1, range_min=2, cross_encoder=judge)) == 2
    assert "relative_margin was 0.05, is 0.1" in capsys.readouterr().err
    other = write_judge(tiny_model, tmp_path / "other", 1)
    shutil.copy(tiny_model / "model.safetensors", other / "model.safetensors")
    assert main(command(toy, tiny_model, out, relative_margin=0.05, range_min=2, cross_encoder=other)) == 2
    assert "the cross_encoder was" in capsys.readouterr().err


def test_a_run_from_before_the_filters_goes_on(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(command(toy, tiny_model, out, episodes=1)) == 0
    manifest = read_manifest(out / "episode-1" / "candidates.parquet")
    assert manifest is not None and not {"filters", "review"} & manifest.inputs.keys()
    assert "dropped" not in json.loads((out / "summary.json").read_text())["episodes"][0]["pool"]
    config = out / "config.yaml"
    young = (*FILTERS, "cross_encoder")
    lines = [line for line in config.read_text().splitlines() if line.partition(":")[0] not in young]
    config.write_text("\n".join(lines) + "\n")
    capsys.readouterr()
    assert main(command(toy, tiny_model, out, episodes=1)) == 0
    assert "made again" not in capsys.readouterr().out
    assert main(command(toy, tiny_model, out, episodes=1, range_min=1)) == 2
    assert "range_min was 0, is 1" in capsys.readouterr().err


def test_a_filter_that_leaves_nothing_is_refused_before_training(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(toy, tiny_model, tmp_path / "run", episodes=1, max_score=-1)) == 2
    error = capsys.readouterr().err
    assert "no negative for any of the 36 training queries" in error and "max_score" in error


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"relative_margin": 1.5}, "relative_margin is 1.5; it must lie between 0 and 1"),
        ({"absolute_margin": -0.1}, "absolute_margin is -0.1; it must lie between 0 and"),
        ({"max_score": float("nan")}, "max_score is nan"),
        ({"range_min": -1}, "range_min is -1"),
        ({"range_min": 20, "depth": 20}, "range_min is 20; it must be below depth"),
        ({"range_min": 1.5}, "range_min is 1.5; it must be a whole number"),
        ({"cross_encoder": "a/b"}, "nothing for its scores to decide"),
        ({"cross_encoder": "a/b", "range_min": 3}, "nothing for its scores to decide"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        recipe("ance-tele").with_settings(**given)


def test_zero_is_a_margin_and_none_is_not() -> None:
    assert MiningConfig().filters == {}
    assert MiningConfig(relative_margin=0.0, max_score=0.0).filters == {"relative_margin": 0.0, "max_score": 0.0}
