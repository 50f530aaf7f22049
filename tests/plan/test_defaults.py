"""Defaults by what is at hand: their values, their reasons, who wins over them, and that a run goes on with its own."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ance_tele as at
from ance_tele.cli.main import main
from ance_tele.plan.defaults import KINDS, SETTINGS, Facts, defaults
from ance_tele.plan.facts import AtHand, ModelFiles, model_files, percentile, sampled, training_queries
from ance_tele.plan.suited import defaults_for, suited, written
from ance_tele.recipes import RECIPES, recipe
from ance_tele.settings import Recipe
from ance_tele.store.files import read_json

pytestmark = pytest.mark.usefixtures("undrawn")

SCIFACT = Facts(700, 5_183, 44, 571, "retriever", 384, 256, 256)
WIKI = Facts(15_012, 14_627, 26, 277, "encoder", 128)
DEBIAN = Facts(26_033, 30_016, 21, 202, "retriever", 384, 256, 256)
TOY = Facts(72, 144, 5, 13, "encoder", 32, 128, 128)
MARCO = Facts(502_939, 8_841_823, 17, 151, "encoder", 768)

# batch_queries, negatives_per_query, epochs, refresh_fraction, learning_rate, lengths, depth, pool_per_source
GOLDEN = [
    (SCIFACT, (8, 7, 3, 0.19, 4e-5, 48, 256, 200, 30)),
    (WIKI, (32, 7, 1, 0.11, 3e-4, 32, 256, 200, 30)),
    (DEBIAN, (32, 7, 1, 0.1, 4e-5, 32, 208, 200, 30)),
    (TOY, (8, 7, 5, 0.3, 1.2e-3, 32, 32, 24, 8)),
    (MARCO, (32, 7, 1, 0.1, 5e-5, 32, 160, 200, 30)),
]


@pytest.mark.parametrize(("facts", "values"), GOLDEN)
def test_what_is_at_hand_gives_these(facts: Facts, values: tuple[float, ...]) -> None:
    assert {name: one.value for name, one in defaults(facts).items()} == dict(zip(SETTINGS, values, strict=True))


def test_each_says_why() -> None:
    reasons = {name: one.reason for name, one in defaults(replace(SCIFACT, queries=3_200)).items()}
    assert reasons == {
        "batch_queries": "3,200 training queries give 100 steps an epoch",
        "negatives_per_query": "the other queries of a step lend 248 more passages to each",
        "epochs": "300 steps in all",
        "refresh_fraction": "every episode but the long one takes 51 steps",
        "learning_rate": "a model that retrieves already, width 384; smaller models take larger steps",
        "query_max_len": "99% of the queries have at most 44 tokens",
        "passage_max_len": "95% of the passages have at most 571 tokens, but the model reads no more",
        "depth": "the paper's",
        "pool_per_source": "the paper's for MS MARCO",
    }
    few = defaults(replace(TOY, queries=1, passage_most=None, passage_tokens=300))
    assert few["batch_queries"].reason == "1 training query gives 1 step an epoch"
    assert few["depth"].reason == "the least, of 144 passages: of fewer, too many may be relevant"
    assert few["pool_per_source"].reason == "a third of a list, from which positives drop out"
    assert "more would cost more than it gives" in few["passage_max_len"].reason


ANY = st.builds(
    Facts,
    queries=st.integers(0, 10**7),
    passages=st.integers(0, 10**8),
    query_tokens=st.integers(0, 10**5),
    passage_tokens=st.integers(0, 10**5),
    kind=st.sampled_from(sorted(KINDS)),
    width=st.sampled_from([0, 1, 32, 128, 384, 768, 1024, 4096, 8192]),
    query_most=st.none() | st.integers(3, 10**6),
    passage_most=st.none() | st.integers(3, 10**6),
)


@given(ANY)
def test_they_always_work_and_suit(facts: Facts) -> None:
    values = {name: one.value for name, one in defaults(facts).items()}
    assert tuple(values) == SETTINGS
    made = recipe("ance-tele").with_settings(**values)  # with_settings checks
    per_epoch = -(-facts.queries // made.training.batch_queries)
    assert per_epoch * made.training.epochs >= 250 or made.training.epochs == 5
    assert 3 * made.mining.pool_per_source <= made.mining.depth <= max(24, facts.passages // 10)
    encoder = made.encoder
    for length, most in ((encoder.query_max_len, facts.query_most), (encoder.passage_max_len, facts.passage_most)):
        assert length is None if facts.kind == "static" else 3 <= length <= min(256, most or 256)
    if facts.queries:
        short, long = (made.schedule(episode, facts.queries).steps for episode in (1, 3))
        assert min(long, 40) <= short <= long or short >= 0.3 * long - 1
    assert all(one.reason for one in defaults(facts).values())


@pytest.mark.parametrize(("passages", "depth"), [(2, 24), (99, 24), (249, 24), (259, 25), (1999, 199), (10**6, 200)])
def test_a_small_corpus_is_searched_deep_enough_to_hold_negatives(passages: int, depth: int) -> None:
    """A tenth of 12 passages is one, which a good model finds to be the relevant one."""
    found = defaults(Facts(queries=9, passages=passages, query_tokens=8, passage_tokens=8))["depth"]
    assert found.value == depth and found.reason.startswith("the least") == (passages < 250)


@given(ANY, st.integers(0, 10**6))
def test_more_of_one_thing_moves_them_one_way(facts: Facts, more: int) -> None:
    def values(**changed: Any) -> dict[str, Any]:
        return {name: one.value for name, one in defaults(replace(facts, **changed)).items()}

    before = values()
    assert values(queries=facts.queries + more)["batch_queries"] >= before["batch_queries"]
    assert values(passages=facts.passages + more)["depth"] >= before["depth"]
    if facts.kind != "static":
        assert values(passage_tokens=facts.passage_tokens + more)["passage_max_len"] >= before["passage_max_len"]
        assert values(query_tokens=facts.query_tokens + more)["query_max_len"] >= before["query_max_len"]
    if facts.width:
        assert values(width=facts.width + more)["learning_rate"] <= before["learning_rate"]


@given(ANY, st.sets(st.sampled_from(SETTINGS)))
def test_what_is_chosen_is_left_alone_and_the_rest_suits_it(facts: Facts, chosen: set[str]) -> None:
    taken = {"batch_queries": 5, "epochs": 2, "depth": 9, "learning_rate": 1e-3}
    own = {name: taken.get(name, 4) for name in chosen}
    found = defaults(facts, own)
    assert found.keys() == set(SETTINGS) - chosen
    if "depth" in chosen and "pool_per_source" not in chosen:
        assert found["pool_per_source"].value == 3
    if "batch_queries" in chosen and "epochs" not in chosen:
        assert found["epochs"].value == max(1, min(5, -(-250 // max(1, -(-facts.queries // 5)))))


# ---- what the files of a model say ---------------------------------------------------------------


def folder(path: Path, files: dict[str, Any]) -> ModelFiles:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return ModelFiles(model_files(path))


def modules(*types: str, paths: tuple[str, ...] = ()) -> list[dict[str, str]]:
    paths = paths or ("", *(f"{number}_{kind}" for number, kind in enumerate(types[1:], 1)))
    return [{"path": path, "type": f"sentence_transformers.x.{kind}"} for path, kind in zip(paths, types, strict=True)]


BERT = {"model_type": "bert", "hidden_size": 128, "max_position_embeddings": 512}
ROUTER = {"types": {"query_0_StaticEmbedding": "x.StaticEmbedding", "document_0_Transformer": "x.Transformer"}}
MODELS: dict[str, tuple[dict[str, Any], tuple[str, int, int | None]]] = {
    "plain": ({"config.json": BERT}, ("encoder", 128, 512)),
    "declares less": (
        {
            "modules.json": modules("Transformer", "Pooling"),
            "config.json": BERT,
            "sentence_bert_config.json": {"max_seq_length": 200},
        },
        ("retriever", 128, 200),
    ),
    "one length for each": (
        {
            "modules.json": modules("Transformer", "Pooling"),
            "config.json": BERT,
            "sentence_bert_config.json": {"query_length": 32, "document_length": 160, "max_seq_length": 160},
            "tokenizer_config.json": {"model_max_length": 96},
        },
        ("retriever", 128, 160),
    ),
    "as 6.2 saves it": (
        {
            "modules.json": modules("Transformer", "Pooling"),
            "config.json": BERT,
            "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
            "tokenizer_config.json": {"model_max_length": 96},
        },
        ("retriever", 128, 96),
    ),
    "in a folder of its own": (
        {
            "modules.json": modules("Transformer", "Pooling", paths=("0_Transformer", "1_Pooling")),
            "0_Transformer/config.json": {"dim": 64, "max_position_embeddings": 300},
        },
        ("retriever", 64, 300),
    ),
    "roberta": (
        {"config.json": {**BERT, "model_type": "xlm-roberta", "max_position_embeddings": 514}},
        ("encoder", 128, 512),
    ),
    "no limit": (
        {
            "config.json": {"d_model": 48, "max_position_embeddings": -1},
            "tokenizer_config.json": {"model_max_length": int(1e30)},
        },
        ("encoder", 48, None),
    ),
    "several kinds of input": ({"config.json": {"text_config": {"hidden_size": 96}}}, ("encoder", 96, None)),
    "static": ({"modules.json": modules("StaticEmbedding")}, ("static", 0, None)),
    "words": ({"modules.json": modules("WordEmbeddings", "Pooling")}, ("static", 0, None)),
    "router": (
        {"modules.json": modules("Router"), "router_config.json": ROUTER, "document_0_Transformer/config.json": BERT},
        ("retriever", 128, 512),
    ),
    "adapters": (
        {"modules.json": modules("Transformer", "Pooling"), "config.json": BERT, "adapter_config.json": {}},
        ("adapter", 128, 512),
    ),
    "broken": ({"config.json": "{", "modules.json": "["}, ("encoder", 0, None)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_known_by_its_small_files(name: str, tmp_path: Path) -> None:
    files, (kind, width, most) = MODELS[name]
    found = folder(tmp_path, files)
    assert (found.kind, found.width, found.most_tokens("document")) == (kind, width, most)


def test_a_model_that_nobody_finds_is_taken_as_bert_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for find in (model_files(None), model_files("nobody/nothing", download=False), model_files("nobody/nothing")):
        found = ModelFiles(find)
        assert (found.kind, found.width, found.most_tokens("query")) == ("encoder", 0, None)
        assert found.counter()(["abcdefg", "検索の質問"]) == [4, 6]
    rate = defaults(Facts(100, 100, 5, 5, width=0))["learning_rate"]
    assert rate.value == 5e-5 and "taken as BERT-base" in rate.reason


def test_tokens_are_counted_with_the_models_own_tokenizer(toy: Path, tiny_model: Path) -> None:
    collection = at.load_collection(toy)
    count = ModelFiles(model_files(tiny_model)).counter()
    assert count(["t1 w2", ""]) == [4, 2]
    every = sorted(
        length
        for titles, texts in collection.corpus.batches()
        for length in count([f"{t} {x}" for t, x in zip(titles, texts, strict=True)])
    )
    assert percentile(sampled(collection.corpus, count), 95) == every[-1 - len(every) // 20]
    facts = AtHand(collection, tiny_model).facts(recipe("ance-tele"))
    assert facts == TOY


def test_the_training_queries_are_those_that_a_run_takes(toy: Path) -> None:
    collection = at.load_collection(toy)
    assert training_queries(collection, recipe("ance-tele")) == 72
    assert training_queries(collection, recipe("ance-tele").with_settings(max_train_queries=9)) == 9
    assert training_queries(collection, recipe("ance-tele").with_settings(positive_level=2)) == 0


# ---- who wins ------------------------------------------------------------------------------------


def values_of(chosen: Recipe) -> dict[str, Any]:
    return {name: value for name, value in chosen.settings().items() if name in SETTINGS}


@pytest.fixture(scope="module")
def at_hand(toy: Path, tiny_model: Path) -> AtHand:
    return AtHand(at.load_collection(toy), tiny_model)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_keep_what_they_are(name: str, at_hand: AtHand) -> None:
    chosen = recipe(name)
    made = suited(chosen, at_hand)
    changed = {key for key, value in made.settings().items() if value != chosen.settings()[key]}
    if name in ("marco", "nq", "triviaqa", "bm25"):
        assert made == chosen
    elif name == "zero-shot":
        assert changed == {"passage_max_len"} and made.encoder.passage_max_len == 32
    else:
        own = {key: value for key, value in values_of(chosen).items() if value != values_of(Recipe(""))[key]}
        assert not own or name in ("rocketqa", "pair", "ar2", "rocketqav2", "drboost")
        expected = {**dict(zip(SETTINGS, GOLDEN[3][1], strict=True)), **own}
        assert changed <= set(SETTINGS) and values_of(made) == expected


def test_a_scale_of_the_paper_wins_and_so_does_the_user(at_hand: AtHand, toy: Path, tiny_model: Path) -> None:
    assert suited(recipe("marco/dpr"), at_hand) == recipe("marco/dpr")
    own = {"learning_rate": 1e-3, "depth": 9, "alpha": 0.2, "epochs": 3}  # epochs: the value that it has anyway
    made = at.recipe_for("q-neg", at_hand.collection, tiny_model, **own)
    assert {name: made.settings()[name] for name in own} == own
    assert made.mining.pool_per_source == 3 and made.training.batch_queries == 8
    assert "learning_rate" not in defaults_for(recipe("q-neg").with_settings(**own), at_hand, own)


def command(toy: Path, model: Path, out: Path, *more: str) -> list[str]:
    return [
        "run",
        "q-neg",
        f"--data={toy}",
        f"--model={model}",
        f"--out={out}",
        "--episodes=1",
        "--report_to=[none]",
        *more,
    ]


def printed_settings(text: str) -> list[str]:
    return [line.strip().partition(":")[0] for line in text.splitlines() if line.startswith("  ") and ": " in line]


def test_a_run_tells_its_defaults_and_goes_on_with_them(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    own = ("--learning_rate", "0.001", "--epochs=1")
    assert main([*command(toy, tiny_model, out, *own), "--plan"]) == 0
    plan = printed_settings(capsys.readouterr().out)
    assert main(command(toy, tiny_model, out, *own)) == 0
    shown = capsys.readouterr().out
    assert "  batch_queries 8: 72 training queries give 9 steps an epoch\n" in shown
    lines = printed_settings(shown)
    assert lines[:2] == ["batch_queries 8", "negatives_per_query 7"] and not any("epochs" in line for line in lines)
    assert [line for line in plan if line in lines] == lines
    config = yaml.safe_load((out / "config.yaml").read_text("utf-8"))
    assert {name: config[name] for name in SETTINGS} == {
        "batch_queries": 8, "negatives_per_query": 7, "epochs": 1, "refresh_fraction": 0.3, "learning_rate": 0.001,
        "query_max_len": 32, "passage_max_len": 32, "depth": 24, "pool_per_source": 8,
    }  # fmt: skip

    # A version with other rules goes on with those that the run was begun with; and so does its config file.
    settings = {**config, "batch_queries": 8}
    (out / "config.yaml").write_text(yaml.safe_dump(settings), "utf-8")
    assert main(command(toy, tiny_model, out, *own)) == 0
    again = capsys.readouterr().out
    assert "  batch_queries 8: as this run was begun\n" in again and "cached" in again
    assert (
        main(["run", f"--config={out / 'config.yaml'}", f"--data={toy}", f"--model={tiny_model}", f"--out={out}"]) == 0
    )
    assert "what is at hand" not in capsys.readouterr().out


def test_a_run_of_other_rules_is_not_refused(at_hand: AtHand, tmp_path: Path, logged: list[str]) -> None:
    old = recipe("q-neg").with_settings(batch_queries=5, passage_max_len=17).settings()
    (tmp_path / "config.yaml").write_text(
        yaml.safe_dump({"recipe": "q-neg", **{k: list(v) if isinstance(v, tuple) else v for k, v in old.items()}})
    )
    (tmp_path / "run.json").write_text("{}")
    made = suited(recipe("q-neg").with_settings(epochs=9), at_hand, ["epochs"], tmp_path)
    assert (made.training.batch_queries, made.encoder.passage_max_len, made.training.epochs) == (5, 17, 9)
    assert "  batch_queries 5: as this run was begun" in logged


def test_a_wrong_model_is_refused_before_anything_is_guessed_of_it(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    assert main(command(toy, tmp_path / "docs", tmp_path / "run")) == 2
    shown = capsys.readouterr()
    assert "by what is at hand" not in shown.out and "holds neither config.json nor modules.json" in shown.err
    assert not (tmp_path / "run").exists()


def test_a_comparison_takes_the_same(
    toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "grid"
    words = ["compare", "--recipes", "zero-shot", "q-neg", "q-neg batch_queries=24", "--episodes=1", "--epochs=1"]
    words += [f"--data={toy}", f"--model={tiny_model}", f"--out={out}", "--report_to=[none]"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.count("by what is at hand") == 1 and "  batch_queries 8: 72 training queries" in shown
    cells = {path.parent.parent.name: read_json(path)["settings"] for path in out.glob("cells/*/*/*/summary.json")}
    assert {name: (one["batch_queries"], one["depth"], one["epochs"]) for name, one in cells.items()} == {
        "zero-shot": (8, 200, 1), "q-neg": (8, 24, 1), "q-neg_batch_queries_24": (24, 24, 1),
    }  # fmt: skip
    assert {one["passage_max_len"] for one in cells.values()} == {32}
    assert main(words) == 0  # resumed
    assert "as this run was begun" in capsys.readouterr().out


def test_the_help_says_so_but_for_the_papers_scales(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for argv in (["run", "--help"], ["compare", "--help"], ["reproduce", "--help"], ["run", "marco", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        shown.append(" ".join(capsys.readouterr().out.split()).count("default: by what is at hand)"))
    assert shown == [len(SETTINGS)] * 3 + [0]


def test_the_rules_are_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text("utf-8")
    rules = text.partition("## Defaults by what is at hand")[2].partition("\n## ")[0]
    assert tuple(line.split("`")[1] for line in rules.splitlines() if line.startswith("| `")) == SETTINGS


def test_a_refresh_in_steps_needs_no_share() -> None:
    assert defaults(SCIFACT, {"refresh_step": 4}).keys() == set(SETTINGS) - {"refresh_fraction"}


def test_static_embeddings_read_texts_whole() -> None:
    found = defaults(replace(SCIFACT, kind="static", width=0))
    assert found["passage_max_len"].value is None and found["learning_rate"].value == 5e-3
    assert Recipe("").with_settings(**{name: one.value for name, one in found.items()})


def test_values_are_written_as_they_are_given() -> None:
    assert [written(value) for value in (32, 4e-5, 0.3, 1.2e-4, None)] == ["32", "4e-05", "0.3", "0.00012", "null"]


def test_choosing_needs_no_torch(toy: Path, tiny_model: Path) -> None:
    code = (
        "import sys, ance_tele as at\n"
        f"at.recipe_for('ance-tele', at.load_collection({str(toy)!r}), {str(tiny_model)!r})\n"
        "print(*({'torch', 'transformers', 'sentence_transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
