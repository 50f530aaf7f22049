"""The paper's recipes end to end, on miniatures of MS MARCO, NQ and TriviaQA in the formats of their files."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.answers import has_answer
from ance_tele.data.collection import Collection, Texts
from ance_tele.data.load import load_collection
from ance_tele.paper.settings import OFFICIAL
from ance_tele.recipes import RECIPES, recipe
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

TOPICS, PASSAGES_PER_TOPIC = 24, 6
# Which passages of a topic the questions of a split are about: the same ones, in other words.
ASKED = {"train": (0, 1, 2), "dev": (1,), "test": (0, 2)}
# What is lowered: sizes, to what a tiny model reads and a collection of 144 passages has. All else is the recipe's.
SIZES: dict[str, Any] = {
    "query_max_len": 16,
    "passage_max_len": 128,
    "batch_queries": 12,
    "negatives_per_query": 4,
    "pool_per_source": 6,
    "depth": 20,
    "epochs": 8,
    "refresh_step": 10,
    "learning_rate": 3e-3,
}
BRIEF = {"epochs": 1, "refresh_step": 3, "episodes": 2}
BENCHMARKS = ("marco", "nq", "triviaqa")


# ---- the miniatures --------------------------------------------------------------------------------


def passages() -> Iterator[tuple[str, str, str]]:
    """Yield id, title and text.

    A topic's last passage also holds what answers the question about its first one. As in the real files, quotation
    marks stand where they like.
    """
    rng = np.random.default_rng(7)
    for row in range(TOPICS * PASSAGES_PER_TOPIC):
        topic, number = divmod(row, PASSAGES_PER_TOPIC)
        words = [f"t{topic}", f"u{row}", *(f"w{word}" for word in rng.integers(60, size=8))]
        if number == PASSAGES_PER_TOPIC - 1:
            words += [f"u{row - number}", '"']
        yield str(row + 1), f't{topic} "t{topic}"' if number == 1 else f"t{topic}", " ".join(rng.permutation(words))


def questions(split: str) -> Iterator[tuple[int, str]]:
    """Yield the row of the passage that a question is about, and the question."""
    rng = np.random.default_rng(len(split))
    for topic in range(TOPICS):
        for number in ASKED[split]:
            row = topic * PASSAGES_PER_TOPIC + number
            yield row, f"t{topic} u{row} w{rng.integers(60)}"


def write_marco(folder: Path) -> None:
    """MS MARCO passage ranking with titles: raw text between tabs."""
    folder.mkdir()
    (folder / "collection.tsv").write_text("".join("\t".join(row) + "\n" for row in passages()))
    for split, name in (("train", "train"), ("dev", "dev.small")):
        asked = [(f"{len(name)}0{row}", row, text) for row, text in questions(split)]
        (folder / f"queries.{name}.tsv").write_text("".join(f"{key}\t{text}\n" for key, _, text in asked))
        (folder / f"qrels.{name}.tsv").write_text("".join(f"{key}\t0\t{row + 1}\t1\n" for key, row, _ in asked))


def has_positive(row: int) -> bool:
    """Say whether DPR's training sets give the question about a passage a positive: a ninth have none."""
    return row % (3 * PASSAGES_PER_TOPIC) != 1


def write_dpr(folder: Path, name: str, key: str) -> None:
    """DPR's files: passages quoted as CSV, training sets in JSON, test questions with their answers.

    Args:
        folder: To be made.
        name: What the files are called after.
        key: The field of a passage's id, which differs between the two benchmarks.
    """
    folder.mkdir()
    rows = list(passages())
    with (folder / "psgs_w100.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("id", "text", "title"))
        writer.writerows((number, text, title) for number, title, text in rows)
    for split in ("train", "dev"):
        # The last question of the training set is one that no passage answers.
        asked = [*questions(split), *([(len(rows), "t1 w1")] if split == "train" else [])]
        elements = [
            {
                "dataset": f"{name}_{split}",
                "question": text,
                # The apostrophe makes a Python list quote its strings in two ways.
                "answers": [f"u{row}", f"u{row}'s"],
                "positive_ctxs": [
                    {"title": title, "text": body, "score": 1000, "title_score": 1, key: number}
                    for number, title, body in rows[row : row + 1]
                    if has_positive(row)
                ],
                "negative_ctxs": [],
                "hard_negative_ctxs": [],
            }
            for row, text in asked
        ]
        (folder / f"{name}-{split}.json").write_text(json.dumps(elements, indent=4))
    with (folder / f"{name}-test.qa.csv").open("w", newline="") as file:
        answered = [(text, str([f"u{row}", f"u{row}'s"])) for row, text in questions("test")]
        csv.writer(file, delimiter="\t").writerows([*answered, ("t1 w1", "['']"), ("t2 w2", "[]")])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the three, under the names of the recipes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_marco(folder / "marco")
    write_dpr(folder / "nq", "nq", "passage_id")
    write_dpr(folder / "triviaqa", "trivia", "psg_id")
    return folder


# ---- running ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with wider attention: as small as BERT draws weights, the first token hardly sees the others."""
    import torch
    from transformers import AutoModel

    folder = tmp_path_factory.mktemp("starts") / "wide-bert"
    shutil.copytree(tiny_model, folder)
    bert = AutoModel.from_pretrained(tiny_model, add_pooling_layer=False)
    with torch.no_grad():
        for name, weight in bert.named_parameters():
            if name.endswith(("attention.self.value.weight", "attention.output.dense.weight")):
                weight.mul_(10)
    bert.save_pretrained(folder)
    return folder


def command(name: str, data: Path, out: Path, *more: str, **settings: Any) -> list[str]:
    """Return the command line of a recipe on the benchmark that it is for; MS MARCO where it is for none."""
    benchmark = name.partition("/")[0]
    place, split = (benchmark, {}) if benchmark in BENCHMARKS else ("marco", {"split": "dev"})
    flags = [f"--{key}={value}" for key, value in {**SIZES, **split, **settings}.items()]
    return ["run", name, f"--data={data / place}", f"--out={out}", *flags, *more]


def summary_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "summary.json").read_text())


def facts_of(artefact: Path) -> dict[str, Any]:
    manifest = read_manifest(artefact)
    assert manifest is not None, artefact
    return dict(manifest.facts)


@pytest.fixture(scope="module")
def finished(data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The recipe of each benchmark, carried out."""
    folder = tmp_path_factory.mktemp("runs")
    for name in BENCHMARKS:
        assert main(command(name, data, folder / name, f"--model={model}")) == 0
    return {name: folder / name for name in BENCHMARKS}


def pool_of(out: Path, episode: int) -> list[tuple[str, str]]:
    table = pq.read_table(out / f"episode-{episode}" / "pool.parquet", columns=["query_id", "passage_id"])
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def answers_of(collection: Collection) -> dict[str, list[str]]:
    ids = collection.queries.take_ids(collection.answers.queries).to_pylist()
    return {key: collection.answers.of(row) for key, row in zip(ids, collection.answers.queries.tolist(), strict=True)}


def texts_of(collection: Collection) -> dict[str, str]:
    ids = collection.corpus.take_ids(np.arange(len(collection.corpus))).to_pylist()
    return dict(zip(ids, collection.corpus.table["text"].to_pylist(), strict=True))


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
    from ance_tele.encode.loading import load_model
    from ance_tele.encode.rows import encode_rows

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
        vectors = encode_rows(ours, TokenStore.from_lists(ids), np.arange(len(ids)), task, config)
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


# ---- the other recipes at these scales -------------------------------------------------------------

# What the pools of the episodes are drawn from.
OTHERS: dict[str, list[set[str]]] = {
    "ance-tele": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
    "marco/q-neg": [{"query"}, {"query"}],
    "nq/q-neg+momentum": [{"query"}, {"query", "momentum"}],
    "triviaqa/q-neg+lookahead": [{"query", "lookahead"}, {"query", "lookahead"}],
    "marco/ance": [{"bm25"}, {"query"}],
    "triviaqa/ance+cyclic-lr": [{"bm25"}, {"query"}],
    "marco/dpr": [{"bm25"}],
    "nq/zero-shot": [],
    "bm25": [],
    "nq/ance-tele+continue": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
    "marco/ance-tele+bm25": [{"query", "lookahead", "bm25"}, {"query", "lookahead", "momentum"}],
    "marco/ance-tele-overlap": [{"query", "lookahead"}, {"query", "lookahead", "momentum"}],
}


def test_every_recipe_is_tried() -> None:
    assert {name.rpartition("/")[2] for name in OTHERS} | set(BENCHMARKS) == set(RECIPES)


@pytest.mark.parametrize("name", OTHERS)
def test_every_recipe_runs_at_a_paper_s_scale(name: str, data: Path, model: Path, tmp_path: Path) -> None:
    settings = {**BRIEF, "episodes": len(OTHERS[name])} | ({} if name == "bm25" else {"baselines": "[]"})
    start = [] if name == "bm25" else [f"--model={model}"]
    assert main(command(name, data, tmp_path / "run", *start, **settings)) == 0
    summary = summary_of(tmp_path / "run")
    assert [set(episode["pool"]["by_source"]) for episode in summary["episodes"]] == OTHERS[name]
    assert summary["recipe"] == name and summary["final"]
    for episode in range(1, len(OTHERS[name]) + 1):
        pairs = pool_of(tmp_path / "run", episode)
        assert len(pairs) == summary["episodes"][episode - 1]["pool"]["size"] > 0
        if name.endswith("-overlap"):
            assert len(set(pairs)) == len(pairs)
    if name == "marco/ance":
        assert [episode["steps"] for episode in summary["episodes"]] == [6, 3]


def test_as_the_authors_code_does(data: Path, model: Path, tmp_path: Path) -> None:
    """--official: the whole of the past pool, whatever the share; lookahead around the first positive; no mask."""
    out = tmp_path / "run"
    settings = {**BRIEF, "alpha": 0.3, "baselines": "[]"}
    assert main(command("marco", data, out, f"--model={model}", "--official", **settings)) == 0
    had = yaml.safe_load((out / "config.yaml").read_text())
    assert {key: had[key] for key in OFFICIAL} == OFFICIAL
    first, second = (sorted(pool_of(out, episode)) for episode in (1, 2))
    assert len(second) == 2 * len(first) and not [pair for pair in set(first) if second.count(pair) < first.count(pair)]


@pytest.mark.parametrize("ranker", ["model", "bm25"])
def test_questions_without_a_positive_get_one(ranker: str, data: Path, model: Path, tmp_path: Path) -> None:
    """The best-ranked passage that holds an answer; of the nine, one is answered by no passage and stays out."""
    out, settings = tmp_path / "run", {**BRIEF, "episodes": 1, "depth": 144, "baselines": "[]"}
    assert main(command("nq", data, out, f"--model={model}", without_positive=ranker, **settings)) == 0
    assert facts_of(out / "found_positives.parquet") == {"found": 8, "missing": 1}
    collection = load_collection(data / "nq")
    answers, texts = answers_of(collection), texts_of(collection)
    found = pq.read_table(out / "found_positives.parquet").to_pylist()
    assert len(found) == 8 and all(has_answer(texts[row["passage_id"]], answers[row["query_id"]]) for row in found)
    counted = summary_of(out)["data"]
    assert (counted["training_queries_used"], counted["training_queries_without_positive"]) == (72, 9)
    assert {row["query_id"] for row in found} < {query for query, _ in pool_of(out, 1)}


def test_questions_without_a_positive_are_left_out_and_counted(finished: dict[str, Path]) -> None:
    counted = summary_of(finished["nq"])["data"]
    assert (counted["training_queries_used"], counted["training_queries_without_positive"]) == (64, 9)


# ---- plans -----------------------------------------------------------------------------------------


def planned_steps(text: str) -> list[int]:
    """Return the steps of the episodes that a printed plan names."""
    line = re.search(r"the episodes take ([\d, and]+)", " ".join(text.split()))
    assert line, text
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", line[1])]


def test_plans_at_the_published_sizes_need_neither_data_nor_torch() -> None:
    names = [*BENCHMARKS, "marco/ance"]
    code = (
        "import sys; from ance_tele.cli.main import main\n"
        f"assert not any(main(['run', name, '--plan']) for name in {names})\n"
        "print(sorted({'torch', 'transformers', 'faiss', 'datasets'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("\n[]\n"), done.stderr
    plans = re.split(r"^(?=\S+: [\d,]+ passages)", done.stdout, flags=re.MULTILINE)[1:]
    assert [plan.partition(":")[0] for plan in plans] == names
    assert [planned_steps(plan) for plan in plans] == [
        [20_000, 20_000, 188_604],  # 502,939 / 8 in each of three epochs
        [2_000, 2_000, 24_760],  # 79,168 / 128 in each of forty
        [2_000, 2_000, 24_640],  # 78,785 / 128 in each of forty
        [188_604, 10_000, 10_000],
    ]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_plan_of_the_miniature_has_the_steps_that_were_taken(
    name: str, finished: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(command(name, data, Path("unused"), "--plan")) == 0
    taken = [facts_of(finished[name] / f"episode-{episode}" / "model")["steps"] for episode in (1, 2, 3)]
    assert planned_steps(capsys.readouterr().out) == taken


# ---- measuring published checkpoints ---------------------------------------------------------------


def measured(printed: str) -> dict[str, list[float]]:
    """Return by metric what `evaluate` printed: the value, and the published one where there is one."""
    lines = re.findall(r"^(\w+@\d+) +([\d. ]+)$", printed, flags=re.MULTILINE)
    return {metric: [float(value) for value in values.split()] for metric, values in lines}


def test_a_published_checkpoint_stands_beside_its_published_figures(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ance-tele_msmarco_qry-psg-encoder"
    shutil.copytree(model, folder)
    assert main(["evaluate", str(folder), f"--data={data / 'marco'}"]) == 0
    printed = capsys.readouterr().out
    assert "split dev: 24 queries" in printed and re.search(r"measured +published", printed)
    values = measured(printed)
    assert values["MRR@10"][1:] == [0.391] and values["Recall@1000"] == [1, 0.984] and len(values["nDCG@10"]) == 1


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
    assert {metric: beside for metric, (_, beside) in values.items()} == {
        "Answer@5": 0.770,
        "Answer@20": 0.849,
        "Answer@100": 0.897,
    }
    final = summary_of(finished["nq"])["final"]
    assert {metric: value for metric, (value, _) in values.items()} == pytest.approx(final, abs=0.03)


# ---- a newcomer's slips ----------------------------------------------------------------------------


def test_a_run_folder_given_for_a_model_is_told_apart(
    finished: dict[str, Path], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(finished["nq"]), f"--data={data / 'nq'}"]) == 2
    model = finished["nq"] / "episode-3" / "model"
    assert capsys.readouterr().err.endswith(f"is a run folder, not a model; take that of an episode: {model}.\n")


def test_an_exported_pool_of_ids_is_read_back_with_the_corpus_beside_it(
    finished: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    """One file alone finds its own corpus; where that is gone, any corpus* beside it; then there is a sentence."""
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


def test_a_collection_that_changed_is_read_again_and_says_which_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data / "nq", tmp_path / "nq")
    assert main(["data", str(tmp_path / "nq")]) == 0
    said = capsys.readouterr().out
    assert "test              49 queries with answers only\n" in said and " 0 judged" not in said
    with (tmp_path / "nq" / "nq-dev.json").open("a") as file:
        file.write("\n")
    assert main(["data", str(tmp_path / "nq")]) == 0
    assert "is made again: nq-dev.json changed\n" in capsys.readouterr().out


def test_a_plan_of_bm25_counts_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "marco/bm25", "--plan"]) == 0
    assert "No model: nothing runs on the GPU." in capsys.readouterr().out
