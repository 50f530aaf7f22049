"""The configuration of a run: a recipe of frozen dataclasses, one per room."""

import math
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from typing import Annotated, Any, Literal, get_type_hints

from ance_tele.console.errors import UserError, unknown
from ance_tele.console.values import check
from ance_tele.data.hold_out import share_or_count
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.training.config import TrainingConfig
from ance_tele.training.schedule import Schedule
from ance_tele.training.teaching import TeachingConfig


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
        ensemble: Every episode trains one more encoder, from the pretrained weights; what is evaluated, mined with and
            saved is all of them, whose vectors are put one after the other (DrBoost). Give ``projection`` too.
        keep_vectors: Keep the corpus vectors of every checkpoint, not only the last one's.
        watch_lookahead: Search for neighbours of the positives in every episode, even if the recipe does not mine them:
            the report then shows how many of the next episode's negatives are among them.
        strict: Refuse a collection with inconsistent files, rather than leave out what is wrong.
        hold_out: Below 1 the share, from 1 on the number of training queries that become the split dev, where there is
            none; chosen by their texts, the same ones whatever the seed.
        expand_passages: File of terms (.tsv or .jsonl: an id and its terms a line; .txt: a line a passage) that BM25
            and encoders read after each passage, such as docT5query's; null for none.
        expand_queries: The same for queries, such as GAR's.
        seed: Of every draw.
    """

    episodes: Annotated[int, (0, 255)] = 3
    refresh_fraction: Annotated[float, (0, 1)] = 0.1
    refresh_step: Annotated[int | None, (1, 1 << 30)] = None
    restart: Literal["scratch", "continue"] = "scratch"
    long_episode: Literal["last", "first"] = "last"
    rate_schedule: Literal["episode", "run"] = "episode"
    later_rate: Annotated[float, (0, 10)] = 1.0
    max_train_queries: Annotated[int | None, (1, 1 << 30)] = None
    ensemble: bool = False
    keep_vectors: bool = False
    watch_lookahead: bool = True
    strict: bool = True
    hold_out: float | None = None
    expand_passages: str | None = None
    expand_queries: str | None = None
    seed: Annotated[int, (0, (1 << 32) - 1)] = 42

    def check(self) -> None:
        """Check what types and ranges of the fields do not."""
        if self.hold_out is not None:
            share_or_count(self.hold_out)
        if self.ensemble and self.restart != "scratch":
            raise UserError(
                f"restart is {self.restart}; the encoders of an ensemble begin anew: restart must be scratch, or "
                "ensemble false."
            )


@dataclass(frozen=True)
class Recipe:
    """All settings of a run; field names are unique over all parts.

    Attributes:
        name: As :func:`ance_tele.recipes.recipe` takes it; a comparison appends the settings of a system.
        episode: How many episodes, and how each starts and stops.
        mining: Where negatives come from and how they are mixed.
        training: Batches, loss, schedule.
        teaching: What is learned from a teacher.
        encoder: How texts become vectors.
        evaluation: What is measured, and on which queries.

    Example:
        >>> recipe = Recipe("mine").with_settings(alpha=0.3, batch_queries=16, epochs=2)
        >>> recipe.mining.alpha, recipe.settings()["beta"]
        (0.3, 0.5)
        >>> [recipe.schedule(episode, examples=1600).steps for episode in (1, 2, 3)]
        [20, 20, 200]
    """

    name: str
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    teaching: TeachingConfig = field(default_factory=TeachingConfig)
    encoder: EncoderConfig = field(default_factory=partial(EncoderConfig, query_max_len=32, passage_max_len=128))
    evaluation: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def lexical(self) -> bool:
        """Whether it is BM25 alone, without a model; also as "marco/bm25", or with settings after its name."""
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
            UserError: A setting does not exist, or cannot have that value.
        """
        owner = {setting.name: part for part in PARTS for setting in fields(getattr(self, part))}
        changed: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            if removed(name, value):
                continue
            if name not in owner:
                raise UserError(unknown("setting", name, owner))
            changed.setdefault(owner[name], {})[name] = tuple(value) if isinstance(value, list) else value
        recipe = replace(self, **{part: replace(getattr(self, part), **values) for part, values in changed.items()})
        recipe.check()
        return recipe

    def schedule(self, episode: int, examples: int) -> Schedule:
        """Return the steps of an episode and its place in the learning-rate schedule.

        A scratch episode has a schedule over all epochs and, unless it is the long one, stops at the refresh step
        (paper, Section 4). Episodes that continue resume the batches of the previous one.

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
                # A long first episode has its own schedule; the following ones share one.
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
        """Check all settings: types and ranges, then the checks of each room.

        Raises:
            UserError: States the value and what is allowed.
        """
        for name, value in self.settings().items():
            check(name, value, setting_kinds()[name])
        for part in (self.episode, self.mining, self.training, self.teaching, self.evaluation):
            part.check()
        self._check_sources()
        self._check_vectors()
        if self.lexical and self.episode.episodes:
            raise UserError(f"episodes is {self.episode.episodes}; recipe 'bm25' has no model to train: it must be 0.")

    def _check_vectors(self) -> None:
        """Check what passages with several vectors do not go together with."""
        if self.encoder.passage_vectors == 1:
            return
        for name, remedy in self.of_one_vector.items():
            raise UserError(
                f"passage_vectors is {self.encoder.passage_vectors}, and {name} {self.settings()[name]}, which "
                f"takes one vector a passage; set {name} to {remedy}, or passage_vectors to 1."
            )

    @property
    def of_one_vector(self) -> dict[str, str]:
        """Settings in effect that passages with several vectors do not go together with, each with what it must be."""
        others = {
            "ensemble": (self.episode.ensemble, "false"),
            "passage_loss": (self.training.passage_loss > 0, "0"),
            "search": (self.mining.search != "exact", "exact"),
        }
        return {name: remedy for name, (given, remedy) in others.items() if given}

    def _check_sources(self) -> None:
        """Check names of sources and filters; user-defined ones are imported when a run begins."""
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


PARTS = ("episode", "mining", "training", "teaching", "encoder", "evaluation")

# Removed settings, which config.yaml of older runs may contain, with their defaults.
_REMOVED = {"negatives_cross_device": False, "search_ef": None}


def removed(name: str, value: Any) -> bool:
    """Return whether a setting was removed and is to be ignored.

    Raises:
        UserError: It was removed, and has another value than its default.
    """
    if name in _REMOVED and value != _REMOVED[name]:
        raise UserError(f"{name} is {value}, but this setting was removed; take it out, or use an earlier version.")
    return name in _REMOVED


@cache
def setting_kinds() -> dict[str, Any]:
    """Return the annotated type of every setting, for :mod:`ance_tele.console.values`."""
    parts = get_type_hints(Recipe)
    return {name: kind for part in PARTS for name, kind in get_type_hints(parts[part], include_extras=True).items()}
