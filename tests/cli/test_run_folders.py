"""Whose a run folder is, and who may work in it."""

import fcntl
import re
import shutil
from pathlib import Path

import pytest
from processes import started
from steps import Refusal, append

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.settings import EpisodeConfig, Recipe


def run_bm25(toy: Path, out: Path, *more: str) -> list[str]:
    return ["run", "bm25", f"--data={toy}", f"--out={out}", *more]


def test_a_run_folder_of_another_configuration_is_refused_and_stays_as_it_is(
    toy: Path, lexical: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal
) -> None:
    lexical = shutil.copytree(lexical, tmp_path / "lexical")
    before = {path.name: path.read_bytes() for path in lexical.iterdir() if path.is_file()}
    mine = ("--learning_rate", "1e-4")
    assert "(seed was 42, is 7)" in refusal(*run_bm25(toy, lexical, *mine, "--seed", "7"))
    sentence = refusal(
        "run", "zero-shot", "--data", toy, "--model", tiny_model, "--out", lexical, *mine, "--baselines=[bm25]"
    )
    assert "recipe was 'bm25', is 'zero-shot'; the model was None" in sentence and "another --out" in sentence
    data = tmp_path / "toy"
    shutil.copytree(toy, data)
    append("queries.jsonl", '{"_id": "q", "text": "new"}')(data)
    assert "the data was " in refusal(*run_bm25(data, lexical, *mine))
    assert {path.name: path.read_bytes() for path in lexical.iterdir() if path.is_file()} == before
    assert main(run_bm25(toy, lexical, *mine, "--keep_vectors=true")) == 0  # what changes no figure may change
    assert main(run_bm25(toy, lexical, *mine)) == 0  # the same one goes on
    moved = tmp_path / "moved"
    shutil.copytree(toy, moved)
    assert main(run_bm25(moved, lexical, *mine)) == 0  # and so does the same data elsewhere


def test_a_recipe_made_by_hand_is_checked_before_it_takes_a_folder(toy: Path, tmp_path: Path) -> None:
    from ance_tele.episode import run

    made = Recipe("mine", EpisodeConfig(episodes=0), evaluation=EvaluateConfig(baselines=("bm52",)))
    with pytest.raises(UserError, match="did you mean 'bm25'"):
        run(made, load_collection(toy), None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_of_a_recipe_made_by_hand_can_be_searched(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    from ance_tele.episode import run
    from ance_tele.explorer.search import search_run

    made = Recipe("mine", EpisodeConfig(episodes=0), evaluation=EvaluateConfig(baselines=()))
    run(made, load_collection(toy), tiny_model, tmp_path / "out")  # from objects: where the data lies is not known
    found = search_run(tmp_path / "out", "t3 u20", 2, data=toy)
    assert [hit.rank for hit in found] == [1, 2] and found[0].title.startswith("t")
    with pytest.raises(UserError, match="give that with --data"):
        search_run(tmp_path / "out", "t3 u20")


def test_an_out_that_cannot_be_one(toy: Path, tmp_path: Path, refusal: Refusal) -> None:
    file, foreign = tmp_path / "file", tmp_path / "foreign"
    file.write_text("mine")
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    assert refusal(*run_bm25(toy, file)) == f"{file} is a file; --out takes a folder, new or of the same run."
    assert refusal(*run_bm25(toy, file / "below")).endswith(f"{file} is a file, not a folder; give another place.")
    assert refusal(*run_bm25(toy, foreign)) == f"{foreign} is not empty and holds no run; give --out a new folder."
    assert file.read_text() == "mine" and [path.name for path in foreign.iterdir()] == ["thesis.tex"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(run_bm25(toy, empty)) == 0


@pytest.mark.parametrize("damage", [None, "", "[1, 2]", "seed: ["])
def test_a_run_folder_with_a_damaged_config_is_refused(
    toy: Path, lexical: Path, tmp_path: Path, refusal: Refusal, damage: str | None
) -> None:
    out = tmp_path / "out"
    shutil.copytree(lexical, out)
    (out / "config.yaml").unlink()
    if damage is not None:
        (out / "config.yaml").write_text(damage)
    sentence = (
        f"{out / 'config.yaml'} is missing or damaged; restore it from a copy, or begin again with another --out."
    )
    assert refusal(*run_bm25(toy, out, "--learning_rate", "1e-4")) == sentence


def test_a_run_folder_with_a_setting_of_a_later_version_is_refused_and_left_as_it_is(
    toy: Path, lexical: Path, tmp_path: Path, refusal: Refusal
) -> None:
    out = tmp_path / "out"
    shutil.copytree(lexical, out)
    with (out / "config.yaml").open("a") as file:
        file.write("horizon: 3\n")
    before = (out / "config.yaml").read_bytes()
    sentence = refusal(*run_bm25(toy, out))
    assert sentence.startswith(
        f"{out / 'config.yaml'} is of another version of ance-tele: There is no setting 'horizon'"
    )
    assert (out / "config.yaml").read_bytes() == before


def test_two_processes_in_one_run_folder(toy: Path, tmp_path: Path, refusal: Refusal) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sentence = refusal(*run_bm25(toy, out))
        assert sentence == f"Another process is at work in {out}; wait for it, or give another --out."
        assert not (out / "run.json").exists()
    assert main(run_bm25(toy, out)) == 0  # a lock that nobody holds does not matter


def test_two_real_processes_on_the_same_data_and_folder(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Either both finish one after the other, or the second is refused: never a traceback, never half a run."""
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "cache"))
    errors = tmp_path / "first.txt", tmp_path / "second.txt"
    pair = [started(run_bm25(toy, tmp_path / "out"), path) for path in errors]
    for process in pair:
        process.join(timeout=120)
    assert sorted(process.exitcode for process in pair) in ([0, 0], [0, 2])
    for process, path in zip(pair, errors, strict=True):
        error = path.read_text()
        if process.exitcode:
            assert error.endswith("; wait for it, or give another --out.\n") and error.count("\n") == 1
            assert re.match(rf"ance-tele: (Another process is|Process \d+ on .* has been) at work in {tmp_path}", error)
        else:
            assert error == ""
    assert (tmp_path / "out" / "report.md").exists()
