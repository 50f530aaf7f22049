"""Look back on a finished run: what it learned and forgot, where its negatives came from, which are probably false.

All of it is read from the run folder (:mod:`ance_tele.dynamics`); texts and vectors are added where the collection and
the models are at hand. What comes out lies in ``RUN/analysis/``.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.analysis.blocks import Sides, look_through
from ance_tele.analysis.cases import case, choose, ranks_by_round, start_of, swinging
from ance_tele.analysis.lookup import rows_of_query
from ance_tele.analysis.negatives import shares
from ance_tele.analysis.overlaps import overlaps
from ance_tele.analysis.projection import project
from ance_tele.analysis.rounds import Rounds
from ance_tele.analysis.suspects import REASONS, SuspectConfig, bits_of, judge, named, suspicion
from ance_tele.console.errors import UserError
from ance_tele.runs.folder import OpenedRun, open_run
from ance_tele.runs.identity import recipe_of
from ance_tele.runs.learning import change, training_metric
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import build
from ance_tele.store.files import read_json, write_json
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import read_manifest

log = logging.getLogger(__name__)

# Raised where the same lists give other figures than before.
VERSION = 2

CASES = 5
NEGATIVES_PER_CLASS = 3
# Points of one kind in a projection: more would hide each other.
POINTS_PER_CLASS = 40
# Rows of suspects.parquet: what somebody may still look through; all are counted.
MOST_SUSPECTS = 200_000


def analyse(
    out: str | Path,
    config: SuspectConfig = SuspectConfig(),  # noqa: B008 (frozen)
    data: str | Path | None = None,
    opened: OpenedRun | None = None,
) -> Path | None:
    """Write ``RUN/analysis/`` of a finished run, unless it is there; return it, None for a run without training.

    Args:
        out: The run folder.
        config: What makes a negative suspect.
        data: Where the collection lies now, if it was moved.
        opened: The run, where it is open already.

    Raises:
        UserError: This is no run folder, or the run is not finished.
    """
    out = Path(out)
    recipe = recipe_of(out)
    episodes = recipe.episode.episodes
    if not episodes:
        return None
    names = [f"episode-{number}/training_lists" for number in range(episodes + 1)]
    names += [f"episode-{number}/pool.parquet" for number in range(1, episodes + 1)]
    made = {name: read_manifest(out / name) for name in [*names, "positives.parquet"]}
    for name in names:
        if made[name] is None:
            raise UserError(f"{out / name} is missing: the run is not finished; run the same command again.")
    inputs = {
        "version": VERSION,
        "of": {name: fingerprint(manifest.inputs) for name, manifest in made.items() if manifest},
        "suspects": asdict(config),
    }
    stood = read_manifest(out / "analysis")
    if stood is not None and stood.inputs == {**inputs, "texts": True}:
        return out / "analysis"
    opened = opened or _open(out, data)
    with_texts = {**inputs, "texts": opened is not None}

    def make(target: Path) -> None:
        target.mkdir()
        _Analysis(out, recipe, config, opened).write(target)

    build(out / "analysis", "analysis", with_texts, make, shared=True)
    return out / "analysis"


def _open(out: Path, data: str | Path | None) -> OpenedRun | None:
    """Open a run's collection; without it there is no analysis of texts."""
    try:
        return open_run(out, data)
    except UserError as error:
        log.info(f"without texts: {error}")
        return None


def _vectors(opened: OpenedRun, checkpoint: int, query: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Encode a query, then passages, given by row, with a checkpoint: float32 [n, dimension]."""
    retriever = opened.retriever(checkpoint)
    return np.concatenate([retriever.encode_queries(query), retriever.encode_passages(passages)])


class _Analysis:
    """The analysis of one run; every method below ``write`` makes one file."""

    def __init__(self, out: Path, recipe: Recipe, config: SuspectConfig, opened: OpenedRun | None) -> None:
        self.out, self.recipe, self.config, self.opened = out, recipe, config, opened
        self.rounds = Rounds.of(out, recipe.mining, recipe.episode.episodes)
        self.mrr = self.rounds.reciprocal_ranks()
        self.summary: dict[str, Any] = read_json(out / "summary.json") if (out / "summary.json").is_file() else {}

    def write(self, target: Path) -> None:
        corpus = self.summary.get("data", {}).get("passages")
        if corpus is None and self.opened is not None:
            corpus = len(self.opened.collection.corpus)
        sides = look_through(self.rounds, corpus, self.config)
        write_json(target / "dynamics.json", self.dynamics(sides, corpus))
        suspects = self.suspects(sides)
        pq.write_table(suspects.slice(0, MOST_SUSPECTS), target / "suspects.parquet")
        write_json(target / "suspects.json", {**sides.tally.summary(self.config), "texts": self.opened is not None})
        swings = np.concatenate(sides.negatives.swings)
        falls = np.diff(self.mrr, axis=0)
        lost = np.maximum(-falls, 0).sum(axis=0)
        counted = suspects["query_id"].combine_chunks()
        by_query = np.bincount(self.rounds.order.positions(pa.chunked_array([counted]), target), minlength=len(swings))
        columns = {f"mrr_{number}": values for number, values in enumerate(self.mrr)}
        columns |= {"falls": (falls < 0).sum(axis=0), "lost": lost, "swings": swings, "suspects": by_query}
        pq.write_table(pa.table({"query_id": self.rounds.order.ids, **columns}), target / "per_query.parquet")
        if self.opened is not None:
            places = choose(swings, lost, CASES) if start_of(len(self.rounds.rounds)) else []
            ranks = ranks_by_round(self.rounds, places)
            self.cases(target, places, ranks)
            self.projection(target, places, ranks)

    def dynamics(self, sides: Sides, corpus: int | None) -> dict[str, Any]:
        """Gather the content of ``dynamics.json``."""
        rounds = self.rounds.rounds
        numbers = [None if one.ahead is None else 0 for one in rounds]
        found = shares(sides.negatives, numbers, corpus)
        learning: list[dict[str, Any]] = [{"episode": 0, "training_mrr": float(self.mrr[0].mean())}]
        for number in range(1, len(rounds)):
            rates = asdict(change(self.mrr[number - 1], self.mrr[number]))
            learning.append({"episode": number, "training_mrr": float(self.mrr[number].mean()), **rates})
        pools: list[dict[str, Any]] = []
        sources: list[dict[str, Any]] = []
        origins: list[dict[str, Any]] = []
        for number, counts in enumerate(sides.pools, 1):
            size = max(1, int(counts.sum()))
            first = {str(met + 1): count / size for met, count in enumerate(counts[:number].tolist())}
            pools.append({"episode": number, "size": int(counts.sum()), "first": first})
            for listed, table in ((sources, sides.sources), (origins, sides.origins)):
                by_source = zip(self.rounds.sources, table[number - 1].tolist(), strict=True)
                shown = {name: count / size for name, count in by_source}
                listed.append({"episode": number, **{name: share for name, share in shown.items() if share}})
        return {
            "schema": 1,
            "recipe": self.summary.get("recipe", self.recipe.name),
            "queries": len(self.rounds.order),
            "passages": corpus,
            "depth": self.recipe.mining.depth,
            "metric": training_metric(self.recipe.mining.depth, corpus),
            "episodes": len(rounds) - 1,
            "rounds": [{"round": r.number, "source": r.source, "lookahead": r.ahead is not None} for r in rounds],
            "learning": learning,
            "composition": {"mined": found["mined"], "pools": pools, "sources": sources, "origins": origins},
            "new": found["new"],
            "swing": found["swing"],
        }

    def suspects(self, sides: Sides) -> pa.Table:
        """Judge the pairs that are worth it, and count the suspects; returns them, most suspect first."""
        pairs, ids, sources = sides.worth, sides.ids, self.rounds.sources
        overlap = np.full(len(pairs), np.nan)
        if self.opened is not None and len(pairs):
            corpus = self.opened.collection.corpus
            overlap = overlaps(pairs.owner, corpus.rows(ids), self.out / "positives.parquet", self.rounds.order, corpus)
        reasons = judge(pairs, overlap, len(self.rounds.rounds), self.config)
        keep = np.flatnonzero(reasons.any(axis=1))
        sides.tally.add_suspects(pairs.origins[keep], reasons[keep])
        table = pa.table(
            {
                "query_id": self.rounds.order.ids.take(pa.array(pairs.owner[keep])),
                "passage_id": ids.take(pa.array(keep)),
                "reasons": pa.array(named(reasons[keep], REASONS), pa.string()),
                "score": suspicion(reasons, pairs.margin, overlap)[keep],
                "sources": pa.array(named(bits_of(pairs.origins[keep], len(sources)), sources), pa.string()),
                "overlap": pa.array(overlap[keep], from_pandas=True),
                "margin": pa.array(pairs.margin[keep], from_pandas=True),
                "top_rounds": pairs.top_rounds[keep].astype(np.int16),
            }
        )
        return table.sort_by([("score", "descending"), ("query_id", "ascending"), ("passage_id", "ascending")])

    def cases(self, target: Path, places: list[int], ranks: dict[int, dict[str, list[int | None]]]) -> None:
        """Write the cases of some queries, by place."""
        assert self.opened is not None
        described = []
        for place in places:
            mrr, collection = self.mrr[:, place], self.opened.collection
            positives = self.positives_of(place)
            described.append(case(place, self.rounds, ranks[place], positives, mrr, collection, NEGATIVES_PER_CLASS))
        write_json(target / "cases.json", described)

    def positives_of(self, place: int) -> list[str]:
        """Return the ids of a training query's positives."""
        path, order = self.out / "positives.parquet", self.rounds.order
        return list(
            rows_of_query(path, order.ids[place].as_py(), order.position, ["passage_id"])["passage_id"].to_pylist()
        )

    def projection(self, target: Path, places: list[int], ranks: dict[int, dict[str, list[int | None]]]) -> None:
        """Lay out the first of the cases on a plane, under the model of every episode."""
        opened, episodes = self.opened, len(self.rounds.rounds) - 1
        start = start_of(len(self.rounds.rounds))
        if not places or opened is None or start is None:
            return
        place, collection = places[0], opened.collection
        positives = self.positives_of(place)
        negatives = {passage: seen for passage, seen in ranks[place].items() if passage not in positives}
        members = {"positive": positives, **swinging(negatives, start)}
        kept = [(kind, key) for kind, keys in members.items() for key in keys[:POINTS_PER_CLASS]]
        query = self.rounds.order.ids[place].as_py()
        row, rows = collection.queries.rows([query]), collection.corpus.rows([key for _, key in kept])
        try:
            vectors = [_vectors(opened, number, row, rows) for number in range(episodes + 1)]
        except UserError as error:
            log.info(f"without projection: {error}")
            return
        plane = project(np.stack(vectors))
        points = [
            {"kind": kind, "id": key, "episode": number, "x": float(x), "y": float(y)}
            for number, layer in enumerate(plane)
            for (kind, key), (x, y) in zip([("query", query), *kept], layer, strict=True)
        ]
        text = collection.queries[int(row[0])]["text"]
        said = {"query_id": query, "query": text, "start": start, "episodes": episodes, "points": points}
        write_json(target / "projection.json", said)
