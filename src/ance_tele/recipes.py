"""Named runs: plain functions that return a frozen recipe. A variant differs from another by a field or two."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ance_tele.data.errors import UserError
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.training.config import TrainingConfig


@dataclass(frozen=True)
class EpisodeConfig:
    """How many episodes, and how each starts and stops.

    Attributes:
        episodes: How many times to mine and train; 0 only evaluates.
        refresh_fraction: All episodes but the last stop after this share of the scheduled steps.
        refresh_step: The same in steps; wins where given.
        restart: Every episode starts from the pretrained weights ("scratch") or goes on ("continue").
        max_train_queries: Train on this many queries, drawn by the seed; None takes all.
        keep_vectors: Keep the corpus vectors of every checkpoint, not only the last one's.
        strict: Refuse a collection whose files do not add up, rather than leave out what does not.
        seed: Of every draw.
    """

    episodes: int = 3
    refresh_fraction: float = 0.1
    refresh_step: int | None = None
    restart: Literal["scratch", "continue"] = "scratch"
    max_train_queries: int | None = None
    keep_vectors: bool = False
    strict: bool = True
    seed: int = 42


@dataclass(frozen=True)
class Recipe:
    """A whole run, each room owning its part; no two parts share the name of a field."""

    name: str
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    evaluation: EvaluateConfig = field(default_factory=EvaluateConfig)

    def settings(self) -> dict[str, Any]:
        """Return all settings as one flat dictionary, as on the command line and in ``config.yaml``."""
        return {
            setting.name: getattr(part, setting.name)
            for part in (getattr(self, name) for name in PARTS)
            for setting in fields(part)
        }

    def with_settings(self, **settings: Any) -> "Recipe":
        """Return a recipe with some settings changed.

        Raises:
            UserError: A setting does not exist; the sentence names the nearest one.
        """
        owner = {setting.name: part for part in PARTS for setting in fields(getattr(self, part))}
        changed: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            if name not in owner:
                raise UserError(unknown("setting", name, owner))
            changed.setdefault(owner[name], {})[name] = tuple(value) if isinstance(value, list) else value
        recipe = replace(self, **{part: replace(getattr(self, part), **values) for part, values in changed.items()})
        recipe.check()
        return recipe

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UserError: What was given and what is possible.
        """
        values = self.settings()
        for name, kind in setting_types().items():
            if not _fits(values[name], kind):
                raise UserError(f"{name} is {values[name]!r}; it must be {wanted(kind)}.")
        ranges = {
            "alpha": (0, 1), "beta": (0, 1), "refresh_fraction": (0, 1), "warmup_ratio": (0, 1),
            "depth": (1, 32767), "pool_per_source": (1, 32767), "batch_queries": (1, 1 << 20),
            "negatives_per_query": (0, 32767), "epochs": (1, 1 << 20), "episodes": (0, 255),
            "query_max_len": (3, 1 << 20), "passage_max_len": (3, 1 << 20), "eval_depth": (1, 1 << 20),
            "learning_rate": (0, 10), "logging_steps": (1, 1 << 30), "encode_tokens": (1, 1 << 30),
            "chunk_tokens": (1, 1 << 30), "shard_passages": (1, 1 << 30), "grad_cache_tokens": (1, 1 << 30),
            "refresh_step": (1, 1 << 30), "save_steps": (1, 1 << 30), "max_train_queries": (1, 1 << 30),
            "seed": (0, (1 << 32) - 1), "weight_decay": (0, 10), "max_grad_norm": (0, 1 << 30),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if values[name] is not None and not low <= values[name] <= high:
                raise UserError(f"{name} is {values[name]}; it must lie between {low} and {high}.")
        known = ("query", "lookahead", "bm25", "random")
        for name in ("sources", "first_sources"):
            for source in values[name] or ():
                if source not in known:
                    raise UserError(unknown("source of negatives", source, known))
            if len(set(values[name] or ())) < len(values[name] or ()):
                raise UserError(f"{name} names a source twice: {', '.join(values[name])}.")
        if not values["sources"] or values["first_sources"] == ():
            raise UserError("sources is empty; name at least one of query, lookahead, bm25, random.")
        for name in values["baselines"]:
            if name not in ("bm25", "zero-shot"):
                raise UserError(unknown("baseline", name, ("bm25", "zero-shot")))
        if values["temperature"] is not None and not values["temperature"] > 0:
            raise UserError(f"temperature is {values['temperature']}; it must be above zero.")
        if self.name == "bm25" and values["episodes"]:
            raise UserError(f"episodes is {values['episodes']}; recipe 'bm25' has no model to train: it must be 0.")


PARTS = ("episode", "mining", "training", "encoder", "evaluation")


def setting_types() -> dict[str, Any]:
    """Return the type of every setting, as its dataclass declares it."""
    parts = get_type_hints(Recipe)
    return {name: kind for part in PARTS for name, kind in get_type_hints(parts[part]).items()}


def _fits(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(isinstance(item, str) for item in value)
    if get_args(kind):
        return any(_fits(value, one) for one in get_args(kind))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def wanted(kind: Any) -> str:
    """Say in words what a setting of this type takes."""
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return "a list, such as '[bm25]'"
    if get_args(kind):
        return " or ".join(map(wanted, get_args(kind)))
    return {float: "a number", int: "a whole number", bool: "true or false", str: "a text", NoneType: "null"}[kind]


def ance_tele() -> Recipe:
    """ANCE-Tele: query, momentum and lookahead negatives, three episodes, each from the pretrained weights."""
    return Recipe("ance-tele")


def zero_shot() -> Recipe:
    """No training: the model as it is."""
    return Recipe("zero-shot", EpisodeConfig(episodes=0))


def bm25() -> Recipe:
    """No model: BM25 alone."""
    return Recipe("bm25", EpisodeConfig(episodes=0), evaluation=EvaluateConfig(baselines=("bm25",)))


def dpr() -> Recipe:
    """DPR: BM25 negatives, one episode."""
    return Recipe("dpr", EpisodeConfig(episodes=1), MiningConfig(sources=("bm25",), alpha=0.0))


def ance() -> Recipe:
    """ANCE: BM25 negatives first, then the model's own, going on from episode to episode."""
    episode = EpisodeConfig(restart="continue")
    return Recipe("ance", episode, MiningConfig(sources=("query",), first_sources=("bm25",), alpha=0.0))


def q_neg() -> Recipe:
    """Q-Neg: only the model's own query negatives."""
    return Recipe("q-neg", mining=MiningConfig(sources=("query",), alpha=0.0))


def q_neg_momentum() -> Recipe:
    """Query negatives and momentum from past episodes."""
    return Recipe("q-neg+momentum", mining=MiningConfig(sources=("query",)))


def q_neg_lookahead() -> Recipe:
    """Query negatives and lookahead around the positives."""
    return Recipe("q-neg+lookahead", mining=MiningConfig(alpha=0.0))


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    make().name: make for make in (ance_tele, zero_shot, bm25, dpr, ance, q_neg, q_neg_momentum, q_neg_lookahead)
}


def recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Raises:
        UserError: There is none of that name; the sentence names the nearest one.
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise UserError(unknown("recipe", name, RECIPES))
    return RECIPES[name]()


def unknown(what: str, name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Say that there is no such thing, and name the nearest one that there is."""
    near = get_close_matches(str(name).lower().replace("_", "-"), [key.replace("_", "-") for key in known], 1, 0.5)
    original = {key.replace("_", "-"): key for key in known}
    every = f"there are: {', '.join(known)}." if len(known) < 12 else "ance-tele run --help names those there are."
    hint = f"did you mean '{original[near[0]]}'?" if near else every
    return f"There is no {what} '{name}'; {hint}"
