"""Verbs, flags and their values: every slip is named in one sentence."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps import Refusal

from ance_tele.cli.flags import parse
from ance_tele.cli.main import main
from ance_tele.cli.synonyms import SYNONYMS
from ance_tele.cli.verbs import VERBS
from ance_tele.console.errors import UserError
from ance_tele.console.values import check, read
from ance_tele.experiments.grid import system
from ance_tele.recipes import RECIPES
from ance_tele.settings import setting_kinds


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["rnu"], "There is no verb 'rnu'; did you mean 'run'?"),
        (["xyzzy"], f"There is no verb 'xyzzy'; there are: {', '.join(VERBS)}."),
        (["--verion"], "There is no flag '--verion'; did you mean '--version'?"),
        (["--hlp"], "There is no flag '--hlp'; did you mean '--help'?"),
        (["help", "rnu"], "There is no verb 'rnu'; did you mean 'run'?"),
        (["run", "dpr", "--num_train_epochs=3"], "There is no setting --num_train_epochs; did you mean --epochs?"),
        (
            ["run", "dpr", "--max-seq-length", "9"],
            "There is no setting --max_seq_length; did you mean --query_max_len or --passage_max_len?",
        ),
        (["pretrain", "--lr", "1"], "There is no setting --lr; did you mean --learning_rate?"),
        (["run", "dpr", "--fp16"], "There is no setting --fp16; did you mean --precision or --train_precision?"),
        (["run", "dpr", "--device", "cpu"], "There is no setting --device; see ance-tele run --help."),
        (["run", "dpr", "--metric", "x"], "There is no setting --metric; see ance-tele run --help."),
        (["run", "dpr", "--output_dir", "x"], "There is no setting --output_dir; did you mean --out?"),
        (["search", "x", "y", "--top_k", "3"], "There is no setting --top_k; did you mean -k?"),
        (["search", "x", "y", "-n", "3"], "There is no setting -n; did you mean -k?"),
        (["retrieve", "x", "--topk", "3"], "There is no setting --topk; did you mean --depth?"),
        (["data", "from-folder", "x", "--make", "questions"], "make is 'questions'; it must be one of "),
        (["--dta", "x"], "There is no verb '--dta'; did you mean 'data'?"),
        (["run", "ance-tell"], "There is no recipe 'ance-tell'; did you mean 'ance-tele'?"),
        (["run", "q_neg"], "There is no recipe 'q_neg'; did you mean 'q-neg'?"),
        (["run", "--data", "x", "dprr"], "There is no recipe 'dprr'; did you mean 'dpr'?"),
        (["run", "dpr", "--alhpa", "0.1"], "There is no setting --alhpa; did you mean --alpha?"),
        (["run", "dpr", "--batch-query=4"], "There is no setting --batch_query; did you mean --batch_queries?"),
        (["run", "dpr", "--sources+=bm25"], "There is no setting --sources+; did you mean --sources?"),
        (["search", "x", "y", "--k", "3"], "There is no setting --k; did you mean -k?"),
        (["run", "dpr", "--xyzzy"], "There is no setting --xyzzy; see ance-tele run --help."),
        (["evaluate", "m", "--splitt", "dev"], "There is no setting --splitt; did you mean --split?"),
        (["data", "x", "--leniant"], "There is no setting --leniant; did you mean --lenient?"),
        (["demo", "--modle", "m"], "There is no setting --modle; did you mean --model?"),
        (["run", "dpr", "--momentum", "all"], "--momentum is no flag: --official sets it, or a line in a --config"),
        (["run", "dpr", "--alpha", "half"], "alpha is 'half'; it must be a number."),
        (["run", "dpr", "--depth", "1.5"], "depth is '1.5'; it must be a whole number."),
        (["run", "dpr", "--refresh_step", "soon"], "refresh_step is 'soon'; it must be a whole number or null."),
        (["run", "dpr", "--dedup", "perhaps"], "dedup is 'perhaps'; it must be true or false."),
        (["run", "dpr", "--restart", "some"], "restart is 'some'; it must be one of scratch, continue."),
        (["run", "dpr", "--search", "hnsw"], "search is 'hnsw'; it must be one of exact, ivf."),
        (["run", "dpr", "--temperature", "nan"], "temperature is nan; it must be above zero."),
        (
            ["run", "dpr", "--data", "x", "--model"],
            "argument --model: expected one argument; see ance-tele",
        ),
        (["compare", "--recipes", "dpr", "--seeds", "1", "x"], "seeds is [1, 'x']; it must be numbers such as"),
        (["run", "dpr", "--review_as", "keep"], "review_as is 'keep'; it must be one of exclude, positives."),
        (["serve", "x", "--port", "http"], "port is 'http'; it must be a whole number."),
        (
            ["run", "dpr", "--sources", "bm25,query"],
            "sources is 'bm25,query'; it must be a list, such as '[one, two]'.",
        ),
        (["run", "dpr", "--report_to", "[none"], "report_to is '[none'; it must be a list, such as"),
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


ARGUMENTS = [(name, flag.name) for name, verb in VERBS.items() for flag in verb.flags if not flag.name.startswith("-")]


@pytest.mark.parametrize(("verb", "name"), ARGUMENTS)
@pytest.mark.parametrize("words", [("{}", "x"), ("{}=x",)])
def test_an_argument_takes_no_dashes(verb: str, name: str, words: tuple[str, ...], refusal: Refusal) -> None:
    sentence = refusal(verb, *(word.format(f"--{name}") for word in words))
    assert sentence == f"{name} is given without dashes: ance-tele {verb} {VERBS[verb].usage}."
    nearly = refusal(verb, f"--{name}q", "x")
    assert nearly.startswith(f"There is no setting --{name}q;") and f"--{name}?" not in nearly


def settings_of(*words: str) -> dict[str, Any]:
    return parse("run", VERBS["run"], words).settings


def test_only_what_is_given_is_among_the_settings() -> None:
    assert settings_of() == settings_of("dpr", "--data", "x", "--lenient") == {}
    found = settings_of("dpr", "--query-max-len=16", "--query_prompt", "a-b: ", "--max_score", "-1")
    assert found == {"query_max_len": 16, "query_prompt": "a-b: ", "max_score": -1.0}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--alpha=1", 1.0),
        ("--learning-rate=1e-4", 1e-4),
        ("--sources=[query, given]", ("query", "given")),
        ("--sources=['bm25']", ("bm25",)),
        ("--baselines=[]", ()),
        ("--sources=query", ("query",)),
        ("--report_to=none", ("none",)),
        ("--first_sources=my_sources:near", ("my_sources:near",)),
        ("--first_sources=null", None),
        ("--refresh_step=null", None),
        ("--dedup=TRUE", True),
        ("--dedup=false", False),
        ("--normalize=null", None),
        ("--title_separator= ", " "),
        ("--query_prompt=", ""),
        ("--split=null", "null"),
        ("--query_prompt=x=y", "x=y"),
    ],
)
def test_values(word: str, value: Any) -> None:
    (found,) = settings_of(word).values()
    assert found == value and type(found) is type(value)


@given(st.sampled_from(sorted(setting_kinds())), st.text(max_size=12))
def test_any_word_is_a_value_or_refused_in_one_sentence(name: str, word: str) -> None:
    kind = setting_kinds()[name]
    try:
        value = read(word, kind)
        check(name, value, kind)
    except UserError as error:
        assert str(error).startswith(f"{name} is ") and str(error).endswith(".")
    else:
        assert read(value, kind) == value


def test_a_system_of_a_comparison_reads_values_as_the_command_line_does() -> None:
    assert system("ance-tele sources=query").mining.sources == ("query",)
    made = system("ance-tele sources=[query,bm25] alpha=1 learning_rate=1e-4 momentum=all temperature=null")
    assert (made.mining.sources, made.mining.momentum) == (("query", "bm25"), "all")
    assert (made.mining.alpha, made.training.learning_rate, made.training.temperature) == (1.0, 1e-4, None)
    with pytest.raises(UserError, match="alpha is 'half'; it must be a number"):
        system("ance-tele alpha=half")


def test_other_programs_names_stand_for_flags_there_are() -> None:
    ours = {flag.key for verb in VERBS.values() for flag in verb.flags}
    assert {key for keys in SYNONYMS.values() for key in keys} <= ours
    # a name that all verbs with its meaning know themselves needs no synonym
    assert not {name for name in SYNONYMS if len(name) > 1} & setting_kinds().keys()


def test_null_is_no_word_of_a_flag(refusal: Refusal) -> None:
    make = refusal("data", "from-folder", "x", "--make", "questions")
    assert make.startswith("make is 'questions'; it must be one of ") and "null" not in make
    assert "or null" in refusal("run", "dpr", "--refresh_step", "soon")  # a setting, which null unsets


def test_words_of_a_query_need_no_quotes() -> None:
    given = parse("search", VERBS["search"], ["runs/x", "how", "do", "I", "-k", "3"])
    assert given.words == ("how", "do", "I") and (given.run, given.k) == ("runs/x", 3)
    assert parse("search", VERBS["search"], ["runs/x", "how do I"]).words == ("how do I",)


@pytest.mark.parametrize("words", [["help"], ["help", "search"]])
def test_help_is_a_word(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"usage: ance-tele {words[1] if words[1:] else 'VERB'} ")
