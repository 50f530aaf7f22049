"""Mining: the candidates of all sources of an episode."""

from contextlib import nullcontext

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.mining.candidates import CandidateLists, Candidates
from ance_tele.mining.context import MiningContext
from ance_tele.mining.plugins import resolve_source
from ance_tele.mining.source_type import Source
from ance_tele.store.plugins import failing_as, is_plugin


def mine(context: MiningContext) -> Candidates:
    """Return the unfiltered candidates of an episode from all its sources.

    Args:
        context: Of the episode; ``context.config`` names the sources.

    Returns:
        By the source's name, a ranked list for each training query, positives included.

    Raises:
        UserError: There is no such source, or it returns something else than one list of corpus rows for each query.

    Example:
        Two training queries, of rows 0 and 1, and a search that has found three passages for each:

        >>> import ance_tele as at
        >>> corpus = {name: f"passage {name}" for name in "abcd"}
        >>> qrels = {"train": {"q1": {"a": 1}, "q2": {"b": 1}}}
        >>> collection = at.collection_from_dicts(corpus, {"q1": "first", "q2": "second"}, qrels)
        >>> found = at.CandidateLists.of([[0, 2, 3], [3, 1, 0]])
        >>> config = at.MiningConfig(sources=("query",))
        >>> train = collection.split("train")
        >>> candidates = mine(at.MiningContext(collection, train, config, search_queries=lambda: found))
        >>> candidates.lists["query"][1].tolist()
        [3, 1, 0]
    """
    lists = {}
    for name in context.config.sources_at(context.episode):
        source = resolve_source(name)
        with failing_as("source of negatives", name) if is_plugin(name) else nullcontext():
            found = source(context)
        lists[source.name] = checked(source, found, context)
    return Candidates(context.queries, lists)


def checked(source: Source, lists: CandidateLists, context: MiningContext) -> CandidateLists:
    """Return the lists of a source.

    Raises:
        UserError: They are no such lists; names the source.
    """
    queries, corpus = len(context.queries), len(context.collection.corpus)
    wanted = f"it must return CandidateLists, one list of corpus rows for each of the {queries:,} training queries"
    if not isinstance(lists, CandidateLists):
        raise UserError(f"The source '{source.name}' returned {type(lists).__name__}; {wanted}.")
    if len(lists) != queries:
        raise UserError(f"The source '{source.name}' returned {len(lists):,} lists; {wanted}.")
    if len(lists.passages) and not 0 <= lists.passages.min() <= lists.passages.max() < corpus:
        outside = lists.passages[(lists.passages < 0) | (lists.passages >= corpus)][0]
        raise UserError(
            f"The source '{source.name}' returned the row {outside}; the corpus has the rows 0 to {corpus - 1}."
        )
    lengths = {len(lists.passages), len(lists.scores), len(lists.ranks), int(lists.offsets[-1])}
    if len(lengths) > 1 or (np.diff(lists.offsets) < 0).any():
        raise UserError(f"The source '{source.name}' returned arrays of different lengths; {wanted}.")
    return lists
