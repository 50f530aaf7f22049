"""What is still to come of a run, and about how long it takes, at the pace so far."""

import logging

from ance_tele.console.events import announce
from ance_tele.console.numbers import duration
from ance_tele.runs.folder import Episode
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.dense import DenseRetriever
from ance_tele.store.manifests import read_manifest

log = logging.getLogger(__name__)

# What training on a token costs, in tokens encoded, until it was measured: forth and back are three; dropout and
# smaller pieces make it about five, on two cores with AVX-512 (the demo).
TRAINED = 5.0

# Evaluation, search, analysis and report, as a share of encoding the corpus once an episode.
BESIDES = 0.2


def log_outlook(training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> None:
    """Log steps and encodings still to come, once the candidates of an episode are there.

    Nothing is logged where the corpus was not encoded now, so that no pace is known.
    """
    encoded, recipe = retriever.encoding_seconds, episode.recipe
    if not encoded:
        return
    numbers = range(episode.number, recipe.episode.episodes + 1)
    examples = training.examples(recipe.training.positives)
    steps = sum(recipe.schedule(number, examples).steps for number in numbers)
    before = read_manifest(episode.before / "model")
    if before is not None:
        step = before.seconds / max(1, before.facts["steps"])
    else:
        passages, queries = retriever.tokens.passages, retriever.tokens.queries
        each = (1 + recipe.training.negatives_per_query) * passages.mean + queries.mean
        step = TRAINED * recipe.training.batch_queries * each * encoded / max(1, int(passages.offsets[-1]))
    seconds = steps * step + len(numbers) * (1 + BESIDES) * encoded
    times = "once" if len(numbers) == 1 else f"{len(numbers)} times"
    announce("to come", to_come=seconds)
    log.info(f"to come: {steps:,} training steps, the corpus encoded {times}: about {duration(seconds)}")
