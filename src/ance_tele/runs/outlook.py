"""What is still to come of a run, and about how long it takes, at the pace so far."""

import logging

from ance_tele.console.events import ToCome, announce
from ance_tele.console.numbers import duration
from ance_tele.runs.folder import Episode
from ance_tele.runs.training_set import TrainingSet
from ance_tele.search.dense import DenseRetriever
from ance_tele.store.manifests import read_manifest
from ance_tele.training.checkpoints import taken

log = logging.getLogger(__name__)

# What training on a token costs, in tokens encoded, until it was measured: forth and back are three; dropout and
# smaller pieces make it about five, on two cores with AVX-512 (the demo).
TRAINED = 5.0

# Evaluation, search, analysis and report, as a share of encoding the corpus once an episode.
BESIDES = 0.2


def log_outlook(training: TrainingSet, retriever: DenseRetriever, episode: Episode) -> None:
    """Log steps and encodings still to come, once the candidates of an episode are there.

    Of a training that goes on, the steps before its last checkpoint are not to come. Nothing is logged of an episode
    whose model is there.
    """
    recipe, finished = episode.recipe, read_manifest(episode.path / "model") is not None
    encoded = retriever.encoding_seconds
    if encoded is None and not finished and (measured := read_manifest(episode.before / "evaluation")) is not None:
        encoded = measured.facts.get("encode_seconds", 0.0) / retriever.executor.workers  # by an earlier process
    if not encoded:
        return
    numbers = range(episode.number, recipe.episode.episodes + 1)
    examples = training.examples(recipe.training.positives)
    steps = [recipe.schedule(number, examples).steps for number in numbers]
    done, spent = taken(episode.path / "checkpoints")
    before = read_manifest(episode.before / "model")
    if finished:
        done, spent = steps[0], 0.0
    if done and spent:
        step = spent / done
    elif before is not None:
        step = before.seconds / max(1, before.facts["steps"])
    else:
        passages, queries = retriever.tokens.passages, retriever.tokens.queries
        each = (1 + recipe.training.negatives_per_query) * passages.mean + queries.mean
        step = TRAINED * recipe.training.batch_queries * each * encoded / max(1, int(passages.offsets[-1]))
    steps[0] = max(0, steps[0] - done)
    afterwards = sum(steps[1:]) * step + len(numbers) * (1 + BESIDES) * encoded
    seconds = steps[0] * step + afterwards
    times = "once" if len(numbers) == 1 else f"{len(numbers)} times"
    announce("to come", to_come=ToCome(seconds, afterwards))
    log.info(f"to come: {sum(steps):,} training steps, the corpus encoded {times}: about {duration(seconds)}")
