"""Systems and the grid of their cells: settings, donors, folders, refusals."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ance_tele.console.errors import UserError
from ance_tele.engine.work import describe
from ance_tele.experiments.cells import CellsJob
from ance_tele.experiments.grid import Cell, beginning, grid, system
from ance_tele.recipes import RECIPES, recipe

# ---- systems ---------------------------------------------------------------------------------------------


def test_a_system_is_a_recipe_with_settings_of_its_own() -> None:
    made = system("ance-tele alpha=0.3  negatives_per_query=5", alpha=0.1, depth=50)
    assert made.name == "ance-tele alpha=0.3 negatives_per_query=5"
    assert (made.mining.alpha, made.training.negatives_per_query, made.mining.depth) == (0.3, 5, 50)
    given = {"alpha": 0.3, "negatives_per_query": 5, "depth": 50}
    assert made.settings() == {**recipe("ance-tele").settings(), **given}


@pytest.mark.parametrize(
    ("written", "setting", "value"),
    [
        ("learning_rate=1e-5", "learning_rate", 1e-5),
        ("refresh_step=100", "refresh_step", 100),
        ("refresh_step=null", "refresh_step", None),
        ("dedup=true", "dedup", True),
        ("momentum=all", "momentum", "all"),
        ("sources=[query,bm25]", "sources", ("query", "bm25")),
        ('first_sources=["bm25"]', "first_sources", ("bm25",)),
    ],
)
def test_values_are_read_as_on_the_command_line(written: str, setting: str, value: Any) -> None:
    assert system(f"ance-tele {written}").settings()[setting] == value


def test_what_makes_a_recipe_the_one_it_is_stays() -> None:
    """Settings of the whole comparison do not turn zero-shot into training, nor Q-Neg into ANCE-Tele."""
    given: dict[str, Any] = {"episodes": 5, "alpha": 0.3, "sources": ("random",), "restart": "scratch", "epochs": 7}
    made = {name: system(name, **given).settings() for name in RECIPES if name not in ("marco", "nq", "triviaqa")}
    assert {name: one["episodes"] for name, one in made.items() if one["episodes"] != 5} == {
        "zero-shot": 0, "bm25": 0, "dpr": 1, "rocketqa": 2, "pair": 2, "ar2": 4, "rocketqav2": 2,
        "me-bert": 1,
    }  # fmt: skip
    assert {name for name, one in made.items() if one["alpha"] == 0} >= {"q-neg", "q-neg+lookahead", "ance", "dpr"}
    assert made["ance"]["restart"] == made["ance-tele+continue"]["restart"] == "continue"
    assert made["q-neg"]["sources"] == ("query",) and made["ance-tele"]["sources"] == ("random",)
    assert {one["epochs"] for one in made.values()} == {7}
    assert system("zero-shot episodes=1", **given).episode.episodes == 1, "unless the system says so itself"
    assert system("marco", **given).episode.episodes == system("marco/q-neg", **given).episode.episodes == 5
    assert system("marco/dpr", **given).episode.episodes == 1
    assert system("marco/q-neg", **given).mining.alpha == 0


def test_at_the_settings_of_a_benchmark() -> None:
    made = system("q-neg", "marco", negatives_per_query=5)
    assert made.name == "q-neg" and (made.training.negatives_per_query, made.episode.refresh_step) == (5, 20_000)
    assert system("ance", "marco").episode.refresh_step == 10_000


@pytest.mark.parametrize(
    ("text", "scale", "sentence"),
    [
        ("ance-tel", None, "There is no recipe 'ance-tel'; did you mean 'ance-tele'?"),
        ("  ", None, "There is no recipe ''; there are: ance-tele, q-neg"),
        ("ance-tele alhpa=0.3", None, "There is no setting 'alhpa'; did you mean 'alpha'?"),
        ("ance-tele 0.3", None, "'0.3' in 'ance-tele 0.3' is no setting; write name=value, such as alpha=0.3."),
        ("ance-tele alpha=[", None, "alpha is '['; it must be a number."),
        ("ance-tele alpha=2", None, "alpha is 2.0; it must lie between 0 and 1."),
        ("ance-tele seed=2", None, "every system runs with all seeds of the comparison; use --seeds."),
        ("bm25 episodes=2", None, "episodes is 2; recipe 'bm25' has no model to train: it must be 0."),
        ("ance-tele", "marko", "There is no scale 'marko'; did you mean 'marco'?"),
    ],
)
def test_a_system_that_cannot_be_is_refused(text: str, scale: str | None, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        system(text, scale)
    assert sentence in str(caught.value)


# ---- the grid --------------------------------------------------------------------------------------------


def cells_of(*names: str, models: tuple[str, ...] = ("m",), seeds: tuple[int, ...] = (1,), **given: Any) -> list[Cell]:
    return grid([system(name, **given) for name in names], models, seeds)


def test_every_system_with_every_model_and_seed() -> None:
    cells = cells_of("ance-tele", "q-neg", models=("a/one", "two"), seeds=(1, 2, 3))
    assert len({cell.folder for cell in cells}) == len(cells) == 12
    assert {(cell.recipe.name, cell.model, cell.recipe.episode.seed) for cell in cells} == {
        (name, model, seed) for name in ("ance-tele", "q-neg") for model in ("a/one", "two") for seed in (1, 2, 3)
    }
    assert cells[0].folder == "cells/one/ance-tele/seed-1" and cells[0].label == "ance-tele, one, seed 1"


def test_what_is_not_trained_is_measured_once_however_many_seeds() -> None:
    cells = cells_of("zero-shot", "bm25", "dpr", models=("m", "n"), seeds=(5, 6))
    assert [(cell.recipe.name, cell.recipe.episode.seed) for cell in cells if cell.model == "m"] == [
        ("zero-shot", 5), ("bm25", 5), ("dpr", 5), ("dpr", 6),
    ]  # fmt: skip


def test_donors_come_first() -> None:
    """A first episode that recipes have in common is made by one of them, whatever the order of the systems."""
    later = "ance-tele replay=0.2 momentum_decay=0.5 alpha_forgotten=0.8 beta_forgotten=1"
    plain = ("ance-tele", "q-neg+momentum", "ance", "dpr", "q-neg", "ance-tele alpha=0.3", "ance-tele beta=0.3")
    cells = cells_of(*plain, later)
    donors = {cell.recipe.name: cell.donor and Path(cell.donor).parent.name for cell in cells}
    assert donors == {
        "ance-tele": None,
        "q-neg+momentum": None,
        "ance": None,
        "ance-tele beta=0.3": None,  # mixes its first pool in other shares
        "dpr": "ance",
        "q-neg": "q-neg+momentum",
        "ance-tele alpha=0.3": "ance-tele",  # alpha has no part in a first episode
        later: "ance-tele",
    }
    places = {cell.folder: place for place, cell in enumerate(cells)}
    assert all(cell.donor is None or places[cell.donor] < places[cell.folder] for cell in cells)


def test_seeds_models_and_schedules_share_nothing() -> None:
    cells = cells_of("q-neg", "q-neg+momentum", models=("m", "n"), seeds=(1, 2))
    for one in cells:
        if one.donor:
            assert Path(one.donor).parts[1::2] == Path(one.folder).parts[1::2], "same model, same seed"
    assert sum(one.donor is None for one in cells) == 4
    # A single episode runs to its end; the first of three stops at the refresh step.
    assert all(cell.donor is None for cell in cells_of("q-neg episodes=1", "q-neg+momentum"))
    assert beginning(system("q-neg", temperature=0.1)) != beginning(system("q-neg", temperature=0.2))


def test_each_cell_has_a_folder_of_its_own() -> None:
    names = ["ance-tele", "ance-tele+bm25", "ance-tele sources=[query]", "ance-tele sources=[random]", "marco/q-neg"]
    folders = [cell.folder for cell in cells_of(*names)]
    assert len(set(folders)) == 5
    assert all(re.fullmatch(r"cells/m/[\w+.-]+/seed-1", folder) for folder in folders), folders


@pytest.mark.parametrize(
    ("names", "models", "seeds", "sentence"),
    [
        (["dpr", "dpr"], ["m"], [1], "different systems, but the system 'dpr' is named twice"),
        (["dpr alpha=0", "dpr  alpha=0"], ["m"], [1], "the system 'dpr alpha=0' is named twice"),
        (["dpr"], ["m", "m"], [1], "different models, but the model 'm' is named twice"),
        (["dpr"], ["a/m", "b/m/"], [1], "the model 'm' is named twice"),
        (["dpr"], ["m"], [1, 2, 1], "different seeds, got 1, 2, 1."),
        ([], ["m"], [1], "no system is named"),
        (["dpr"], [], [1], "no model is named"),
        (["dpr"], ["m"], [], "different seeds, got none."),
    ],
)
def test_nothing_is_named_twice_or_not_at_all(
    names: list[str], models: list[str], seeds: list[int], sentence: str
) -> None:
    with pytest.raises(UserError) as caught:
        grid([system(name) for name in names], models, seeds)
    assert sentence in str(caught.value)


def test_a_cell_is_the_same_in_another_process() -> None:
    """All that a worker gets of it is JSON."""
    cells = cells_of("bm25", "ance-tele alpha=0.3 sources=[query]", "ance", models=("m",), seeds=(1, 2))
    job = CellsJob.of(cells, Path("out"), "data", Path("cache"), 2)
    again = CellsJob(**json.loads(describe(job))["values"])
    assert [again.cell((number,)) for number in range(len(cells))] == cells
