"""Settings: recipe < --config files < command line."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from steps import Refusal, settings_of

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.recipes import RECIPES, recipe
from ance_tele.runs.identity import recipe_of

CONFIGS = {
    "alpah: 0.5\n": ["c.yaml", "no setting 'alpah'", "did you mean 'alpha'?"],
    "alpha: half\n": ["c.yaml line 1: alpha is 'half'", "a number"],
    "data: x\n\nseeds: 1\n": ["c.yaml line 3: There is no setting 'seeds'", "did you mean 'seed'?"],
    "search_ef: 9\n": ["search_ef is 9", "was removed"],
    "alpha: null\n": ["alpha is None", "a number"],
    "alpha: 7\n": ["alpha is 7", "between 0 and 1"],
    "sources: 5\n": ["sources is 5", "a list"],
    "recipe: q-neg\n": ["'q-neg'", "not 'dpr'", "leave one of the two out"],
    "1: 2\n": ["c.yaml line 1", "no setting '1'"],
    "settings: 2\n": ["c.yaml line 1", "no setting 'settings'"],
    "- alpha\n": ["c.yaml holds no settings"],
    "": ["c.yaml holds no settings"],
    "alpha: [\n": ["c.yaml line 2 is not valid YAML (expected the node content"],
    "alpha: \x00\n": ["c.yaml is not valid YAML"],
    "alpha: \udcff\n": ["c.yaml is not UTF-8 (at byte 7)"],
}


@pytest.mark.parametrize("text", CONFIGS)
def test_a_slip_in_a_config_file_is_named(text: str, refusal: Refusal, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    sentence = refusal("run", "dpr", "--config", path, "--data", tmp_path, "--model", "m", "--out", tmp_path / "out")
    assert all(fragment in sentence for fragment in CONFIGS[text]), sentence


@pytest.mark.parametrize(
    ("recipe_line", "fragment"),
    [
        ("recipe: 5", "line 1: recipe is 5; it must be a text or null"),
        ("recipe: [dpr]", "recipe is ['dpr']; it must be a text"),
        ("recipe: dprr", "no recipe 'dprr'; did you mean 'dpr'?"),
    ],
)
def test_a_recipe_in_a_config_file_is_checked(
    recipe_line: str, fragment: str, refusal: Refusal, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(recipe_line)
    assert fragment in refusal("run", "--config", tmp_path / "c.yaml")


def test_a_config_file_that_cannot_be_read(refusal: Refusal, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        assert refusal("run", "dpr", "--config", path).startswith(f"{path} cannot be read (")


def test_the_command_line_wins_over_the_file_and_the_file_over_the_recipe(toy: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"learning_rate: 2e-4\ndepth: 17\nbeta: 0.25\ndata: {toy}\n")
    (tmp_path / "d.yaml").write_text("beta: 0.75\n")
    files = ["--config", str(tmp_path / "c.yaml"), f"--config={tmp_path / 'd.yaml'}"]
    out = tmp_path / "out"
    # --depth stands before --config, and the recipe after both.
    assert main(["run", "--depth", "5", *files, "--out", str(out), "bm25"]) == 0
    expected = {**recipe("bm25").settings(), "recipe": "bm25"}
    expected |= {"learning_rate": 2e-4, "depth": 5, "beta": 0.75}
    found = settings_of(out)
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()} == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_keeps_its_settings_wherever_its_name_stands(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text(f"recipe: {name}\n")
    (tmp_path / "d.yaml").write_text("alpha: 0\n")
    file, more = ["--config", str(tmp_path / "c.yaml")], [f"--config={tmp_path / 'd.yaml'}"]
    shown = []
    for argv in ([name], ["--lenient", "--data", "x", "--alpha=0", name], file, [*file, *more], [*file, name]):
        assert main(["run", "--print_config", *argv]) == 0
        shown.append({**yaml.safe_load(capsys.readouterr().out), "data": None, "lenient": None, "strict": True})
    assert shown[1] == shown[3] == {**shown[0], "alpha": 0.0} and shown[2] == shown[4] == shown[0]
    expected = recipe(name).settings()
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in shown[0].items()} == {
        **expected,
        **dict.fromkeys(("data", "model", "out", "lenient", "gpu", "review")),
        **{"review_as": "exclude", "review_doubtful": "keep", "review_irrelevant": "keep", "review_grades": ()},
        "beside": (),
        **{"engine": "local", "address": None, "processes": "auto", "nodes": 1},
        **dict.fromkeys(("plan", "official"), False),
        "recipe": name,
    }


def test_the_config_of_a_run_is_taken_back(lexical: Path, untrained: Path, toy: Path, tiny_model: Path) -> None:
    for done in (lexical, untrained):
        again = done.with_name(done.name + "-again")
        argv = ["run", "--config", str(done / "config.yaml"), f"--data={toy}", f"--out={again}"]
        assert main([*argv, *([f"--model={tiny_model}"] if done == untrained else [])]) == 0
        assert (again / "config.yaml").read_bytes() == (done / "config.yaml").read_bytes()
        assert json.loads((again / "run.json").read_text()) == json.loads((done / "run.json").read_text())
    assert settings_of(lexical)["learning_rate"] == 1e-4  # a number, though YAML 1.1 takes 1e-4 for a text
    kept = {name: settings_of(untrained)[name] for name in ("recipe", "query_prompt", "title_separator", "temperature")}
    assert kept == {"recipe": "zero-shot", "query_prompt": "query: ", "title_separator": "[SEP]", "temperature": None}


def test_what_is_printed_is_a_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["run", "ance", "--official", "--lenient", "--query_prompt", "q: ", "--first_sources", "null"]
    assert main([*argv, "--print_config"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["momentum"] == "all" and yaml.safe_load(text)["strict"] is False
    (tmp_path / "c.yaml").write_text(text)
    assert main(["run", "--config", str(tmp_path / "c.yaml"), "--print_config"]) == 0
    assert capsys.readouterr().out == text


def test_settings_that_are_gone_are_read_where_they_had_their_default(lexical: Path, toy: Path, tmp_path: Path) -> None:
    """Run folders made by former versions hold them; such a run goes on, and can be opened."""
    out = tmp_path / "run"
    shutil.copytree(lexical, out)
    with (out / "config.yaml").open("a") as file:
        file.write("negatives_cross_device: false\nsearch_ef: null\n")
    assert main(["run", "--config", str(out / "config.yaml"), "--data", str(toy), "--out", str(out)]) == 0
    assert recipe_of(out) == recipe_of(lexical)
    (out / "config.yaml").write_text("recipe: bm25\nnegatives_cross_device: true\n")
    with pytest.raises(UserError, match="negatives_cross_device is True, but this setting was removed"):
        recipe_of(out)
