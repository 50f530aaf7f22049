"""The paper's recipes end to end, on miniatures of MS MARCO, NQ and TriviaQA in the formats of their files."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from miniatures import (
    BENCHMARKS,
    BRIEF,
    SIZES,
    answers_of,
    command,
    facts_of,
    measured,
    passages,
    planned_steps,
    pool_of,
    summary_of,
    texts_of,
)

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.answers import has_answer
from ance_tele.data.collection import Texts
from ance_tele.data.load import load_collection
from ance_tele.recipes import recipe

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def finished(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The recipe of each benchmark, carried out."""
    folder = tmp_path_factory.mktemp("runs")
    for name in BENCHMARKS:
        assert main(command(name, data, folder / name, f"--model={model}")) == 0
    return {name: folder / name for name in BENCHMARKS}


# ---- the recipes of the benchmarks -----------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_nothing_but_sizes_is_lowered(name: str, finished: dict[str, Path]) -> None:
    had = yaml.safe_load((finished[name] / "config.yaml").read_text())
    asked = recipe(name).with_settings(**SIZES).settings()
    assert had == {"recipe": name, **json.loads(json.dumps(asked))}  # tuples become lists
    assert (had["pooling"], had["normalize"], had["title_separator"]) == ("cls", False, "[SEP]")
    assert had["untie_encoders"] is had["filter_answers"] is (name != "marco")
    assert had["split"] == ("dev" if name == "marco" else "test")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_miniatures_are_read_as_they_were_written(name: str, data: Path) -> None:
    collection = load_collection(data / name)
    assert not collection.problems
    rows = [tuple(row[key] for key in ("id", "title", "text")) for row in collection.corpus.table.to_pylist()]
    assert rows == list(passages())
    counts = {split: (len(qrels), len(qrels.relevant())) for split, qrels in collection.qrels.items()}
    if name == "marco":
        assert counts == {"train": (72, 72), "dev": (24, 24)} and not len(collection.answers)
    else:
        # Of the test questions, one has a blank answer; one has none, and so belongs to no split.
        assert counts == {"train": (73, 64), "dev": (24, 16), "test": (49, 0)}
        assert len(collection.answers) == 73 + 24 + 48
        assert answers_of(collection)["test-1"] == ["u0", "u0's"]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_it_learns(name: str, finished: dict[str, Path]) -> None:
    summary = summary_of(finished[name])
    before = facts_of(finished[name] / "episode-0" / "training_lists")["MRR@20"]
    assert summary["episodes"][-1]["training_mrr"] > before + 0.2
    metric = "MRR@10" if name == "marco" else "Answer@5"
    assert summary["final"][metric] > summary["baselines"]["zero-shot"][metric] + 0.1
    assert [episode["steps"] for episode in summary["episodes"]] == [10, 10, 48]
    assert [episode["stopped_at_refresh"] for episode in summary["episodes"]] == [True, True, False]
    queries = 72 if name == "marco" else 64
    pools = [dict.fromkeys(("query", "lookahead"), 6 * queries) for _ in range(3)]
    for pool in pools[1:]:
        pool["momentum"] = 12 * queries
    assert [episode["pool"]["by_source"] for episode in summary["episodes"]] == pools


@pytest.mark.parametrize("name", ["nq", "triviaqa"])
def test_no_pool_holds_an_answer(name: str, finished: dict[str, Path], data: Path) -> None:
    collection = load_collection(data / name)
    answers, texts = answers_of(collection), texts_of(collection)
    for episode in (1, 2, 3):
        pairs = pool_of(finished[name], episode)
        assert len({query for query, _ in pairs}) == 64
        assert not [pair for pair in pairs if has_answer(texts[pair[1]], answers[pair[0]])]
        dropped = facts_of(finished[name] / f"episode-{episode}" / "candidates.parquet")["answer_bearing"]
        # More than the positives, of which there is one for each question: the miniature does hold such passages.
        assert set(dropped) == {"query", "lookahead"} and dropped["lookahead"] > 64


def test_without_the_filter_pools_do_hold_answers(data: Path, model: Path, tmp_path: Path) -> None:
    settings = {**BRIEF, "episodes": 1, "filter_answers": "false", "baselines": "[]"}
    assert main(command("nq", data, tmp_path / "run", f"--model={model}", **settings)) == 0
    collection = load_collection(data / "nq")
    answers, texts = answers_of(collection), texts_of(collection)
    assert any(has_answer(texts[passage], answers[query]) for query, passage in pool_of(tmp_path / "run", 1))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_model_folder_is_one_of_sentence_transformers(name: str, finished: dict[str, Path], data: Path) -> None:
    """Loaded with nothing but its folder, it gives our vectors; separate encoders have parted, tied ones are one."""
    from sentence_transformers import SentenceTransformer

    from ance_tele.data.tokens import TokenStore
    from ance_tele.encode.encoder import Task, text_format, tokenizer_of
    from ance_tele.encode.inference import encode_texts
    from ance_tele.encode.loading import load_model

    folder = finished[name] / "episode-3" / "model"
    theirs = SentenceTransformer(str(folder))
    assert theirs.similarity_fn_name == "dot"
    config = recipe(name).with_settings(**SIZES, precision="float32").encoder
    ours, collection = load_model(folder, config), load_collection(data / name)
    encode = {"query": theirs.encode_query, "document": theirs.encode_document}
    tasks: dict[Task, Texts] = {"query": collection.queries, "document": collection.corpus}
    for task, texts in tasks.items():
        form = text_format(ours, config, task)
        whole = form.render(texts.table["title"].to_pylist(), texts.table["text"].to_pylist())
        if task == "document":
            assert whole[0].startswith("t0[SEP]")
        ids = tokenizer_of(ours, task)(whole, truncation=True, max_length=form.max_length)["input_ids"]
        vectors = encode_texts(ours, TokenStore.from_lists(ids), np.arange(len(ids)), task, config)
        assert np.abs(encode[task](whole) - vectors).max() < 1e-4
        assert np.linalg.norm(vectors, axis=1).min() > 2  # not scaled to length one
    same = np.allclose(theirs.encode_query("t1 u6"), theirs.encode_document("t1 u6"), atol=1e-3)
    assert same is (name == "marco")


@pytest.mark.parametrize("name", ["nq", "triviaqa"])
def test_answer_recall_is_what_counting_by_hand_gives(name: str, finished: dict[str, Path], data: Path) -> None:
    """Over the questions that have answers, and no others."""
    collection = load_collection(data / name)
    answers, texts = answers_of(collection), texts_of(collection)
    folder = finished[name] / "episode-3"
    ranked: dict[str, list[str]] = {}
    for line in (folder / "run.trec").read_text().splitlines():
        query, _, passage, *_ = line.split()
        ranked.setdefault(query, []).append(passage)
    table = pq.read_table(folder / "per_query.parquet").to_pydict()
    assert set(table["query_id"]) == set(ranked) == {f"test-{number}" for number in range(1, 50)}
    written = json.loads((folder / "metrics.json").read_text())["metrics"]
    for depth in (5, 20, 100):
        hit = {
            query: any(has_answer(texts[passage], answers[query]) for passage in ranked[query][:depth])
            for query in ranked
            if query in answers
        }
        stored = dict(zip(table["query_id"], table[f"Answer@{depth}"], strict=True))
        assert np.isnan(stored.pop("test-49")) and stored == hit  # its one answer is blank
        assert written[f"Answer@{depth}"] == pytest.approx(sum(hit.values()) / 48)
    assert set(written) == {"Answer@5", "Answer@20", "Answer@100"}  # no judgements, so nothing else
    assert summary_of(finished[name])["final"] == written
    assert "Answer@20" in (finished[name] / "report.md").read_text()


def test_questions_without_a_positive_are_left_out_and_counted(finished: dict[str, Path]) -> None:
    counted = summary_of(finished["nq"])["data"]
    assert (counted["training_queries_used"], counted["training_queries_without_positive"]) == (64, 9)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_plan_of_the_miniature_has_the_steps_that_were_taken(
    name: str, finished: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(command(name, data, Path("unused"), "--plan")) == 0
    taken = [facts_of(finished[name] / f"episode-{episode}" / "model")["steps"] for episode in (1, 2, 3)]
    assert planned_steps(capsys.readouterr().out) == taken


def test_a_published_pair_likewise(
    finished: dict[str, Path], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The encoders of the trained miniature, apart and under the published names, score as they did together."""
    from sentence_transformers import SentenceTransformer

    trained = SentenceTransformer(str(finished["nq"] / "episode-3" / "model"))
    names = {"query": "ance-tele_nq_qry-encoder", "document": "ance-tele_nq_psg-encoder"}
    for task, name in names.items():
        encoder = trained[0].sub_modules[task][0]
        encoder.auto_model.save_pretrained(tmp_path / name)
        encoder.tokenizer.save_pretrained(tmp_path / name)
    pair = [f"--query-model={tmp_path / names['query']}", f"--passage-model={tmp_path / names['document']}"]
    lengths = [f"--{key}={SIZES[key]}" for key in ("query_max_len", "passage_max_len")]
    assert main(["evaluate", *pair, f"--data={data / 'nq'}", *lengths]) == 0
    values = measured(capsys.readouterr().out)
    assert {metric: published for metric, (_, published) in values.items()} == {
        "Answer@5": 0.770,
        "Answer@20": 0.849,
        "Answer@100": 0.897,
    }
    final = summary_of(finished["nq"])["final"]
    assert {metric: value for metric, (value, _) in values.items()} == pytest.approx(final, abs=0.03)


def test_a_run_folder_given_for_a_model_is_told_apart(
    finished: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(finished["nq"]), f"--data={data / 'nq'}"]) == 2
    model = finished["nq"] / "episode-3" / "model"
    assert capsys.readouterr().err.endswith(f"is a run folder, not a model; take that of an episode: {model}.\n")


def test_an_exported_pool_of_ids_is_read_back_with_the_corpus_beside_it(
    finished: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    """One file alone finds its own corpus; where that is gone, any corpus* next to it; then there is a sentence."""
    path = tmp_path / "pool.jsonl"
    assert main(["data", "convert", str(finished["nq"]), str(path), "--to", "tevatron2"]) == 0
    again, corpus = load_collection(path), tmp_path / "pool.corpus.jsonl"
    assert len(again.corpus) == 144 and len(again.split("train").relevant()) == 64
    assert load_collection(tmp_path).fingerprint == again.fingerprint
    corpus.rename(tmp_path / "corpus.jsonl")
    assert load_collection(path).fingerprint == again.fingerprint
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(UserError, match="there is no corpus"):
        load_collection(path)
