"""Changes of the training queries by an episode: learned, forgotten, new negatives."""

from dataclasses import asdict, replace

import numpy as np

from ance_tele.mining.candidates import CandidateLists
from ance_tele.mining.storage import read_lists
from ance_tele.runs.folder import Episode, RunFolder
from ance_tele.runs.learning import change, forgotten, new_share, read_reciprocal_ranks
from ance_tele.runs.training_set import TrainingSet
from ance_tele.store.artefacts import cached, writing
from ance_tele.store.files import write_json
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import Manifest, read_manifest


def look_back(training: TrainingSet, episode: Episode) -> Manifest:
    """Compare an episode with the previous ones; needs the lists of its checkpoint.

    Returns:
        The manifest; its facts hold the shares of learned, forgotten and unchanged queries, the share of new negatives
        and the mean reciprocal rank of the training queries.
    """
    config, folder, last = episode.recipe.mining, episode.folder, episode.number
    path = episode.path / "dynamics.json"
    searched = [read_manifest(folder.checkpoint(number) / "training_lists") for number in range(last + 1)]
    inputs = {
        "lists": [fingerprint(manifest.inputs) for manifest in searched if manifest is not None],
        "mined": [config.main_source(number) for number in range(1, last + 1)],
    }
    if found := cached(path, inputs):
        return found
    with writing(path, "dynamics", inputs) as made:
        ranks = _ranks(folder, last)
        *earlier, current = (_mined(training, replace(episode, number=number)) for number in range(1, last + 1))
        made.facts = {
            **asdict(change(*ranks)),
            "new_negatives": new_share(current, earlier, training.positives),
            "training_mrr": float(ranks[1].mean()),
        }
        write_json(made.target, made.facts)
    return made.manifest


def forgotten_queries(episode: Episode) -> np.ndarray:
    """Return which training queries the episode before has forgotten, bool [q]; only the first one has none before.

    These are the queries that its forgetting rate counts; searching with its checkpoint has shown them.
    """
    return forgotten(*_ranks(episode.folder, episode.number - 1))


def _ranks(folder: RunFolder, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the reciprocal ranks of the training queries before and after an episode."""
    before, after = (folder.checkpoint(one) / "per_training_query.parquet" for one in (number - 1, number))
    return read_reciprocal_ranks(before), read_reciprocal_ranks(after)


def _mined(training: TrainingSet, episode: Episode) -> CandidateLists:
    """Read back T of an episode: what it mined for the queries."""
    lexical = episode.recipe.mining.main_source(episode.number) == "bm25"
    home, collection = episode.folder.path / "bm25" if lexical else episode.before, training.collection
    return read_lists(home / "training_lists.parquet", training.queries, collection.queries, collection.corpus)
