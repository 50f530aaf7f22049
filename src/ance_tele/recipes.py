"""Named runs: plain functions that return a frozen recipe. A variant differs from another by a field or two."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ance_tele.console.errors import UserError, unknown
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.paper.settings import ANCE, SCALES
from ance_tele.settings import EpisodeConfig, Recipe
from ance_tele.store.plugins import failing_as, is_plugin, load_plugin
from ance_tele.training.teaching import TeachingConfig


def ance_tele() -> Recipe:
    """ANCE-Tele: query, momentum and lookahead negatives, three episodes, each from the pretrained weights."""
    return Recipe("ance-tele")


def ance_tele_continue() -> Recipe:
    """ANCE-Tele that goes on from episode to episode, instead of from the pretrained weights (Table 8)."""
    return Recipe("ance-tele+continue", EpisodeConfig(restart="continue"))


def ance_tele_bm25() -> Recipe:
    """ANCE-Tele with BM25 negatives next to its own in the first episode (Table 8)."""
    return Recipe("ance-tele+bm25", mining=MiningConfig(first_sources=("query", "lookahead", "bm25")))


def ance_tele_overlap() -> Recipe:
    """ANCE-Tele without overlap: a passage that several sources name counts once (Table 8)."""
    return Recipe("ance-tele-overlap", mining=MiningConfig(dedup=True))


def ance_tele_teacher() -> Recipe:
    """ANCE-Tele that also learns from a cross-encoder's ranking of each query's list (--teacher)."""
    return Recipe("ance-tele+teacher", teaching=TeachingConfig(distillation="kl"))


def rocketqa() -> Recipe:
    """RocketQA: random negatives, then its own, denoised and augmented by a cross-encoder (--teacher)."""
    # Steps 1, 3 and 4 of the paper; step 2 trains the teacher. In-batch negatives span all processes in any case.
    return Recipe(
        "rocketqa",
        EpisodeConfig(episodes=2, refresh_fraction=1.0),
        MiningConfig(sources=("query",), first_sources=("random",), alpha=0.0),
        teaching=TeachingConfig(teacher_negatives=0.1, teacher_positives=0.9),
        encoder=EncoderConfig(query_max_len=32, passage_max_len=128, untie_encoders=True),
    )


def pair() -> Recipe:
    """PAIR: as RocketQA with one encoder, and first with passages nearer to their query than to others."""
    made = rocketqa()
    training = replace(made.training, passage_loss=0.1)
    encoder = replace(made.encoder, untie_encoders=False)
    episode = replace(made.episode, restart="continue")
    return replace(made, name="pair", episode=episode, training=training, encoder=encoder)


def ar2() -> Recipe:
    """AR2: retriever and cross-encoder (--teacher) as adversaries, which learn in turn from new negatives."""
    return Recipe(
        "ar2",
        EpisodeConfig(episodes=4, restart="continue", refresh_fraction=1.0, rate_schedule="run"),
        MiningConfig(sources=("query",), alpha=0.0),
        teaching=TeachingConfig(
            distillation="kl",
            distillation_weight=1.0,
            adversarial=0.5,
            teacher_updates="contrastive",
            teacher_learning_rate=1e-6,
        ),
    )


def rocketqav2() -> Recipe:
    """RocketQAv2: retriever and cross-encoder (--teacher) learn in turn, each from the other's ranking."""
    teaching = TeachingConfig(distillation="kl", distillation_weight=1.0, teacher_updates="mutual")
    return Recipe(
        "rocketqav2",
        EpisodeConfig(episodes=2, restart="continue", refresh_fraction=1.0, rate_schedule="run"),
        MiningConfig(sources=("query",), alpha=0.0),
        teaching=teaching,
    )


def me_bert() -> Recipe:
    """ME-BERT: four vectors a passage, scored by the nearest to the query's; BM25 and random negatives, one episode."""
    return Recipe(
        "me-bert",
        EpisodeConfig(episodes=1),
        MiningConfig(sources=("bm25", "random"), alpha=0.0),
        encoder=EncoderConfig(query_max_len=32, passage_max_len=128, passage_vectors=4),
    )


def drboost() -> Recipe:
    """DrBoost: small encoders, each trained on what all before it rank wrongly; their vectors one after the other."""
    return Recipe(
        "drboost",
        EpisodeConfig(episodes=5, refresh_fraction=1.0, ensemble=True),
        MiningConfig(sources=("query",), first_sources=("bm25",), alpha=0.0),
        encoder=EncoderConfig(query_max_len=32, passage_max_len=128, projection=32),
    )


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
    """ANCE: all of DPR first, then the model's own negatives; it goes on under one learning-rate schedule (Table 7)."""
    # Table 7 against Table 5: the episodes after DPR learn at a fifth of the rate.
    episode = EpisodeConfig(restart="continue", long_episode="first", rate_schedule="run", later_rate=0.2)
    return Recipe("ance", episode, MiningConfig(sources=("query",), first_sources=("bm25",), alpha=0.0))


def ance_cyclic_lr() -> Recipe:
    """ANCE with a cyclical learning rate: each episode warms up again."""
    made = ance()
    return replace(made, name="ance+cyclic-lr", episode=replace(made.episode, rate_schedule="episode"))


def q_neg() -> Recipe:
    """Q-Neg: only the model's own query negatives."""
    return Recipe("q-neg", mining=MiningConfig(sources=("query",), alpha=0.0))


def q_neg_momentum() -> Recipe:
    """Query negatives and momentum from past episodes."""
    return Recipe("q-neg+momentum", mining=MiningConfig(sources=("query",)))


def q_neg_lookahead() -> Recipe:
    """Query negatives and lookahead: neighbours of the positives."""
    return Recipe("q-neg+lookahead", mining=MiningConfig(alpha=0.0))


def marco() -> Recipe:
    """ANCE-Tele at the paper's settings for MS MARCO (Table 5); marco/q-neg and so on: another recipe at these."""
    return at_scale(ance_tele(), "marco")


def nq() -> Recipe:
    """ANCE-Tele at the paper's settings for Natural Questions (Table 5); nq/dpr and so on: another recipe."""
    return at_scale(ance_tele(), "nq")


def triviaqa() -> Recipe:
    """ANCE-Tele at the paper's settings for TriviaQA (Table 5); triviaqa/dpr and so on: another recipe."""
    return at_scale(ance_tele(), "triviaqa")


RECIPES: Mapping[str, Callable[[], Recipe]] = {
    "ance-tele": ance_tele,
    "q-neg": q_neg,
    "q-neg+momentum": q_neg_momentum,
    "q-neg+lookahead": q_neg_lookahead,
    "ance": ance,
    "ance+cyclic-lr": ance_cyclic_lr,
    "dpr": dpr,
    "zero-shot": zero_shot,
    "bm25": bm25,
    "ance-tele+continue": ance_tele_continue,
    "ance-tele+bm25": ance_tele_bm25,
    "ance-tele-overlap": ance_tele_overlap,
    "ance-tele+teacher": ance_tele_teacher,
    "rocketqa": rocketqa,
    "pair": pair,
    "ar2": ar2,
    "rocketqav2": rocketqav2,
    "me-bert": me_bert,
    "drboost": drboost,
    "marco": marco,
    "nq": nq,
    "triviaqa": triviaqa,
}


def at_scale(recipe: Recipe, benchmark: str) -> Recipe:
    """Return a recipe at the paper's settings for "marco", "nq" or "triviaqa" (Table 5; for ANCE also Table 7)."""
    ance = ANCE if recipe.name.startswith("ance+") or recipe.name == "ance" else {}
    name = benchmark if recipe.name == "ance-tele" else f"{benchmark}/{recipe.name}"
    return replace(recipe.with_settings(**{**SCALES[benchmark], **ance}), name=name)


def recipe(name: str) -> Recipe:
    """Return a recipe by name.

    Args:
        name: One of :data:`RECIPES`; "my_module:my_recipe", a function of yours that takes nothing and returns a
            recipe; either of them at the paper's settings for a benchmark, such as "marco/q-neg".

    Raises:
        UserError: There is none of that name (the sentence names the nearest one), or your function fails.

    Example:
        >>> recipe("ance-tele").with_settings(alpha=0.3).mining.alpha
        0.3
    """
    name = str(name)  # YAML may hold something else
    if name in RECIPES:
        return RECIPES[name]()
    benchmark, _, rest = name.partition("/")
    if benchmark in SCALES and rest not in SCALES and (rest in RECIPES or is_plugin(rest)):
        return at_scale(recipe(rest), benchmark)
    if is_plugin(name):
        return _of_user(name)
    raise UserError(unknown("recipe", name, RECIPES))


def _of_user(reference: str) -> Recipe:
    """Return the recipe of a user's function, named by its reference."""
    make = load_plugin(reference, "recipe")
    with failing_as("recipe", reference):
        made = make()
    if not isinstance(made, Recipe):
        raise UserError(f"'{reference}' returned {type(made).__name__}; a recipe function returns a Recipe.")
    made.check()
    return replace(made, name=reference)
