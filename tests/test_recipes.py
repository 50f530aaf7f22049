import dataclasses
import doctest
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
import yaml

from ance_tele import recipes
from ance_tele.console.errors import UserError, unknown
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.recipes import RECIPES, recipe
from ance_tele.settings import PARTS, EpisodeConfig, Recipe, setting_kinds
from ance_tele.training.config import TrainingConfig


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_had_by_name_says_what_it_is_and_works(name: str) -> None:
    made = recipe(name)
    assert made.name == name
    made.check()
    doc = RECIPES[name].__doc__ or ""
    assert doc and "\n" not in doc.strip() and doc.strip().endswith(".") and len(doc) < 120


@pytest.mark.parametrize("name", RECIPES)
def test_settings_and_back(name: str) -> None:
    made = recipe(name)
    again = Recipe(name).with_settings(**made.settings())
    assert again == made and again is not made
    # As a file brings them: tuples are lists there.
    assert Recipe(name).with_settings(**yaml.safe_load(yaml.safe_dump(_lists(made.settings())))) == made


def _lists(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def test_no_two_parts_share_the_name_of_a_setting() -> None:
    made = recipe("ance-tele")
    assert {field.name for field in fields(made)} == {"name", *PARTS}
    names = [setting.name for part in PARTS for setting in fields(getattr(made, part))]
    assert sorted(set(names)) == sorted(names)
    assert list(made.settings()) == names == list(setting_kinds())
    assert not set(names) & {"recipe", "data", "model", "out", "config", "lenient", "help", "verb"}  # the other flags


def test_every_setting_is_explained() -> None:
    for config in (EpisodeConfig, MiningConfig, TrainingConfig, EncoderConfig, EvaluateConfig):
        for setting in fields(config):
            assert f"\n        {setting.name}: " in (config.__doc__ or ""), f"{config.__name__}.{setting.name}"


def test_recipes_are_frozen() -> None:
    made = recipe("ance-tele")
    for part in (made, *(getattr(made, name) for name in PARTS)):
        assert is_dataclass(part)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


def test_a_setting_goes_to_its_part_and_nowhere_else() -> None:
    made = recipe("ance-tele")
    changed = made.with_settings(alpha=0.25, seed=7, sources=["bm25"], temperature=0.02)
    assert (changed.mining.alpha, changed.episode.seed, changed.training.temperature) == (0.25, 7, 0.02)
    assert changed.mining.sources == ("bm25",)
    assert made == recipe("ance-tele")
    given = {"alpha": 0.25, "seed": 7, "sources": ("bm25",), "temperature": 0.02}
    assert changed.settings() == {**made.settings(), **given}
    assert made.with_settings() == made


def test_the_recipes_differ_as_they_say() -> None:
    """What makes each of them what it is (design, section 4)."""
    settings = {name: recipe(name).settings() for name in RECIPES}
    tele = settings["ance-tele"]
    assert (tele["alpha"], tele["beta"], tele["depth"], tele["pool_per_source"]) == (0.5, 0.5, 200, 30)
    assert (tele["episodes"], tele["refresh_fraction"], tele["restart"], tele["seed"]) == (3, 0.1, "scratch", 42)
    assert tele["sources"] == ("query", "lookahead") and tele["first_sources"] is None
    assert tele["momentum"] == "weighted" and not tele["dedup"]

    def differs(name: str) -> dict[str, Any]:
        return {key: value for key, value in settings[name].items() if value != tele[key]}

    assert differs("ance-tele") == {}
    assert differs("zero-shot") == {"episodes": 0}
    assert differs("bm25") == {"episodes": 0, "baselines": ("bm25",)}
    assert differs("dpr") == {"episodes": 1, "sources": ("bm25",), "alpha": 0.0}
    assert differs("ance") == {
        "restart": "continue",
        "long_episode": "first",
        "rate_schedule": "run",
        "later_rate": 0.2,
        "sources": ("query",),
        "first_sources": ("bm25",),
        "alpha": 0.0,
    }
    assert differs("q-neg") == {"sources": ("query",), "alpha": 0.0}
    assert differs("q-neg+momentum") == {"sources": ("query",)}
    assert differs("q-neg+lookahead") == {"alpha": 0.0}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("q_neg", "q-neg"),
        ("ANCE-Tele", "ance-tele"),
        ("ance-tel", "ance-tele"),
        ("zeroshot", "zero-shot"),
        ("bm-25", "bm25"),
    ],
)
def test_an_unknown_recipe_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"no recipe '{name}'; did you mean '{near}'\?"):
        recipe(name)


@pytest.mark.parametrize("name", ["", "splade", 5, {}])
def test_a_recipe_near_to_nothing_names_them_all(name: Any) -> None:
    with pytest.raises(UserError) as caught:
        recipe(name)
    assert all(known in str(caught.value) for known in RECIPES)


@pytest.mark.parametrize(
    ("name", "near"), [("alpah", "alpha"), ("batch-queries", "batch_queries"), ("learning_rat", "learning_rate")]
)
def test_an_unknown_setting_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UserError, match=rf"no setting '{name}'; did you mean '{near}'\?"):
        recipe("ance-tele").with_settings(**{name: 1})


def test_a_long_list_is_not_read_out() -> None:
    with pytest.raises(UserError, match=r"no setting 'xyzzy'; ance-tele run --help names those there are\."):
        recipe("ance-tele").with_settings(xyzzy=1)
    assert unknown("colour", "xyzzy", ("red", "blue")) == "There is no colour 'xyzzy'; there are: red, blue."


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"alpha": 1.5}, ["alpha is 1.5", "between 0 and 1"]),
    ({"beta": -0.1}, ["beta is -0.1", "between 0 and 1"]),
    ({"alpha": float("nan")}, ["alpha is nan"]),
    ({"refresh_fraction": 2}, ["refresh_fraction is 2"]),
    ({"warmup_ratio": 10}, ["warmup_ratio is 10"]),
    ({"depth": 0}, ["depth is 0", "between 1 and 32767"]),
    ({"depth": 40000}, ["depth is 40000"]),
    ({"episodes": -1}, ["episodes is -1"]),
    ({"episodes": 256}, ["episodes is 256"]),
    ({"query_max_len": 2}, ["query_max_len is 2"]),
    ({"batch_queries": 0}, ["batch_queries is 0"]),
    ({"epochs": 0}, ["epochs is 0"]),
    ({"seed": -1}, ["seed is -1"]),
    ({"seed": 1 << 32}, ["seed is 4294967296"]),
    ({"max_train_queries": 0}, ["max_train_queries is 0"]),
    ({"refresh_step": 0}, ["refresh_step is 0"]),
    ({"save_steps": -5}, ["save_steps is -5"]),
    ({"shard_passages": 0}, ["shard_passages is 0"]),
    ({"encode_tokens": 0}, ["encode_tokens is 0"]),
    ({"grad_cache_tokens": 0}, ["grad_cache_tokens is 0"]),
    ({"learning_rate": -1e-5}, ["learning_rate is -1e-05"]),
    ({"weight_decay": -1}, ["weight_decay is -1"]),
    ({"temperature": 0}, ["temperature is 0", "above zero"]),
    ({"temperature": float("nan")}, ["temperature is nan", "above zero"]),
    ({"sources": ()}, ["sources is empty", "query, lookahead, bm25, random"]),
    ({"first_sources": []}, ["sources is empty"]),
    ({"sources": ["qurey"]}, ["'qurey'", "did you mean 'query'?"]),
    ({"first_sources": ["bm52"]}, ["'bm52'", "did you mean 'bm25'?"]),
    ({"baselines": ["zero_shut"]}, ["'zero_shut'", "did you mean 'zero-shot'?"]),
    # Of a wrong type: an error of the user's, not a TypeError from the depths.
    ({"alpha": "0.5"}, ["alpha is '0.5'", "a number"]),
    ({"alpha": None}, ["alpha is None", "a number"]),
    ({"alpha": True}, ["alpha is True", "a number"]),
    ({"depth": 100.0}, ["depth is 100.0", "a whole number"]),
    ({"refresh_step": "ten"}, ["refresh_step is 'ten'", "a whole number or null"]),
    ({"dedup": 1}, ["dedup is 1", "true or false"]),
    ({"dedup": "yes"}, ["dedup is 'yes'", "true or false"]),
    ({"momentum": "al"}, ["momentum is 'al'", "one of weighted, all"]),
    ({"restart": None}, ["restart is None", "one of scratch, continue"]),
    ({"pooling": "average"}, ["pooling is 'average'", "cls, mean, max, lasttoken or null"]),
    ({"sources": "query"}, ["sources is 'query'", "a list, such as '[one, two]'"]),
    ({"sources": [1]}, ["sources is [1]", "a list"]),
    ({"title_separator": None}, ["title_separator is None", "a text"]),
    ({"query_prompt": 5}, ["query_prompt is 5", "a text or null"]),
]


@pytest.mark.parametrize(("given", "fragments"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_cannot_work_is_refused_in_one_sentence(given: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        recipe("ance-tele").with_settings(**given)
    sentence = str(caught.value)
    assert all(fragment in sentence for fragment in fragments), sentence
    assert "\n" not in sentence and sentence[-1] in ".?"


@pytest.mark.parametrize(
    "given",
    [
        {"alpha": 0, "beta": 1, "refresh_fraction": 0},
        {"depth": 1, "pool_per_source": 32767, "negatives_per_query": 0},
        {"max_grad_norm": 0.0},
        {"seed": 0, "episodes": 0},
        {"refresh_step": 1, "max_train_queries": 1, "save_steps": 1},
        {"first_sources": ["random", "bm25"], "baselines": []},
        {"normalize": False, "pooling": "cls", "query_prompt": "", "temperature": 1},
    ],
)
def test_the_edges_of_what_works_are_accepted(given: dict[str, Any]) -> None:
    found = recipe("ance-tele").with_settings(**given).settings()
    assert {name: _lists(found)[name] for name in given} == given


def test_bm25_has_nothing_to_train() -> None:
    with pytest.raises(UserError, match=r"episodes is 2; recipe 'bm25' has no model to train"):
        recipe("bm25").with_settings(episodes=2)


def test_the_examples_of_the_docstrings() -> None:
    done = doctest.testmod(recipes)
    assert done.attempted and not done.failed
