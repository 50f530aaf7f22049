"""--json: one document on standard output and nothing else; --dry_run: what would be done, and nothing touched."""

import json
from pathlib import Path
from typing import Any

import pytest
from toy import run_command

from ance_tele import __version__
from ance_tele.cli.main import main
from ance_tele.cli.output import plain
from ance_tele.cli.verbs import VERBS
from ance_tele.recipes import RECIPES

Read = pytest.CaptureFixture[str]


def answered(capsys: Read, words: list[str], code: int = 0) -> dict[str, Any]:
    """Return the document that a command prints; it is all of its standard output."""
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    out, err = capsys.readouterr()
    assert out.count("\n") == 1 and err
    found: dict[str, Any] = json.loads(out)
    assert (found["schema"], found["version"], found["verb"]) == (1, __version__, words[0])
    return found


@pytest.fixture(scope="module")
def run(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(run_command(toy, tiny_model, out, "q-neg", episodes=1, epochs=1, baselines="[zero-shot]")) == 0
    return out


def tree(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.usefixtures("undrawn")
def test_a_run_and_what_it_would_do(toy: Path, tiny_model: Path, run: Path, tmp_path: Path, capsys: Read) -> None:
    settings = {"episodes": 1, "epochs": 1, "baselines": "[zero-shot]"}
    again = run_command(toy, tiny_model, run, "q-neg", **settings)
    found = answered(capsys, again)["result"]
    assert found["summary"] == json.loads((run / "summary.json").read_text())
    assert Path(found["model"]) == run / "episode-1" / "model" and Path(found["report"]).is_file()

    before = tree(run)
    planned = answered(capsys, [*again, "--dry-run", "--gpu=H100"])["result"]
    assert planned == answered(capsys, [*again, "--plan", "--gpu=H100"])["result"]
    assert tree(run) == before
    assert {one["state"] for one in planned["phases"]} == {"cached"}
    assert [one["phase"] for one in planned["phases"] if one["where"] == "episode 1"] == [
        "mine", "mix", "train", "evaluate",
    ]  # fmt: skip
    assert planned["steps"] == found["summary"]["episodes"][0]["steps"] == 9

    new = run_command(toy, tiny_model, tmp_path / "new", "q-neg", **settings)
    planned = answered(capsys, [*new, "--dry-run"])["result"]
    assert {one["state"] for one in planned["phases"]} == {"to be made"} and not (tmp_path / "new").exists()
    other = run_command(toy, tiny_model, run, "q-neg", **{**settings, "alpha": 0.25})
    assert "belongs to a run of other settings (alpha)" in answered(capsys, [*other, "--dry-run"], 2)["error"]


@pytest.mark.usefixtures("undrawn")
def test_the_other_verbs(toy: Path, tiny_model: Path, run: Path, tmp_path: Path, capsys: Read) -> None:
    recipes = answered(capsys, ["recipes"])["result"]["recipes"]
    assert [one["name"] for one in recipes] == list(RECIPES)
    data = answered(capsys, ["data", str(toy)])["result"]
    assert (data["passages"], data["splits"]["train"]["queries"]) == (144, 72)
    measured = answered(capsys, ["evaluate", str(run / "episode-1" / "model"), f"--data={toy}"])["result"]
    final = json.loads((run / "summary.json").read_text())["final"]
    assert measured["metrics"]["MRR@10"] == pytest.approx(final["MRR@10"]) and measured["split"] == "test"
    suspects = answered(capsys, ["suspects", str(run), "-k", "2"])["result"]
    assert len(suspects["suspects"]) == min(2, suspects["counts"]["suspects"])
    hits = answered(capsys, ["search", str(run), "t1 u6", "-k", "3"])["result"]["hits"]
    assert [one["rank"] for one in hits] == [1, 2, 3]

    teacher = tmp_path / "teacher"
    teach = ["teach", str(run), f"--model={tiny_model}", f"--out={teacher}", "--epochs=1", "--batch_queries=8"]
    (would,) = answered(capsys, [*teach, "--dry_run"])["result"]["would_make"]
    assert would["state"] == "to be made" and not teacher.exists()
    taught = answered(capsys, [*teach, "--rerank=0"])["result"]
    assert taught["steps"] == would["steps"] == 9 and not taught["cached"]
    assert answered(capsys, [*teach, "--rerank=0", "--dry_run"])["result"]["would_make"][0]["state"] == "cached"


def test_what_is_refused_is_said_in_the_document(capsys: Read) -> None:
    found = answered(capsys, ["data", "nowhere"], 2)
    assert found["error"].startswith("nowhere is not a folder") and found["exit_code"] == 2 and "result" not in found


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if verb.dry])
def test_every_verb_that_writes_shows_its_flag(verb: str, capsys: Read) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    shown = capsys.readouterr().out
    assert "--dry_run" in shown and "--json" in shown


def test_a_dry_run_refuses_what_the_verb_refuses(
    run: Path, toy: Path, tiny_model: Path, tmp_path: Path, capsys: Read
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "faq.csv").write_text("q,p\na,b\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    docs, table, full, new = (str(tmp_path / name) for name in ("docs", "faq.csv", "full", "new"))
    wrong = {
        "export foo R": "There is no export 'foo'",
        "export onnx R": "export onnx takes a run or a model, and a new folder",
        f"export onnx R --out {new} --table x": "export onnx takes no --table",
        "export vectors R": "export vectors takes a run or a model, and where to",
        "export vectors R --to redis://h": "redis://h is no engine",
        f"retrieve {tiny_model} --data {toy}": "--vectors is missing",
        "data from-folder": "data from-folder takes DOCS and where to write",
        f"data from-folder {new} --out {new}2": "is not a folder; data from-folder takes a folder of documents",
        f"data from-folder {docs} --out {full}": "is there already",
        f"data from-folder {docs} --out {new} --size 3": "size is 3",
        f"data from-csv {table} --out {new}": "--query and --passage are needed",
        f"data from-csv {table} --out {new} --query q --passage x": "faq.csv has no column 'x'",
        f"data from-csv {table} --out {full} --query q --passage p": "is there already",
        f"data convert {toy}": "data convert takes what to read and where to write",
    }
    for words, sentence in wrong.items():
        given = [str(run) if word == "R" else word for word in words.split()]
        assert sentence in answered(capsys, [*given, "--dry-run"], 2)["error"], words
    right = {
        f"export onnx R --out {new}": ("model", new, "to be made"),
        f"export onnx R --out {full}": ("model", full, "there"),
        f"export vectors R --to lancedb:{full}": ("vectors", f"lancedb:{full}", "there"),
        f"export vectors R --to {new}": ("vectors", new, "to be made"),
        "export vectors R --to qdrant://h:6333": ("vectors", "qdrant://h:6333", "at a URL"),
        f"data from-folder {docs} --out {new}": ("collection", new, "to be made"),
        f"data from-csv {table} --out {new} --query q --passage p": ("collection", new, "to be made"),
    }
    for words, found in right.items():
        given = [str(run) if word == "R" else word for word in words.split()]
        (would,) = answered(capsys, [*given, "--dry-run"])["result"]["would_make"]
        assert (would["what"], would["path"], would["state"]) == found
    assert not Path(new).exists()


def test_cells_of_a_comparison_that_would_run(toy: Path, tiny_model: Path, tmp_path: Path, capsys: Read) -> None:
    words = run_command(toy, tiny_model, tmp_path / "out", episodes=2)[2:]
    words = ["compare", "--recipes", "dpr", "q-neg", "--seeds", "1", "2", *words, "--refresh_fraction=0.5"]
    found = answered(capsys, [*words, "--dry_run"])["result"]
    assert [one["steps"] for one in found["cells"]] == [18, 27, 18, 27] and found["steps_to_come"] == 90
    assert {one["state"] for one in found["cells"]} == {"to be made"} and not (tmp_path / "out").exists()


def test_values_as_json_has_them() -> None:
    import numpy as np

    given = {"path": Path("a/b"), "one": np.float32(0.5), "none": float("inf"), "listed": (np.int64(3), [True])}
    assert plain(given) == {"path": "a/b", "one": 0.5, "none": None, "listed": [3, [True]]}
