"""Runs of other systems, given as TREC files: measured as our own are, on the same queries with the same metrics."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.console.numbers import counted
from ance_tele.data.collection import Collection
from ance_tele.evaluate.config import cutoff
from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.evaluate.metrics import Scores
from ance_tele.evaluate.retrieval import score
from ance_tele.evaluate.run import Run
from ance_tele.store.artefacts import cached, writing
from ance_tele.store.fingerprints import file_sha256
from ance_tele.store.manifests import Manifest

log = logging.getLogger(__name__)

# A name is a folder's, too.
_NAME = re.compile(r"\w[\w.+-]{0,39}")
_NONE = np.empty(0, dtype=np.float32)


@dataclass(frozen=True)
class GivenRun:
    """A TREC run of another system, read on first use.

    Attributes:
        name: How tables and sentences call it.
        path: The file, plain or gzipped.
        collection: Whose queries and passages it ranks.
    """

    name: str
    path: Path
    collection: Collection

    @cached_property
    def run(self) -> Run:
        """The rankings.

        Raises:
            UserError: The file cannot be read, or names queries or passages that the collection lacks.
        """
        found = Run.read_trec(self.path)
        passages = sorted(set(chain.from_iterable(found.passage_ids)))
        for ids, texts, what in (
            (found.query_ids, self.collection.queries, "query"),
            (passages, self.collection.corpus, "passage"),
        ):
            unknown = np.flatnonzero(texts.rows(ids) < 0)
            if len(unknown):
                more = f" ({len(unknown):,} of {len(ids):,} ids)" if len(unknown) > 1 else ""
                raise UserError(
                    f"{self.path} names the {what} '{ids[unknown[0]]}', which collection '{self.collection.name}' "
                    f"lacks{more}; give a run of this collection."
                )
        return found

    @cached_property
    def fingerprint(self) -> str:
        """sha-256 (hex) of the file."""
        return file_sha256(self.path)


def given_runs(beside: Mapping[str, str | Path], collection: Collection) -> tuple[GivenRun, ...]:
    """Return the runs of some files by name.

    Raises:
        UserError: A file does not exist.
    """
    for name, path in beside.items():
        if not Path(path).is_file():
            raise UserError(f"{path}, the run of '{name}', is no file; beside takes NAME=FILE, a run in TREC format.")
    return tuple(GivenRun(name, Path(path), collection) for name, path in beside.items())


def named_runs(words: Sequence[str], taken: Sequence[str] = ()) -> dict[str, Path]:
    """Return the files by name of words such as "docT5query=runs/d2q.trec.gz"; ``taken`` are names of our systems.

    Raises:
        UserError: A word is none such, or a name is used twice.

    Example:
        >>> named_runs(["GAR=gar.trec"])["GAR"].name
        'gar.trec'
    """
    found: dict[str, Path] = {}
    for word in words:
        name, _, path = word.partition("=")
        if not path or not _NAME.fullmatch(name):
            raise UserError(
                f"beside is '{word:.80}'; it must be NAME=FILE, such as docT5query=d2q.trec, with a name of at most 40 "
                "letters, digits and -_.+."
            )
        if name in found or name in taken:
            raise UserError(f"beside names '{name}' as another system of this table is named; choose another name.")
        found[name] = Path(path)
    return found


def measure_given(given: GivenRun, on: Evaluation, folder: Path) -> Manifest | None:
    """Measure a given run on a split, and write run, metrics and per-query values into a folder.

    A query without a line scores 0. The facts of the manifest hold the metrics, the queries and how many have no line.

    Returns:
        The manifest; None if no query of the split has a line.

    Raises:
        UserError: As :attr:`GivenRun.run`.
    """
    path, inputs = folder / "evaluation", {"file": given.fingerprint, **on.inputs}
    if found := cached(path, inputs):
        return found
    query_ids = set(on.collection.queries.take_ids(on.qrels.queries).to_pylist())
    without = len(query_ids - set(given.run.query_ids))
    if without == len(query_ids):
        log.info(f"{given.name}: {given.path.name} has no line for a {on.split} query; not measured on {on.split}")
        return None
    with writing(path, "evaluation", inputs, spread=True) as made:
        own, run, scores = measured(given.run, on)
        if not own.metrics:
            most, least = max(map(len, run.passage_ids)), min(map(cutoff, on.metrics))
            raise UserError(f"{given.path} ranks {most} passages for most queries, and metrics need at least {least}.")
        own.write_run(run, scores, made.target, given.name)
        made.facts = {
            "metrics": scores.means(),
            "queries": len(query_ids),
            "found_nothing": without,
            "usable": 2 * without <= len(query_ids),
        }
        lacking = f"; {counted(without, 'query has', 'queries have')} no line and count 0" if without else ""
        log.info(f"{given.name}: {given.path.name} measured on {len(query_ids):,} {on.split} queries{lacking}")
        if deeper := [name for name in on.metrics if name not in own.metrics]:
            log.info(f"{given.name}: not measured, since the file ends before that depth: {', '.join(deeper)}")
    return made.manifest


def measure_splits(given: GivenRun, evaluations: Mapping[str, Evaluation], folder: Path) -> dict[str, Manifest]:
    """Measure a given run on some splits, each in a folder of its name; return the manifests of those it ranks for.

    Raises:
        UserError: It has no line for any query of them, or as :attr:`GivenRun.run`.
    """
    made = {split: measure_given(given, on, folder / split) for split, on in evaluations.items()}
    found = {split: manifest for split, manifest in made.items() if manifest is not None}
    if not found:
        raise UserError(f"{given.path} has no line for any of the {' and '.join(evaluations)} queries.")
    return found


def measured(run: Run, on: Evaluation) -> tuple[Evaluation, Run, Scores]:
    """Return the evaluation that a run of any queries allows, its rankings of the split's queries, and their scores.

    As in our own rankings, a query's own passage is left out and ``eval_depth`` passages are kept. Where most rankings
    end at the same depth, the file was cut there, and metrics that look deeper are left out.
    """
    queries, corpus, qrels = on.collection.queries, on.collection.corpus, on.qrels
    query_ids = queries.take_ids(qrels.queries).to_pylist()
    excluded: dict[str, set[str]] = {}
    for position, name in zip(on.positions.tolist(), corpus.take_ids(on.own).to_pylist(), strict=True):
        excluded.setdefault(query_ids[position], set()).add(name)
    place = {query: number for number, query in enumerate(run.query_ids)}
    lengths = Counter(len(run.passage_ids[place[query]]) for query in query_ids if query in place)
    deepest = max(lengths)
    was_cut = deepest < len(corpus) and 2 * lengths[deepest] >= lengths.total()
    metrics = tuple(name for name in on.metrics if not was_cut or cutoff(name) <= deepest)
    deeper = tuple(name for name in on.metrics if name not in metrics)
    own = replace(on, metrics=metrics, not_measured=on.not_measured + deeper)
    ids: list[list[str]] = []
    scores: list[np.ndarray] = []
    for query in query_ids:
        ranked, values = (run.passage_ids[place[query]], run.scores[place[query]]) if query in place else ([], _NONE)
        without = excluded.get(query, ())
        kept = [rank for rank, name in enumerate(ranked) if name not in without][: on.config.eval_depth]
        ids.append([ranked[rank] for rank in kept])
        scores.append(values[np.array(kept, dtype=np.int64)])
    ours = Run(query_ids, ids, scores)
    return own, ours, score(ours, qrels, on.collection, metrics, on.level)
