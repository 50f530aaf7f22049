"""The command line as a user meets it: what it says, and how it says no."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ance_tele import __version__
from ance_tele.cli.main import main
from ance_tele.cli.verbs import VERBS
from ance_tele.console.errors import UserError
from ance_tele.data.load import load_collection
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.recipes import RECIPES, recipe
from ance_tele.settings import EpisodeConfig, Recipe

COMMAND = [sys.executable, "-c", "import sys; from ance_tele.cli.main import main; sys.exit(main())"]
Refusal = Callable[..., str]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a command line that must fail; return its one sentence."""

    def run(*argv: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in argv]) == 2
        error = capsys.readouterr().err
        assert error.startswith("ance-tele: ") and error.endswith("\n")
        sentence = error.removeprefix("ance-tele: ").removesuffix("\n")
        assert sentence and "\n" not in sentence and "Traceback" not in sentence and sentence[-1] in ".?"
        return sentence

    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' own cache, for fixtures that live longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCE_TELE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def lexical(toy: Path, tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """A finished run of the recipe bm25."""
    out = tmp_path_factory.mktemp("runs") / "bm25"
    assert main(["run", "bm25", "--data", str(toy), "--out", str(out), "--learning_rate", "1e-4"]) == 0
    return out


@pytest.fixture(scope="module")
def untrained(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """A finished run of the recipe zero-shot."""
    out = tmp_path_factory.mktemp("runs") / "zero-shot"
    argv = ["run", "zero-shot", f"--data={toy}", f"--model={tiny_model}", f"--out={out}", "--baselines=[zero-shot]"]
    assert main([*argv, "--query_prompt", "query: ", "--title_separator", "[SEP]", "--passage_max_len", "16"]) == 0
    return out


def settings_of(out: Path) -> dict[str, Any]:
    found = yaml.safe_load((out / "config.yaml").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


# ---- help ----------------------------------------------------------------------------------------


def test_help_is_instant_and_needs_no_torch() -> None:
    code = (
        "import sys; from ance_tele.cli.main import main\ntry: main(['--help'])\n"
        "finally: print('heavy:', sorted({'torch', 'transformers', 'datasets'} & sys.modules.keys()))"
    )
    spent = []
    for _ in range(3):  # the best of three: others use this machine too
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        spent.append(time.perf_counter() - start)
        assert "heavy: []" in done.stdout and not done.stderr
        if spent[-1] < 1:
            break
    assert min(spent) < 1
    assert all(f"    {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith((f"usage: ance-tele {verb}", f"usage: ance-tele [options] {verb}"))


def test_the_help_of_run_shows_every_setting_with_the_recipes_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for argv in (["run", "--help"], ["run", "dpr", "--help"], ["run", "--data", "x", "dpr", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        shown.append(" ".join(capsys.readouterr().out.split()))
    assert all(f"--{name} " in shown[0] for name in recipe("ance-tele").settings())
    assert "0 turns momentum off. (type: float, default: 0.5)" in shown[0]
    assert "0 turns momentum off. (type: float, default: 0.0)" in shown[1]
    assert shown[2] == shown[1]


def test_alone_it_shows_its_help_and_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Train dense retrievers" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_recipes_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    for line, make in zip(lines, RECIPES.values(), strict=True):
        assert line.endswith((make.__doc__ or "").strip())


def test_data_checks_a_collection(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(toy)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].startswith("toy (fingerprint ")
    assert lines[1:] == [
        "passages 144 words: median 11, 5% under 11, 5% over 11, longest 11",
        "queries 144 words: median 3, 5% under 3, 5% over 3, longest 3",
        "texts no language recognised",
        "train 72 judged queries, 72 judgements, 1.00 relevant passages per query",
        "dev 24 judged queries, 24 judgements, 1.00 relevant passages per query",
        "test 48 judged queries, 48 judgements, 1.00 relevant passages per query",
        "problems none found",
    ]


# ---- names and values ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["rnu"], "There is no verb 'rnu'; did you mean 'run'?"),
        (["xyzzy"], f"There is no verb 'xyzzy'; there are: {', '.join(VERBS)}."),
        (["--dta", "x"], "There is no verb '--dta'; did you mean 'data'?"),
        (["run", "ance-tell"], "There is no recipe 'ance-tell'; did you mean 'ance-tele'?"),
        (["run", "q_neg"], "There is no recipe 'q_neg'; did you mean 'q-neg'?"),
        (["run", "--data", "x", "dprr"], "There is no recipe 'dprr'; did you mean 'dpr'?"),
        (["run", "dpr", "--alhpa", "0.1"], "There is no setting --alhpa; did you mean --alpha?"),
        (["run", "dpr", "--batch-query=4"], "There is no setting --batch_query; did you mean --batch_queries?"),
        (["run", "dpr", "--sources+=bm25"], "There is no setting --sources+; did you mean --sources?"),
        (["run", "dpr", "--xyzzy"], "There is no setting --xyzzy; see ance-tele run --help."),
        (["evaluate", "m", "--splitt", "dev"], "There is no setting --splitt; did you mean --split?"),
        (["data", "x", "--leniant"], "There is no setting --leniant; did you mean --lenient?"),
        (["demo", "--ful"], "There is no setting --ful; did you mean --full?"),
        (["run", "dpr", "--alpha", "half"], "alpha is 'half'; it must be a number."),
        (["run", "dpr", "--depth", "1.5"], "depth is '1.5'; it must be a whole number."),
        (["run", "dpr", "--refresh_step", "soon"], "refresh_step is 'soon'; it must be a whole number or null."),
        (["run", "dpr", "--dedup", "perhaps"], "dedup is 'perhaps'; it must be true or false."),
        (["run", "dpr", "--momentum", "some"], "momentum is 'some'; it must be one of weighted, all."),
        (["run", "dpr", "--sources", "bm25"], "sources is 'bm25'; it must be a list, such as '[bm25]'."),
        (["search", "x", "y", "-k", "many"], "k is 'many'; it must be a whole number."),
        (["run", "dpr", "extra"], "unrecognized arguments: extra; see ance-tele run --help."),
        (["run", "dpr", "--config"], "argument --config: expected one argument; see ance-tele run --help."),
        (["search", "x"], "the following arguments are required: words; see ance-tele search --help."),
        (["run"], f"Which recipe? There are: {', '.join(RECIPES)}."),
        (["run", "dpr"], "--data is missing: a folder (BEIR, MS MARCO,"),
        (["run", "dpr", "--data", "x"], "--out is missing: the run folder."),
        (
            ["run", "dpr", "--data", "x", "--out", "y"],
            "--model is missing: folder or hub name of the model to start from.",
        ),
        (["evaluate", "x"], "--data is missing: a folder (BEIR, MS MARCO,"),
        (
            ["run", "dpr", "--data", "x", "--out", "y", "--model", "z", "--alpha", "2"],
            "alpha is 2.0; it must lie between 0 and 1.",
        ),
        (
            ["run", "bm25", "--data", "x", "--out", "y", "--episodes", "1"],
            "episodes is 1; recipe 'bm25' has no model to train: it must be 0.",
        ),
        (
            ["run", "dpr", "--data", "x", "--out", "y", "--model", "z", "--sources", "[bm52]"],
            "There is no source of negatives 'bm52'; did you mean 'bm25'?",
        ),
        (["evaluate", "m", "--data", "x", "--shard_passages", "0"], "shard_passages is 0; it must lie between 1 and"),
        (["evaluate", "m", "--data", "x", "--run_file", "no/such/x"], "--run_file no/such/x cannot be written; it"),
        (["search", "x", "y", "-k", "0"], "k is 0; it must be at least 1."),
        (["search", "x", " "], "The query is empty; give some words to search for."),
    ],
)
def test_a_slip_of_the_pen_is_named(argv: list[str], sentence: str, refusal: Refusal) -> None:
    assert refusal(*argv).startswith(sentence)


CONFIGS = {
    "alpah: 0.5\n": ["c.yaml", "no setting 'alpah'", "did you mean 'alpha'?"],
    "alpha: half\n": ["alpha is 'half'", "a number"],
    "alpha: null\n": ["alpha is None", "a number"],
    "alpha: 7\n": ["alpha is 7", "between 0 and 1"],
    "sources: bm25\n": ["sources is 'bm25'", "a list"],
    "recipe: q-neg\n": ["'q-neg'", "not 'dpr'", "leave one of the two out"],
    "1: 2\n": ["c.yaml", "no setting '1'"],
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
    ("recipe_line", "fragment"), [("recipe: 5", "no recipe '5'"), ("recipe: [dpr]", "no recipe '['dpr']'")]
)
def test_a_recipe_in_a_config_file_is_checked(
    recipe_line: str, fragment: str, refusal: Refusal, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(recipe_line)
    assert fragment in refusal("run", "--config", tmp_path / "c.yaml")


def test_a_config_file_that_cannot_be_read(refusal: Refusal, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        assert refusal("run", "dpr", "--config", path).startswith(f"{path} cannot be read (")


# ---- settings: recipe < file < command line ------------------------------------------------------


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
        with pytest.raises(SystemExit):
            main(["run", "--print_config", *argv])
        shown.append({**yaml.safe_load(capsys.readouterr().out), "data": None, "lenient": None})
    assert shown[1] == shown[3] == {**shown[0], "alpha": 0.0} and shown[2] == shown[4] == shown[0]
    expected = recipe(name).settings()
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in shown[0].items()} == {
        **expected,
        **dict.fromkeys(("data", "model", "out", "lenient", "gpu", "review")),
        "review_as": "exclude",
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


# ---- data ----------------------------------------------------------------------------------------


def append(name: str, line: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text() + line + "\n")

    return change


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


# ---- models --------------------------------------------------------------------------------------


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


# ---- splits --------------------------------------------------------------------------------------


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


# ---- run folders ---------------------------------------------------------------------------------


def run_bm25(toy: Path, out: Path, *more: str) -> list[str]:
    return ["run", "bm25", f"--data={toy}", f"--out={out}", *more]


def test_a_run_folder_of_another_configuration_is_refused_and_stays_as_it_is(
    toy: Path, lexical: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal
) -> None:
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
    assert refusal(*run_bm25(toy, file / "below")).startswith(f"{file} is a file;")
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


def test_two_processes_in_one_run_folder(toy: Path, tmp_path: Path, refusal: Refusal) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        sentence = refusal(*run_bm25(toy, out))
        assert sentence == f"Another process is at work in {out}; wait for it, or give another --out."
        assert not (out / "run.json").exists()
    assert main(run_bm25(toy, out)) == 0  # a lock that nobody holds does not matter


def test_two_real_processes_on_the_same_data_and_folder(toy: Path, tmp_path: Path) -> None:
    """Either both finish one after the other, or the second is told to wait: never a traceback, never half a run."""
    environment = {**os.environ, "ANCE_TELE_CACHE": str(tmp_path / "cache")}
    argv = [*COMMAND, *run_bm25(toy, tmp_path / "out")]
    pair = [
        subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[1] for process in pair]
    assert sorted(process.returncode for process in pair) in ([0, 0], [0, 2])
    for process, error in zip(pair, told, strict=True):
        if process.returncode:
            assert error == (
                f"ance-tele: Another process is at work in {tmp_path / 'out'}; wait for it, or give another --out.\n"
            )
        else:
            assert error == ""
    assert (tmp_path / "out" / "report.md").exists()


# ---- search and report ---------------------------------------------------------------------------


def test_search_answers(untrained: Path, toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", str(untrained), "t3 u20", "-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[::2]] == ["1", "2", "3"]
    ids = {json.loads(line)["_id"] for line in (toy / "corpus.jsonl").read_text().splitlines()}
    assert all(line.split()[2] in ids for line in lines[::2])
    scores = [float(line.split()[1]) for line in lines[::2]]
    assert scores == sorted(scores, reverse=True)


def test_search_where_there_is_nothing_to_search(
    lexical: Path, untrained: Path, toy: Path, tmp_path: Path, refusal: Refusal
) -> None:
    assert refusal("search", tmp_path, "x").startswith(f"{tmp_path} is no run folder: it holds no run.json")
    assert "no run folder" in refusal("search", tmp_path / "nowhere", "x")
    (tmp_path / "run.json").write_text('{"name": "of another tool"}')
    assert "its run.json is of something else" in refusal("search", tmp_path, "x")
    (tmp_path / "run.json").write_text('{"name"')
    assert "is not valid JSON" in refusal("search", tmp_path, "x")
    assert "a run without a model (recipe 'bm25')" in refusal("search", lexical, "x")
    assert "is not a folder" in refusal("search", untrained, "x", "--data", tmp_path / "nowhere")
    other = tmp_path / "other"
    shutil.copytree(toy, other)
    append("corpus.jsonl", '{"_id": "new", "text": "new"}')(other)
    assert "is not the data that" in refusal("search", untrained, "x", "--data", other)


def test_a_moved_run_folder_finds_its_data_when_told_where(
    untrained: Path, toy: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal
) -> None:
    run = tmp_path / "a" / "b" / "run"
    shutil.copytree(untrained, run)
    assert str(toy.parent) not in (run / "run.json").read_text()  # paths are relative to the run folder
    assert "is not a folder" in refusal("search", run, "t3")
    identity = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**identity, "data": None, "model": os.path.relpath(tiny_model, run)}))
    assert refusal("search", run, "t3").endswith("does not say where its data lies; give that with --data.")
    assert main(["search", str(run), "t3", "--data", str(toy)]) == 0


def test_report_is_written_again(lexical: Path, tmp_path: Path, refusal: Refusal) -> None:
    report = lexical / "report.md"
    text = report.read_text()
    report.unlink()
    assert main(["report", str(lexical)]) == 0
    assert report.read_text() == text
    for nothing in (tmp_path, tmp_path / "nowhere", report):
        assert f"There is no summary.json in {nothing}" in refusal("report", nothing)


# ---- how fast it says no -------------------------------------------------------------------------


def test_no_refusal_waits_for_torch(toy: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    argvs = [
        ["run", "dpr", f"--data={toy}", "--out", out],
        ["run", "dpr", f"--data={toy}", "--out", out, "--model=m", "--alpha=2"],
        ["run", "bm25", f"--data={tmp_path}", "--out", out],
        ["evaluate", "m"],
        ["evaluate", "m", f"--data={tmp_path}"],
        ["search", str(tmp_path), "x"],
        ["report", str(tmp_path)],
        ["data", str(tmp_path)],
    ]
    code = (
        "import sys; from ance_tele.cli.main import main\n"
        f"print([main(argv) for argv in {argvs!r}], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{[2] * len(argvs)} False\n", done.stderr


# ---- how it ends ---------------------------------------------------------------------------------


def test_what_the_system_refuses_is_one_sentence(
    toy: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "file" / "cache"))
    assert refusal("data", toy).startswith("Not a directory (")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANCE_TELE_DEBUG", "1")
    with pytest.raises(ValueError, match="is not a folder"):
        main(["data", str(tmp_path / "nowhere")])


def test_interrupted_it_says_how_to_go_on(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ance_tele.data.load.load_collection", interrupt)
    assert main(["data", str(toy)]) == 130
    assert capsys.readouterr().err == "ance-tele: interrupted; the same command goes on where it was.\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen([*COMMAND, "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
