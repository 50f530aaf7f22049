"""The verbs compare and reproduce: what they ask for, refuse, and pass on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from grids import command

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.experiments.compare import compare_systems
from ance_tele.experiments.grid import grid, system
from ance_tele.experiments.reproduce import TABLES, systems_of
from ance_tele.plan.defaults import NEGATIVES

# ---- the command line ------------------------------------------------------------------------------------


def test_what_a_comparison_needs(toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    data, model, out = f"--data={toy}", f"--model={tiny_model}", f"--out={tmp_path / 'out'}"
    assert refusal("compare", data, model, out).startswith("--recipes is missing: systems: a recipe's name and")
    some = ("compare", "--recipes", "zero-shot", "dpr")
    assert refusal(*some, model, out).startswith("--data is missing")
    assert refusal(*some, data, model) == "--out is missing: the folder of the comparison."
    assert refusal(*some, data, out).endswith("--models takes several.")
    assert refusal(*some, data, model, out, "--parallel", 0) == "parallel is 0; it must be at least 1, or auto."
    assert refusal(*some, data, model, out, "--seeds", 1, 1) == "A comparison needs different seeds, got 1, 1."
    assert refusal(*some, data, model, out, "--seeds", 1, "x") == (
        "seeds is [1, 'x']; it must be numbers such as 1 2 3, as a setting or in a file [1, 2, 3]."
    )
    taught = *some, "ance-tele+teacher", data, model, out
    assert refusal(*taught).startswith("Recipe ance-tele+teacher learns from a teacher: give")
    assert refusal(*taught, "--teacher", tmp_path / "a").endswith("folder nor a hub name (owner/name); check the path.")
    assert not (tmp_path / "out").exists()
    assert refusal(*some, "dpr alpha=3", data, model, out) == "alpha is 3.0; it must lie between 0 and 1."
    assert refusal(*some, "dpr alpha", data, model, out).startswith("'alpha' in 'dpr alpha' is no setting;")
    assert refusal(*some, "--recipe=dpr", data, model, out).endswith("did you mean --recipes?")
    assert refusal(*some, data, model, out, "--scale=marko") == "There is no scale 'marko'; did you mean 'marco'?"
    assert not (tmp_path / "out").exists()


def test_plugins_are_found_before_data_are_read(tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    words = (f"--model={tiny_model}", "--data=no-such-data", f"--out={tmp_path / 'out'}")
    for name in ("sources=[no_such_module:f]", "filters=[no_such_module:f]"):
        sentence = refusal("compare", "--recipes", "zero-shot", f"ance-tele {name}", *words)
        assert sentence.startswith("There is no module 'no_such_module'")
    assert refusal("compare", "--recipes", "dpr", *words).startswith("no-such-data is not a folder or file")
    with pytest.raises(UserError, match="There is no module 'no_such_module'"):
        compare_systems([system("ance-tele filters=[no_such_module:f]")], ["m"], [1], "no-such-data", "x")


def test_a_table_that_the_paper_lacks(refusal: Callable[..., str]) -> None:
    assert refusal("reproduce", "tabel3") == "There is no table 'tabel3'; did you mean 'table3'?"
    assert refusal("reproduce", "xyz").endswith(f"there are: table1, {', '.join(TABLES)}.")
    assert "table" in refusal("reproduce")
    assert refusal("reproduce", "table3").startswith("--data is missing")


def test_only_the_folder_of_a_comparison_is_taken(
    toy: Path, tiny_model: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").write_text("mine")
    for name in ("file", "full"):
        sentence = refusal(*command(toy, tiny_model, tmp_path / name, "zero-shot"))
        assert sentence == f"{tmp_path / name} is not the folder of a comparison; give --out a new folder."
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["precious.txt"]


def test_a_config_file(tmp_path: Path, refusal: Callable[..., str]) -> None:
    config = tmp_path / "grid.yaml"
    config.write_text("recipes: 3\n")
    assert refusal("compare", "--config", config) == (
        f"{config} line 1: recipes is 3; it must be a list, such as '[one, two]'."
    )
    config.write_text("seeds: 1\n")
    assert "seeds is 1; it must be numbers such as 1 2 3, as a setting or in a file [1, 2, 3]." in refusal(
        "compare", "--config", config
    )
    config.write_text("recipe: dpr\nepochs: 1\n")
    assert refusal("compare", "--config", config) == (
        f"{config} line 1: There is no setting 'recipe'; did you mean 'recipes'?"
    )


class Stop(Exception):
    """Ends a command where its work would begin."""


@pytest.fixture
def asked(toy: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return what a command line asks of :func:`compare`, without doing it."""
    names = ("systems", "models", "seeds", "data", "out", "cache", "executor", "table", "suit", "beside")
    found: dict[str, Any] = {}

    def noting(*given: Any) -> None:
        found.update(zip(names, given, strict=True))
        raise Stop

    monkeypatch.setattr("ance_tele.experiments.compare.compare_systems", noting)

    def ask(*words: Any) -> dict[str, Any]:
        with pytest.raises(Stop):
            main([*map(str, words), f"--data={toy}", "--out=x"])
        return found

    return ask


def test_seeds_and_models(asked: Callable[..., dict[str, Any]]) -> None:
    some = ("compare", "--recipes", "dpr", "ance-tele")
    assert asked(*some, "--model=m")["seeds"] == [42]
    assert asked(*some, "--model=m", "--seed=7")["seeds"] == [7], "not left unheard"
    found = asked(*some, "--models", "m", "co-condenser-marco", "--seeds", 3, 4, "--parallel=2")
    assert (found["seeds"], found["executor"].workers) == ((3, 4), 2)
    assert found["models"] == ["m", "Luyu/co-condenser-marco"]


def test_settings_hold_for_all_systems_that_have_them_open(
    asked: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare", "--recipes", "zero-shot", "dpr", "ance-tele alpha=0.7", "--episodes=2", "--alpha=0.2")
    systems = asked(*words, "--model=m", "--learning-rate=1e-4", "--lenient", "--official")["systems"]
    settings = [one.settings() for one in systems]
    assert [one["episodes"] for one in settings] == [0, 1, 2]
    assert [one["alpha"] for one in settings] == [0.2, 0.0, 0.7]
    assert {one["learning_rate"] for one in settings} == {1e-4} and {one["strict"] for one in settings} == {False}
    assert {one["momentum"] for one in settings} == {"all"} and {one["split"] for one in settings} == {"dev"}
    printed = capsys.readouterr().out
    assert "zero-shot stays what it is: episodes 0\n" in printed
    assert "dpr stays what it is: episodes 1, alpha 0.0\n" in printed and "ance-tele alpha=0.7 stays" not in printed


@pytest.mark.parametrize("table", TABLES)
def test_a_table_of_the_paper(table: str, asked: Callable[..., dict[str, Any]]) -> None:
    found = asked("reproduce", table, "--model=m")
    assert found["table"] == table
    assert [one.name for one in found["systems"]] == list(systems_of(table, NEGATIVES))
    grid(found["systems"], found["models"], found["seeds"])


def test_table_2_has_fewer_and_more_negatives(asked: Callable[..., dict[str, Any]], tiny_model: Path) -> None:
    """23, 31 and 47; in proportion for another N, such as the default."""

    def negatives(*words: Any) -> list[int]:
        found = asked("reproduce", "table2", f"--model={tiny_model}", *words)
        suited = [found["suit"](one, str(tiny_model), Path("x")) for one in found["systems"]]
        return [one.training.negatives_per_query for one in suited]

    assert negatives() == [7] * 5 + [5, 11]
    assert negatives("--negatives-per-query=7") == [7] * 5 + [5, 11]
    assert negatives("--scale=nq") == [11] * 5 + [8, 17]
    assert negatives("--scale=marco") == [31] * 5 + [23, 47]
