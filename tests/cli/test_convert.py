"""`ance-tele data convert`: collections to BEIR and back, what a run has made to what other programs read."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ance_tele.cli.main import main
from ance_tele.data.load import load_collection

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = {
    "episodes": 2, "query_max_len": 16, "passage_max_len": 16, "depth": 10, "pool_per_source": 4,
    "negatives_per_query": 3, "epochs": 1, "precision": "float32", "train_precision": "float32", "report_to": "[none]",
}  # fmt: skip


@pytest.fixture(scope="module")
def answered(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy collection, where half of the queries have answer strings: their passage's word, or a topic's."""
    folder = tmp_path_factory.mktemp("data") / "answered"
    shutil.copytree(toy, folder)
    queries = [json.loads(line) for line in (toy / "queries.jsonl").read_text().splitlines()]
    questions = [{**query, "answers": query["text"].split()[:2][number % 2 :]} for number, query in enumerate(queries)]
    (folder / "questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in questions[::2]))
    return folder


@pytest.fixture(scope="module")
def finished(answered: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    assert main(["run", "ance-tele", f"--data={answered}", f"--model={tiny_model}", f"--out={out}", *flags]) == 0
    return out


def convert(source: Path, target: Path, to: str, *more: str) -> None:
    assert main(["data", "convert", str(source), str(target), "--to", to, *more]) == 0


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Any:
    def refused(*words: Any) -> str:
        capsys.readouterr()
        assert main(["data", "convert", *map(str, words)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("ance-tele: ")
        return error.removeprefix("ance-tele: ").rstrip("\n")

    return refused


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def pool_of(run: Path, episode: int) -> dict[str, list[str]]:
    """Return the pool of an episode as it was drawn."""
    found: dict[str, list[str]] = {}
    for row in pq.read_table(run / f"episode-{episode}" / "pool.parquet").to_pylist():
        found.setdefault(row["query_id"], []).append(row["passage_id"])
    return found


def positives_of(data: Path) -> dict[str, str]:
    lines = (data / "qrels" / "train.tsv").read_text().splitlines()[1:]
    return {query: passage for query, passage, _ in map(str.split, lines)}


def texts_of(data: Path) -> dict[str, dict[str, str]]:
    return {row["_id"]: row for row in lines_of(data / "corpus.jsonl")}


# ---- a collection ----------------------------------------------------------------------------------------


def test_a_collection_to_beir_and_back(answered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what was read from another format, and the same collection again."""
    convert(answered, tmp_path / "once", "beir")
    assert "144 passages, 144 queries in BEIR layout" in capsys.readouterr().out
    original, again = load_collection(answered), load_collection(tmp_path / "once")
    assert again.fingerprint == original.fingerprint
    assert len(again.answers) == len(original.answers) == 72
    assert {split: len(qrels) for split, qrels in again.qrels.items()} == {"train": 72, "dev": 24, "test": 48}


def test_what_was_exported_can_be_read_and_written_as_beir(finished: Path, tmp_path: Path) -> None:
    convert(finished, tmp_path / "train.jsonl", "tevatron")
    convert(tmp_path / "train.jsonl", tmp_path / "beir", "beir")
    assert positives_of(tmp_path / "beir").keys() == pool_of(finished, 2).keys()


def test_leniency_is_asked_for(toy: Path, tmp_path: Path, refusal: Any) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(toy, broken)
    with (broken / "qrels" / "dev.tsv").open("a") as file:
        file.write("q00-3\tnowhere\t1\n")
    assert "nowhere" in refusal(broken, tmp_path / "out")
    convert(broken, tmp_path / "out", "beir", "--lenient")
    assert len(load_collection(tmp_path / "out").qrels["dev"]) == 24


# ---- the pool of a run -----------------------------------------------------------------------------------


def test_a_pool_to_tevatron(finished: Path, answered: Path, tmp_path: Path) -> None:
    """N negatives of each query, from the pool; the last episode's by default."""
    convert(finished, tmp_path / "train.jsonl", "tevatron")
    convert(finished, tmp_path / "last.jsonl", "tevatron", "--episode", "2")
    convert(finished, tmp_path / "first.jsonl", "tevatron", "--episode=1")
    assert (tmp_path / "train.jsonl").read_bytes() == (tmp_path / "last.jsonl").read_bytes()
    positives, texts = positives_of(answered), texts_of(answered)
    for name, episode in (("train", 2), ("first", 1)):
        pool, lines = pool_of(finished, episode), lines_of(tmp_path / f"{name}.jsonl")
        assert [line["query_id"] for line in lines] == list(pool)
        for line in lines:
            passages = [*line["positive_passages"], *line["negative_passages"]]
            assert [one["docid"] for one in passages[:1]] == [positives[line["query_id"]]]
            drawn = [one["docid"] for one in passages[1:]]
            assert len(drawn) == 3 and all(drawn.count(one) <= pool[line["query_id"]].count(one) for one in drawn)
            assert all(texts[one["docid"]]["text"] == one["text"] for one in passages)
    with_answers = [line for line in lines if line["answers"]]
    assert 0 < len(with_answers) < len(lines)


def test_a_pool_to_the_second_tevatron_with_its_corpus(
    finished: Path, answered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert(finished, tmp_path / "train.jsonl", "tevatron2")
    said = capsys.readouterr().out
    assert "72 queries" in said and f"{tmp_path / 'train.corpus.jsonl'}: 144 passages" in said
    corpus = {row["docid"]: row["text"] for row in lines_of(tmp_path / "train.corpus.jsonl")}
    assert corpus == {key: f"{row['title']} {row['text']}" for key, row in texts_of(answered).items()}
    pool = pool_of(finished, 2)
    for line in lines_of(tmp_path / "train.jsonl"):
        assert len(line["negative_document_ids"]) == 3
        assert set(line["negative_document_ids"]) <= set(pool[line["query_id"]])
        assert line["positive_document_ids"] == [positives_of(answered)[line["query_id"]]]
        assert corpus.keys() >= set(line["negative_document_ids"])


def test_a_pool_to_flagembedding(finished: Path, answered: Path, tmp_path: Path) -> None:
    convert(finished, tmp_path / "train.jsonl", "flagembedding")
    convert(finished, tmp_path / "ids.jsonl", "tevatron")
    joined = [f"{row['title']} {row['text']}" for row in texts_of(answered).values()]
    for line, ids in zip(lines_of(tmp_path / "train.jsonl"), lines_of(tmp_path / "ids.jsonl"), strict=True):
        assert line["query"] == ids["query"] and len(line["pos"]) == 1 and len(line["neg"]) == 3
        assert line["neg"] == [f"{one['title']} {one['text']}" for one in ids["negative_passages"]]
        assert set(line["pos"] + line["neg"]) <= set(joined)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_pool_to_triplets(finished: Path, tmp_path: Path, suffix: str) -> None:
    """A row for every negative of the pool, not only those of an epoch; a library reads it."""
    from datasets import Dataset

    target = tmp_path / f"train{suffix}"
    convert(finished, target, "triplets")
    rows = Dataset.from_json(str(target)) if suffix == ".jsonl" else Dataset.from_parquet(str(target))
    assert rows.column_names == ["anchor", "positive", "negative"]
    assert len(rows) == sum(map(len, pool_of(finished, 2).values()))
    assert not any(row["positive"] == row["negative"] for row in rows)


# ---- the rankings of a run -------------------------------------------------------------------------------


def test_a_run_to_dpr(finished: Path, answered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The best hundred passages of the queries that have answers, and whether they hold one."""
    convert(finished, tmp_path / "run.json", "dpr")
    assert "24 questions (24 without answers left out)" in capsys.readouterr().out
    convert(finished, tmp_path / "zero.json", "dpr", "--episode", "0")
    ranked: dict[str, list[str]] = {}
    for line in (finished / "episode-2" / "run.trec").read_text().splitlines():
        query, _, passage, *_ = line.split()
        ranked.setdefault(query, []).append(passage)
    questions = {row["text"]: row for row in lines_of(answered / "questions.jsonl")}
    found = json.loads((tmp_path / "run.json").read_text())
    assert len(found) == 24
    for one in found:
        assert [context["id"] for context in one["ctxs"]] == ranked[questions[one["question"]]["_id"]][:100]
        assert one["answers"] == questions[one["question"]]["answers"]
        for context in one["ctxs"]:
            assert context["has_answer"] == any(answer in context["text"].split() for answer in one["answers"])
    assert found != json.loads((tmp_path / "zero.json").read_text())
    hit = np.mean([any(context["has_answer"] for context in one["ctxs"][:20]) for one in found])
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["final"]["Answer@20"] == pytest.approx(hit)


def test_a_run_of_bm25_to_dpr(answered: Path, tmp_path: Path) -> None:
    assert main(["run", "bm25", f"--data={answered}", f"--out={tmp_path / 'run'}"]) == 0
    convert(tmp_path / "run", tmp_path / "bm25.json", "dpr")
    assert len(json.loads((tmp_path / "bm25.json").read_text())) == 24


# ---- what cannot be done ---------------------------------------------------------------------------------


def test_an_unknown_format_names_the_nearest(finished: Path, tmp_path: Path, refusal: Any) -> None:
    target = tmp_path / "train.jsonl"
    assert refusal(finished, target, "--to", "tevatorn") == ("There is no format 'tevatorn'; did you mean 'tevatron'?")
    assert refusal(finished, target, "--to", "xyz").endswith(
        "there are: beir, tevatron, tevatron2, flagembedding, triplets, dpr."
    )
    assert not target.exists()


def test_no_such_episode(finished: Path, tmp_path: Path, refusal: Any) -> None:
    target, to = tmp_path / "train.jsonl", ("--to", "tevatron")
    for number in (3, -1):
        expected = f"{finished} has no episode {number}; its last one is 2."
        assert refusal(finished, target, *to, f"--episode={number}") == expected
    assert "has no pool; give --episode 1 or more." in refusal(finished, target, *to, "--episode=0")


def test_an_episode_that_is_not_evaluated_yet(finished: Path, refusal: Any) -> None:
    begun = finished.with_name("begun")
    shutil.copytree(finished, begun)
    (begun / "episode-2" / "run.trec").unlink()
    sentence = refusal(begun, begun / "run.json", "--to", "dpr")
    assert f"{begun}/episode-2/run.trec does not exist: episode 2 is not evaluated yet" in sentence
    convert(begun, begun / "first.json", "dpr", "--episode=1")


def test_not_a_run_folder(toy: Path, tmp_path: Path, refusal: Any) -> None:
    sentence = refusal(toy, tmp_path / "train.jsonl", "--to", "tevatron")
    assert sentence == f"{toy} is no run folder: it holds no run.json; give the --out folder of a run."
    assert "nowhere is no run folder" in refusal("nowhere", tmp_path / "x.json", "--to", "dpr")


def test_a_folder_is_never_replaced_by_a_file(finished: Path, toy: Path, tmp_path: Path, refusal: Any) -> None:
    """Nor a folder that holds something by another."""
    folder = tmp_path / "train.jsonl"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    for to in ("tevatron", "tevatron2", "flagembedding", "triplets", "dpr"):
        assert f"{folder} is a folder; '{to}' is written as a file" in refusal(finished, folder, "--to", to)
    assert f"{folder} is there already; name a folder that is new or empty." in refusal(toy, folder, "--to", "beir")
    assert [path.name for path in folder.iterdir()] == ["precious.txt"]


def test_the_name_of_the_file_says_what_it_is(finished: Path, tmp_path: Path, refusal: Any) -> None:
    assert "train.csv must end in .jsonl" in refusal(finished, tmp_path / "train.csv", "--to", "tevatron")
    assert "train.csv must end in .jsonl or .parquet" in refusal(finished, tmp_path / "train.csv", "--to", "triplets")
    assert "run.jsonl must end in .json" in refusal(finished, tmp_path / "run.jsonl", "--to", "dpr")


def test_answers_are_needed_for_dpr(toy: Path, tmp_path: Path, refusal: Any) -> None:
    assert main(["run", "bm25", f"--data={toy}", f"--out={tmp_path / 'run'}"]) == 0
    assert "has no answers, which DPR's format needs" in refusal(tmp_path / "run", tmp_path / "x.json", "--to", "dpr")


def test_both_ends_are_needed(toy: Path, refusal: Any) -> None:
    assert refusal(toy) == "data convert takes what to read and where to write: data convert FROM TO --to FORMAT."


def test_the_word_convert_is_needed(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(toy), str(tmp_path / "out")]) == 2
    assert f"data takes one collection; to convert it: data convert {toy} {tmp_path / 'out'}" in capsys.readouterr().err
