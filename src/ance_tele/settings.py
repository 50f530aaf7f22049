"""The configuration of a run: one frozen dataclass a room, gathered in a recipe, checked before anything starts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import partial
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ance_tele.console.errors import UserError
from ance_tele.data.hold_out import share_or_count
from ance_tele.data.languages import LANGUAGES
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.training.config import TrainingConfig
from ance_tele.training.schedule import Schedule


@dataclass(frozen=True)
class EpisodeConfig:
    """How many episodes, and how each starts and stops.

    Attributes:
        episodes: How many times to mine and train; 0 only evaluates.
        refresh_fraction: All episodes but the long one stop after this share of the steps of all epochs.
        refresh_step: The same in steps; wins where given.
        restart: Every episode starts from the pretrained weights ("scratch") or goes on ("continue").
        long_episode: Which episode runs to the end of its schedule: the "last", or the "first" (ANCE: all of DPR,
            then one refresh after another).
        rate_schedule: Every episode warms up again ("episode"), or those that go on share one schedule ("run").
        later_rate: Learning rate of episodes that go on, as a share of ``learning_rate``.
        max_train_queries: Train on this many queries, the same ones whatever the seed; None takes all.
        keep_vectors: Keep the corpus vectors of every checkpoint, not only the last one's.
        watch_lookahead: Search around the positives in every episode, also where the recipe does not mine there: the
            report then shows how many of the next episode's negatives were in sight.
        strict: Refuse a collection whose files do not add up, rather than leave out what does not.
        hold_out: Below 1 the share, from 1 on the number of training queries that become the split dev, where there is
            none; chosen by their texts, the same ones whatever the seed.
        seed: Of every draw.
    """

    episodes: int = 3
    refresh_fraction: float = 0.1
    refresh_step: int | None = None
    restart: Literal["scratch", "continue"] = "scratch"
    long_episode: Literal["last", "first"] = "last"
    rate_schedule: Literal["episode", "run"] = "episode"
    later_rate: float = 1.0
    max_train_queries: int | None = None
    keep_vectors: bool = False
    watch_lookahead: bool = True
    strict: bool = True
    hold_out: float | None = None
    seed: int = 42


@dataclass(frozen=True)
class Recipe:
    """A whole run, each room owning its part; no two parts share the name of a field."""

    name: str
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    encoder: EncoderConfig = field(default_factory=partial(EncoderConfig, query_max_len=32, passage_max_len=128))
    evaluation: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def lexical(self) -> bool:
        """BM25 alone, which has no model; also as "marco/bm25", or with settings after its name."""
        return self.name.partition(" ")[0].rpartition("/")[2] == "bm25"

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

    def schedule(self, episode: int, examples: int) -> Schedule:
        """Return the steps of an episode and its place in the learning-rate schedule.

        A scratch episode has a schedule over all epochs and, unless it is the long one, leaves it at the refresh step
        (paper, Section 4). Episodes that go on take the batches where the one before left off.

        Args:
            episode: Counted from 1.
            examples: Of an epoch: training queries or, with ``positives`` "all", pairs of query and positive.
        """
        config, training = self.episode, self.training
        whole = -(-examples // training.batch_queries) * training.epochs
        refresh = min(whole, max(1, config.refresh_step or round(config.refresh_fraction * whole)))
        long = config.episodes if config.long_episode == "last" else 1
        steps = {number: whole if number == long else refresh for number in range(1, config.episodes + 1)}
        total, begin, first_step, peak = whole, 0, 0, training.learning_rate
        if config.restart == "continue":
            first_step = sum(steps[number] for number in range(1, episode))
            if config.rate_schedule == "run":
                # A long first episode is a training of its own; what follows it shares one schedule.
                shared = range(2 if long == 1 and episode > 1 else 1, 2 if long == 1 == episode else len(steps) + 1)
                total = sum(steps[number] for number in shared)
                begin = sum(steps[number] for number in shared if number < episode)
            elif long == 1:
                total = steps[episode]
            peak *= config.later_rate if episode > 1 else 1
        warmup = training.warmup_steps
        warmup = math.ceil(training.warmup_ratio * total) if warmup is None else min(warmup, total)
        return Schedule(steps[episode], total, warmup, peak, begin, first_step)

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
            "query_max_len": (3, 1 << 20), "passage_max_len": (3, 1 << 20), "eval_depth": (10, 1 << 20),
            "learning_rate": (0, 10), "logging_steps": (1, 1 << 30), "encode_tokens": (1, 1 << 30),
            "chunk_tokens": (1, 1 << 30), "shard_passages": (1, 1 << 30), "grad_cache_tokens": (1, 1 << 30),
            "refresh_step": (1, 1 << 30), "save_steps": (1, 1 << 30), "max_train_queries": (1, 1 << 30),
            "seed": (0, (1 << 32) - 1), "warmup_steps": (0, 1 << 30), "later_rate": (0, 10),
            "relative_margin": (0, 1), "absolute_margin": (0, 1 << 30), "max_score": (-(1 << 30), 1 << 30),
            "search_probes": (1, 1 << 20), "search_ef": (1, 1 << 20),
            "relevance_level": (1, 1 << 30), "positive_level": (1, 1 << 30),
            "range_min": (0, 32766), "weight_decay": (0, 10), "max_grad_norm": (0, 1 << 30),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            if values[name] is not None and not low <= values[name] <= high:
                raise UserError(f"{name} is {values[name]}; it must lie between {low} and {high}.")
        if values["hold_out"] is not None:
            share_or_count(values["hold_out"])
        self._check_sources()
        if values["range_min"] >= values["depth"]:
            raise UserError(
                f"range_min is {values['range_min']}; it must be below depth ({values['depth']}), or nothing is left."
            )
        if values["cross_encoder"] is not None and not self.mining.needs_scores:
            raise UserError(
                f"cross_encoder is {values['cross_encoder']}, but there is nothing for its scores to decide; set "
                "relative_margin, absolute_margin or max_score too, or leave it out."
            )
        for name, kind in (("search_probes", "ivf"), ("search_ef", "hnsw")):
            if values[name] is not None and values["search"] != kind:
                raise UserError(
                    f"{name} is {values[name]}, but search is '{values['search']}'; set search to '{kind}', or leave "
                    f"{name} out."
                )
        for name in values["baselines"]:
            if name not in ("bm25", "zero-shot"):
                raise UserError(unknown("baseline", name, ("bm25", "zero-shot")))
        if values["language"] not in ("auto", "none", *LANGUAGES):
            raise UserError(
                f"language is '{values['language']}'; it must be auto, none, or one of {', '.join(LANGUAGES)}."
            )
        if values["temperature"] is not None and not values["temperature"] > 0:
            raise UserError(f"temperature is {values['temperature']}; it must be above zero.")
        if self.lexical and values["episodes"]:
            raise UserError(f"episodes is {values['episodes']}; recipe 'bm25' has no model to train: it must be 0.")

    def _check_sources(self) -> None:
        """Refuse sources and filters that cannot be; functions of the user's own are imported when a run begins."""
        from ance_tele.mining.sources import MINED  # needs numpy, which ``--help`` does without
        from ance_tele.store.plugins import is_plugin

        mining = self.mining
        for name, sources in (("sources", mining.sources), ("first_sources", mining.first_sources)):
            for source in sources or ():
                if source not in MINED and not is_plugin(source):
                    raise UserError(unknown("source of negatives", source, (*MINED, "module:function")))
            if len(set(sources or ())) < len(sources or ()):
                raise UserError(f"{name} names a source twice: {', '.join(sources or ())}.")
        if not mining.sources or mining.first_sources == ():
            raise UserError(f"sources is empty; name at least one of {', '.join(MINED)}.")
        for one in mining.filters:
            if not is_plugin(one):
                raise UserError(f"filters names '{one}'; a filter of your own is named module:function.")


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


def unknown(what: str, name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Say that there is no such thing, and name the nearest one that there is."""
    near = get_close_matches(str(name).lower().replace("_", "-"), [key.replace("_", "-") for key in known], 1, 0.5)
    original = {key.replace("_", "-"): key for key in known}
    every = f"there are: {', '.join(known)}." if len(known) < 20 else "ance-tele run --help names those there are."
    hint = f"did you mean '{original[near[0]]}'?" if near else every
    return f"There is no {what} '{name}'; {hint}"
