"""Relevance level of binary metrics (trec_eval's -l): configured, or the usual one of known collections."""

import logging
import re
from dataclasses import dataclass

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Usual:
    """The lowest relevant grade of collections whose "NAME/SPLIT" matches a pattern."""

    level: int
    names: re.Pattern[str]
    source: str


# Documents of TREC DL (also those split into segments) are relevant from grade 1 on, by the same source.
USUAL = (
    Usual(
        2,
        re.compile(
            r"^(?!.*(doc|segment)).*(?<![a-z])(trec|nist)?[-_. ]?(dl|deep[-_. ]?learning)[-_. ]?"
            r"((20)?(19|2[0-3])(?!\d)|hard(?![a-z]))"
        ),
        "TREC DL, passages: trec.nist.gov/data/deep2019.html to deep2023.html, trec_eval -l 2",
    ),
    # Of MS MARCO the test queries that are judged in grades are those of TREC DL 2019.
    Usual(
        2,
        re.compile(r"(?<![a-z])ms[-_ ]?marco([-_ ]passage)?/test$"),
        "TREC DL, passages: BEIR's test split of MS MARCO is that of 2019",
    ),
    Usual(
        3,
        re.compile(r"(?<![a-z])antique(?![a-z])"),
        "Hashemi et al. 2020, ANTIQUE (grades 3 and 4 are relevant, 1 and 2 are not)",
    ),
)


def usual_level(collection: str, split: str) -> Usual | None:
    """Return the usual level of a split by the names of collection and split; None if it is 1 or unknown.

    A split of MS MARCO may be named after TREC DL, for judgements of that.
    """
    name = f"{collection}/{split}".lower()
    return next((one for one in USUAL if one.names.search(name)), None)


def relevance_level(configured: int | None, collection: Collection, split: str) -> int:
    """Return the lowest relevant grade of a split: the configured one, if a judgement of the collection reaches it; by
    default the usual one, if a judgement of the split reaches it, else 1.
    """
    if configured is not None and configured < 1:
        raise UserError(f"relevance_level is {configured}; it must be at least 1.")
    qrels = collection.split(split)
    highest = int(qrels.grades.max(initial=0))
    if configured is None:
        usual = usual_level(collection.name, split)
        level = usual.level if usual is not None and usual.level <= highest else 1
        why = f" (usual here; {usual.source})" if usual is not None else ""
    elif configured <= max(1, highest):
        level, why = configured, ""
    else:
        reached = f"no judgement of split '{split}' reaches grade {configured}: the highest is {highest}"
        if not any((every.grades >= configured).any() for every in collection.qrels.values()):
            raise UserError(f"relevance_level is {configured}, but {reached}; give a lower one, or leave it out.")
        log.info(f"relevance_level {configured}: {reached}; there a passage is relevant from grade 1 on")
        return 1
    if level > 1:
        without = len(qrels.judged()) - len(qrels.relevant(level))
        zero = f"; {without:,} {split} queries have none and score 0" if without else ""
        log.info(f"MRR, recall and success on {split}: a passage is relevant from grade {level} on{why}{zero}")
    return level
