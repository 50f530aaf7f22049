"""Cells that fail, and a comparison with the paper's figures."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grids import command

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.experiments import cells
from ance_tele.experiments.grid import slug
from ance_tele.store.files import read_json

pytestmark = pytest.mark.usefixtures("undrawn")


# ---- cells that fail -------------------------------------------------------------------------------------

DIVERGES = "q-neg learning_rate=10 weight_decay=10 max_grad_norm=1e9"
TOO_LONG = "q-neg query_max_len=500"


def test_a_cell_that_fails_is_named_and_the_others_finish(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """One cannot work at all, and comes first; one diverges."""
    out = tmp_path / "out"
    words = command(toy, tiny_model, out, TOO_LONG, DIVERGES, "zero-shot")
    sentence = refusal(*words)
    for name, why in ((TOO_LONG, "reads at most 128 tokens, and 500 are asked for"), (DIVERGES, "has diverged")):
        assert re.search(rf"{slug(name)}/seed-1: [^;]*{why}".replace("+", r"\+"), sentence), sentence
    assert sentence.startswith("2 of 3 cells failed (") and f"tables of the others are in {out}" in sentence
    assert sentence.endswith("the same command tries them again.")
    assert [row["system"] for row in read_json(out / "comparison.json")["rows"]] == ["zero-shot"]
    assert "zero-shot" in (out / "comparison.md").read_text()


def test_a_crash_is_a_cells_own(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """What is no error of the user's, such as a GPU out of memory, is whole in the cell's log."""
    run = cells.run

    def crashing(chosen: Any, *rest: Any) -> Any:
        if chosen.name == "bm25":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
        return run(chosen, *rest)

    monkeypatch.setattr(cells, "run", crashing)
    sentence = refusal(*command(toy, tiny_model, tmp_path / "out", "zero-shot", "bm25"))
    log = tmp_path / "out" / "cells" / "tiny-bert" / "bm25" / "seed-1.log"
    assert f"bm25/seed-1: RuntimeError: CUDA out of memory. (see {log})" in sentence
    assert "Traceback" in log.read_text() and "Tried to allocate 20 GiB" in log.read_text()
    assert [row["system"] for row in read_json(tmp_path / "out" / "comparison.json")["rows"]] == ["zero-shot"]
    monkeypatch.undo()
    assert main(command(toy, tiny_model, tmp_path / "out", "zero-shot", "bm25")) == 0


def test_where_all_fail_there_is_no_table(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """A reason that cells have in common is given once."""

    def failing(*given: Any) -> None:
        raise UserError("The moon is in the way; wait.")

    monkeypatch.setattr(cells, "run", failing)
    assert refusal(*command(toy, tiny_model, tmp_path / "out", "zero-shot", "bm25")) == (
        "2 of 2 cells failed (cells/tiny-bert/zero-shot/seed-1, cells/tiny-bert/bm25/seed-1: The moon is in the way; "
        "wait); the same command tries them again."
    )
    assert not list(tmp_path.glob("*/comparison.*"))


def test_a_model_that_nobody_can_use_is_refused_at_once(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    sentence = refusal(*command(toy, tiny_model, tmp_path / "long", TOO_LONG, seeds=(1, 2, 3)))
    assert sentence.startswith("The model reads at most 128 tokens, and 500 are asked for")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refusal(*command(toy, tmp_path / "empty", tmp_path / "out", "zero-shot", "dpr"))
    assert not list(tmp_path.glob("*/cells"))


def test_the_papers_figures_are_added(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where collection and model are those of the paper, by name."""
    data, model = tmp_path / "msmarco", tmp_path / "co-condenser-marco"
    shutil.copytree(toy, data)
    shutil.copytree(tiny_model, model)
    tele = "ance-tele alpha=0.3 negatives_per_query=31"
    assert main(command(data, model, tmp_path / "out", "zero-shot", "dpr", tele)) == 0
    printed = capsys.readouterr().out
    found = read_json(tmp_path / "out" / "comparison.json")
    assert found["metrics"] == ["MRR@10", "Recall@1000"]
    lines = (tmp_path / "out" / "comparison.md").read_text().splitlines()
    # The first two from Table 3, the shares from Table 2.
    for letter, known in (("a", ["11.4", "77.1"]), ("b", ["36.2", "97.7"]), ("c", ["39.1", "98.3"])):
        line = next(line for line in lines if line.startswith(f"| {letter} |"))
        assert [part.strip(" |") for part in line.split(" | ")[-2:]] == known
    assert "paper MRR@10" in "".join(lines) and "paper" in printed
