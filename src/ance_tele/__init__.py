"""Train dense retrievers with teleportation negatives, and see what they learned and forgot.

The public functions work alone, on objects that people already have::

    import ance_tele as at

    collection = at.collection_from_dicts(corpus, queries, qrels)    # or at.load_collection(folder)
    recipe = at.recipe_for("ance-tele", collection, "path/to/model")    # defaults by what is at hand
    summary = at.run(recipe, collection, "path/to/model", "runs/mine")
"""

import logging
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # nothing is printed unless somebody asks for the lines

if TYPE_CHECKING:
    from ance_tele.analysis.analyse import analyse as analyse
    from ance_tele.analysis.out_of_domain import evaluate_elsewhere as evaluate_elsewhere
    from ance_tele.analysis.suspect_texts import suspects_of as suspects_of
    from ance_tele.console.errors import UserError as UserError
    from ance_tele.data.answers import has_answer as has_answer
    from ance_tele.data.collection import Collection as Collection
    from ance_tele.data.collection import Qrels as Qrels
    from ance_tele.data.formats.write import write_beir as write_beir
    from ance_tele.data.load import collection_from_dicts as collection_from_dicts
    from ance_tele.data.load import load_collection as load_collection
    from ance_tele.data.review import Verdict as Verdict
    from ance_tele.data.review import read_review as read_review
    from ance_tele.data.review import write_review as write_review
    from ance_tele.encode.config import EncoderConfig as EncoderConfig
    from ance_tele.encode.loading import load_model as load_model
    from ance_tele.encode.loading import load_pair as load_pair
    from ance_tele.encode.vectors import encode_corpus as encode_corpus
    from ance_tele.episode import run as run
    from ance_tele.evaluate.config import EvaluateConfig as EvaluateConfig
    from ance_tele.evaluate.export import export_dpr as export_dpr
    from ance_tele.evaluate.metrics import measure as measure
    from ance_tele.evaluate.model import evaluate_model as evaluate_model
    from ance_tele.evaluate.run import Run as Run
    from ance_tele.evaluate.statistics import permutation_test as permutation_test
    from ance_tele.experiments.compare import compare_systems as compare_systems
    from ance_tele.experiments.grid import system as system
    from ance_tele.explorer.search import search_run as search_run
    from ance_tele.mining.candidates import CandidateLists as CandidateLists
    from ance_tele.mining.candidates import Candidates as Candidates
    from ance_tele.mining.config import MiningConfig as MiningConfig
    from ance_tele.mining.context import MiningContext as MiningContext
    from ance_tele.mining.declared import source as source
    from ance_tele.mining.export import export_pool as export_pool
    from ance_tele.mining.filters import filter_candidates as filter_candidates
    from ance_tele.mining.mine import mine as mine
    from ance_tele.mining.mix import mix as mix
    from ance_tele.plan.suited import recipe_for as recipe_for
    from ance_tele.recipes import recipe as recipe
    from ance_tele.search.topk import exact_topk as exact_topk
    from ance_tele.settings import Recipe as Recipe
    from ance_tele.training.config import TrainingConfig as TrainingConfig
    from ance_tele.training.trainer import train as train

# Where each public name lives; imported on first use, so that `import ance_tele` is instant.
_HOMES = {
    "CandidateLists": "mining.candidates",
    "Candidates": "mining.candidates",
    "Collection": "data.collection",
    "EncoderConfig": "encode.config",
    "EvaluateConfig": "evaluate.config",
    "MiningConfig": "mining.config",
    "MiningContext": "mining.context",
    "Qrels": "data.collection",
    "Recipe": "settings",
    "Run": "evaluate.run",
    "TrainingConfig": "training.config",
    "UserError": "console.errors",
    "analyse": "analysis.analyse",
    "Verdict": "data.review",
    "collection_from_dicts": "data.load",
    "compare_systems": "experiments.compare",
    "encode_corpus": "encode.vectors",
    "evaluate_elsewhere": "analysis.out_of_domain",
    "evaluate_model": "evaluate.model",
    "exact_topk": "search.topk",
    "export_dpr": "evaluate.export",
    "export_pool": "mining.export",
    "filter_candidates": "mining.filters",
    "has_answer": "data.answers",
    "load_collection": "data.load",
    "load_model": "encode.loading",
    "load_pair": "encode.loading",
    "measure": "evaluate.metrics",
    "mine": "mining.mine",
    "mix": "mining.mix",
    "permutation_test": "evaluate.statistics",
    "read_review": "data.review",
    "recipe": "recipes",
    "recipe_for": "plan.suited",
    "run": "episode",
    "search_run": "explorer.search",
    "source": "mining.declared",
    "suspects_of": "analysis.suspect_texts",
    "system": "experiments.grid",
    "train": "training.trainer",
    "write_beir": "data.formats.write",
    "write_review": "data.review",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ance_tele' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"ance_tele.{_HOMES[name]}"), name)
