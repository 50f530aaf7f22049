"""Named runs: plain functions that return a frozen recipe. A variant differs from another by a field or two."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from ance_tele.console.errors import UserError
from ance_tele.evaluate.config import EvaluateConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.settings import EpisodeConfig, Recipe, unknown


def ance_tele() -> Recipe:
    """ANCE-Tele: query, momentum and lookahead negatives, three episodes, each from the pretrained weights."""
    return Recipe("ance-tele")


def ance_tele_continue() -> Recipe:
    """ANCE-Tele that goes on from episode to episode, instead of from the pretrained weights (Table 8)."""
    return Recipe("ance-tele+continue", EpisodeConfig(restart="continue"))


def ance_tele_bm25() -> Recipe:
    """ANCE-Tele with BM25 negatives beside its own in the first episode (Table 8)."""
    return Recipe("ance-tele+bm25", mining=MiningConfig(first_sources=("query", "lookahead", "bm25")))


def ance_tele_overlap() -> Recipe:
    """ANCE-Tele without overlap: a passage that several sources name counts once (Table 8)."""
    return Recipe("ance-tele-overlap", mining=MiningConfig(dedup=True))


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
    """Query negatives and lookahead around the positives."""
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
    "marco": marco,
    "nq": nq,
    "triviaqa": triviaqa,
}

# Table 5. The encoders of the paper are plain BERT folders: first token, no normalisation, dot product.
_BERT = {"pooling": "cls", "normalize": False, "title_separator": "[SEP]", "query_max_len": 32, "learning_rate": 5e-6}
_OPENQA = {
    **_BERT,
    "passage_max_len": 156,
    "batch_queries": 128,
    "negatives_per_query": 11,
    "epochs": 40,
    "refresh_step": 2000,
    "pool_per_source": 80,
    "untie_encoders": True,
    "filter_answers": True,
}
SCALES = {
    "marco": {
        **_BERT,
        "passage_max_len": 128,
        "batch_queries": 8,
        "negatives_per_query": 31,
        "epochs": 3,
        "refresh_step": 20_000,
        "pool_per_source": 30,
        "split": "dev",
    },
    "nq": _OPENQA,
    "triviaqa": _OPENQA,
}
STARTS = {"marco": "Luyu/co-condenser-marco", "nq": "Luyu/co-condenser-wiki", "triviaqa": "Luyu/co-condenser-wiki"}
# Table 7: ANCE after its BM25 episode. later_rate makes 5e-6 the paper's 1e-6.
_ANCE = {"refresh_step": 10_000, "negatives_per_query": 7, "warmup_steps": 5000}
# What the authors' public code does otherwise than the paper's text.
OFFICIAL = {"momentum": "all", "mask_known_positives": False, "lookahead_positives": "first"}


def at_scale(recipe: Recipe, benchmark: str) -> Recipe:
    """Return a recipe at the paper's settings for "marco", "nq" or "triviaqa" (Table 5; for ANCE also Table 7)."""
    settings = SCALES[benchmark] | (_ANCE if recipe.name.startswith("ance+") or recipe.name == "ance" else {})
    name = benchmark if recipe.name == "ance-tele" else f"{benchmark}/{recipe.name}"
    return replace(recipe.with_settings(**settings), name=name)


def recipe(name: str) -> Recipe:
    """Return a recipe by name, such as "ance-tele" or, at the paper's settings for a benchmark, "marco/q-neg".

    Raises:
        UserError: There is none of that name; the sentence names the nearest one.
    """
    if isinstance(name, str) and name in RECIPES:
        return RECIPES[name]()
    benchmark, _, rest = str(name).partition("/")
    if benchmark in SCALES and rest in RECIPES and rest not in SCALES:
        return at_scale(RECIPES[rest](), benchmark)
    raise UserError(unknown("recipe", name, RECIPES))
