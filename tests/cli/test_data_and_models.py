"""Collections, models and splits, good and bad, through the verbs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from steps import Refusal, append, settings_of

from ance_tele.cli.main import main


def test_data_checks_a_collection(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(toy)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("toy (fingerprint ")
    assert lines[1:] == [
        "passages 144 words with titles: median 11, 5% under 11, 5% over 11, longest 11",
        "queries 144 words: median 3, 5% under 3, 5% over 3, longest 3",
        "texts no language recognised",
        "train 72 judged queries, 72 judgements, 1.00 relevant passages per query",
        "dev 24 judged queries, 24 judgements, 1.00 relevant passages per query",
        "test 48 judged queries, 48 judgements, 1.00 relevant passages per query",
        "problems none found",
    ]


BAD_DATA: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no corpus": (lambda folder: (folder / "corpus.jsonl").unlink(), ["corpus.jsonl", "found: qrels, queries.jsonl"]),
    "no JSON": (append("corpus.jsonl", "d9\tno JSON"), ["corpus.jsonl line 145 is not JSON"]),
    "ids twice": (append("corpus.jsonl", '{"_id": "d00-0", "text": "x"}'), ["'d00-0' in lines 1 and 145", "--lenient"]),
    "unknown ids": (append("qrels/dev.tsv", "q00-3\td99\t1"), ["dev.tsv", "unknown passages", "'d99' in line 26"]),
    "no text": (append("corpus.jsonl", '{"_id": "d9", "text": ""}'), ["without text", "'d9' in line 145"]),
    "no such folder": (lambda folder: shutil.rmtree(folder), ["is not a folder"]),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_refused_by_every_verb_alike(kind: str, toy: Path, tmp_path: Path, refusal: Refusal) -> None:
    change, fragments = BAD_DATA[kind]
    data = tmp_path / "data"
    shutil.copytree(toy, data)
    change(data)
    sentence = refusal("data", data)
    assert all(fragment in sentence for fragment in fragments), sentence
    assert refusal("run", "bm25", "--data", data, "--out", tmp_path / "out") == sentence
    assert refusal("evaluate", "no-model", "--data", data) == sentence
    assert not (tmp_path / "out").exists()


def test_lenient_leaves_out_and_says_so(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(toy, data)
    append("corpus.jsonl", '{"_id": "d9", "text": ""}')(data)
    append("qrels/dev.tsv", "q00-3\td99\t1")(data)
    assert main(["data", str(data), "--lenient"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines[-2:]] == [
        "left out 1 corpus.jsonl: passages without text",
        "left out 1 qrels/dev.tsv: judgements of unknown passages",
    ]
    assert main(["run", "bm25", "--lenient", "--data", str(data), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "left out: 1 (corpus.jsonl: passages without text)" in printed
    assert settings_of(out)["strict"] is False
    assert len(json.loads((out / "summary.json").read_text())["data"]["problems"]) == 2


def test_a_model_that_is_none(toy: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "file").write_text("x")
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "config.json").write_text('{"model_type": "bert"}')
    out = tmp_path / "out"
    cases = {
        str(tmp_path / "nowhere"): "is neither a folder nor a hub name",
        str(toy): "holds neither config.json nor modules.json",
        str(tmp_path / "file"): "holds neither config.json nor modules.json",
        str(tmp_path / "unpacked"): "holds no .safetensors file",
        "somebody/no-such-model": "The model somebody/no-such-model cannot be loaded: ",
        "no-such-model": "The model no-such-model cannot be loaded: ",
    }
    for model, fragment in cases.items():
        sentence = refusal("run", "zero-shot", "--data", toy, "--model", model, "--out", out, "--baselines", "[]")
        assert fragment in sentence and model in sentence
        assert not (out / "run.json").exists()
    assert cases[str(toy)] in refusal("evaluate", toy, "--data", toy)


def test_a_split_that_is_not_there_takes_no_folder(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal
) -> None:
    out = tmp_path / "out"
    expected = "Collection 'toy' has no qrels for split 'tset'; it has: train, dev, test."
    assert refusal("run", "bm25", "--data", toy, "--out", out, "--split", "tset") == expected
    assert not out.exists()
    assert main(["run", "bm25", "--data", str(toy), "--out", str(out), "--split", "dev"]) == 0
    assert refusal("evaluate", tiny_model, "--data", toy, "--split", "tset") == expected


def test_training_without_a_train_split_takes_no_folder(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(toy, data)
    (data / "qrels" / "train.tsv").unlink()
    sentence = refusal("run", "q-neg", "--data", data, "--model", tiny_model, "--out", out)
    assert sentence == "Collection 'data' has no qrels for split 'train'; it has: dev, test."
    assert not out.exists()


def test_evaluate_prints_every_metric_and_writes_the_run(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.trec"
    argv = ["evaluate", str(tiny_model), "--data", str(toy), "--split", "dev", "--run_file", str(path)]
    assert main([*argv, "--passage_max_len", "16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("on toy, split dev: 24 queries")
    values = dict(line.split() for line in lines[1:])
    assert {"MRR@10", "nDCG@10", "Recall@100"} <= values.keys()
    assert all(0 <= float(value) <= 1 for value in values.values())
    assert len(path.read_text().splitlines()) == 24 * 144
