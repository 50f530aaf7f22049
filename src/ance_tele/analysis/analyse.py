"""Analyse a finished run: learning and forgetting, where negatives came from, suspected false negatives.

Everything is read from the run folder; texts and vectors are added where the collection and the models are available.
The results are written to ``RUN/analysis/``.
"""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.analysis.blocks import RunCounts, count_run
from ance_tele.analysis.cases import case, choose, negatives_of, start_of, swinging
from ance_tele.analysis.lookup import positives_of
from ance_tele.analysis.negatives import shares
from ance_tele.analysis.overlaps import overlaps
from ance_tele.analysis.projection import project
from ance_tele.analysis.rounds import Rounds
from ance_tele.analysis.suspects import REASONS, SuspectConfig, bits_of, judge, named, suspect_counts, suspicion
from ance_tele.console.errors import UserError
from ance_tele.mining.config import MiningConfig
from ance_tele.runs.folder import OpenedRun, open_run
from ance_tele.runs.identity import recipe_of
from ance_tele.runs.learning import change, training_metric
from ance_tele.settings import Recipe
from ance_tele.store.artefacts import build, cached
from ance_tele.store.files import read_json, write_json
from ance_tele.store.fingerprints import fingerprint
from ance_tele.store.manifests import read_manifest

log = logging.getLogger(__name__)

# Incremented when the same lists give different figures.
VERSION = 2

CASES = 5
# Most points of one kind in a projection; more would overlap.
POINTS_PER_CLASS = 40
# Most rows of suspects.parquet; the counts cover all suspects.
MOST_SUSPECTS = 200_000


def analyse(
    out: str | Path,
    config: SuspectConfig = SuspectConfig(),  # noqa: B008 (frozen)
    data: str | Path | None = None,
    opened: OpenedRun | None = None,
) -> Path | None:
    """Write ``RUN/analysis/`` of a finished run unless it is up to date; return it, or None for a run without training.

    Args:
        out: The run folder.
        config: What makes a negative suspect.
        data: Where the collection lies now, if it was moved. Without the collection, what needs texts is left out:
            near-duplicates, cases, the projection.
        opened: The run, where it is open already.

    Raises:
        UserError: This is no run folder, or the run is not finished.

    Example::

        folder = at.analyse("runs/mine")
        forgotten = json.loads((folder / "dynamics.json").read_text())["learning"][-1]["forgotten"]
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
    if cached(out / "analysis", {**inputs, "texts": True}):
        return out / "analysis"
    opened = opened or _open(out, data)
    with_texts = {**inputs, "texts": opened is not None}
    build(out / "analysis", "analysis", with_texts, lambda target: _write(target, out, recipe, config, opened), True)
    return out / "analysis"


def _open(out: Path, data: str | Path | None) -> OpenedRun | None:
    """Open a run with its collection; None if the collection is not available, which leaves out what needs texts."""
    try:
        return open_run(out, data)
    except UserError as error:
        log.info(f"without texts: {error}")
        return None


def _write(target: Path, out: Path, recipe: Recipe, config: SuspectConfig, opened: OpenedRun | None) -> None:
    """Write all files of an analysis."""
    target.mkdir()
    rounds = Rounds.of(out, recipe.mining, recipe.episode.episodes)
    mrr, order = rounds.reciprocal_ranks(), rounds.order
    corpus = _passages(out, opened)
    totals = count_run(rounds, corpus, config)
    facts = {"schema": 1, "recipe": recipe.name, "queries": len(order), "passages": corpus}
    write_json(target / "dynamics.json", facts | _dynamics(rounds, recipe.mining, mrr, totals, corpus))
    suspects, counts = _suspects(rounds, totals, config, opened)
    pq.write_table(suspects.slice(0, MOST_SUSPECTS), target / "suspects.parquet")
    write_json(target / "suspects.json", {**counts, "settings": asdict(config), "texts": opened is not None})
    swings, falls = totals.negatives.swings, np.diff(mrr, axis=0)
    lost = np.maximum(-falls, 0).sum(axis=0)
    by_query = np.bincount(order.positions(suspects["query_id"], target), minlength=len(order))
    columns = {f"mrr_{number}": values for number, values in enumerate(mrr)}
    columns |= {"falls": (falls < 0).sum(axis=0), "lost": lost, "swings": swings, "suspects": by_query}
    pq.write_table(pa.table({"query_id": order.ids, **columns}), target / "per_query.parquet")
    if opened is None:
        return
    start = start_of(len(rounds.rounds))
    chosen = choose(swings, lost, CASES) if start else []
    cases = [case(rounds, position, mrr[:, position], start, opened.collection) for position in chosen]
    write_json(target / "cases.json", cases)
    if chosen:
        _project(target / "projection.json", rounds, order.ids[chosen[0]].as_py(), start, opened)


def _passages(out: Path, opened: OpenedRun | None) -> int | None:
    """Return the number of passages of the corpus; None if it is not recorded."""
    if opened is not None:
        return len(opened.collection.corpus)
    summary = read_json(out / "summary.json") if (out / "summary.json").is_file() else {}
    passages: int | None = summary.get("data", {}).get("passages")
    return passages


def _dynamics(
    rounds: Rounds, mining: MiningConfig, mrr: np.ndarray, totals: RunCounts, corpus: int | None
) -> dict[str, Any]:
    """Return the content of ``dynamics.json``: shares by round and episode."""
    every = rounds.rounds
    found = shares(totals.negatives, [one.lookahead is not None for one in every], corpus)
    learning: list[dict[str, Any]] = [{"episode": 0, "training_mrr": float(mrr[0].mean())}]
    for number in range(1, len(every)):
        rates = asdict(change(mrr[number - 1], mrr[number]))
        learning.append({"episode": number, "training_mrr": float(mrr[number].mean()), **rates})
    pools = []
    for number, counts in enumerate(totals.pools.tolist(), 1):
        size = sum(counts)
        first = {str(met): count / max(1, size) for met, count in enumerate(counts[:number], 1)}
        pools.append({"episode": number, "size": size, "first": first})
    return {
        "depth": mining.depth,
        "metric": training_metric(mining.depth, corpus),
        "episodes": len(every) - 1,
        "rounds": [{"round": r.number, "source": r.source, "lookahead": r.lookahead is not None} for r in every],
        "learning": learning,
        "composition": {
            "mined": found["mined"],
            "pools": pools,
            "sources": _by_source(rounds, totals.sources),
            "origins": _by_source(rounds, totals.origins),
        },
        "new": found["new"],
        "swing": found["swing"],
    }


def _by_source(rounds: Rounds, table: np.ndarray) -> list[dict[str, Any]]:
    """Return the shares of the sources by episode, from counts [E, sources]; sources without negatives are left out."""
    return [
        {"episode": number}
        | {name: count / sum(counts) for name, count in zip(rounds.sources, counts, strict=True) if count}
        for number, counts in enumerate(table.tolist(), 1)
    ]


def _suspects(
    rounds: Rounds, totals: RunCounts, config: SuspectConfig, opened: OpenedRun | None
) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table of suspects, most suspect first, and the counts of all suspects."""
    pairs, ids, sources = totals.close, totals.ids, rounds.sources
    overlap = np.full(len(pairs), np.nan)
    if opened is not None and len(pairs):
        corpus = opened.collection.corpus
        overlap = overlaps(pairs.query_positions, corpus.rows(ids), rounds, corpus)
    reasons = judge(pairs, overlap, len(rounds.rounds), config)
    keep = np.flatnonzero(reasons.any(axis=1))
    table = pa.table(
        {
            "query_id": rounds.order.ids.take(pa.array(pairs.query_positions[keep])),
            "passage_id": ids.take(pa.array(keep)),
            "reasons": pa.array(named(reasons[keep], REASONS), pa.string()),
            "score": suspicion(reasons, pairs.margin, overlap)[keep],
            "sources": pa.array(named(bits_of(pairs.origins[keep], len(sources)), sources), pa.string()),
            "overlap": pa.array(overlap[keep], from_pandas=True),
            "margin": pa.array(pairs.margin[keep], from_pandas=True),
            "top_rounds": pairs.top_rounds[keep].astype(np.int16),
        }
    )
    table = table.sort_by([("score", "descending"), ("query_id", "ascending"), ("passage_id", "ascending")])
    return table, suspect_counts(totals.pairs, pairs.origins[keep], reasons[keep], sources)


def _project(path: Path, rounds: Rounds, query: str, start: int, opened: OpenedRun) -> None:
    """Write the 2-D projection of a query, its positives and its swinging negatives under every checkpoint."""
    collection = opened.collection
    positives = positives_of(rounds, query)
    members = {"positive": positives, **swinging(negatives_of(rounds, query, positives), start)}
    kept = [(kind, key) for kind, keys in members.items() for key in keys[:POINTS_PER_CLASS]]
    row, rows = collection.queries.rows([query]), collection.corpus.rows([key for _, key in kept])
    try:
        vectors = [_vectors(opened, number, row, rows) for number in range(len(rounds.rounds))]
        if len({one.shape[1] for one in vectors}) > 1:  # of an ensemble
            raise UserError("the checkpoints' vectors have different dimensions.")
    except UserError as error:
        log.info(f"without projection: {error}")
        return
    points = [
        {"kind": kind, "id": key, "episode": number, "x": float(x), "y": float(y)}
        for number, layer in enumerate(project(np.stack(vectors)))
        for (kind, key), (x, y) in zip([("query", query), *kept], layer, strict=True)
    ]
    text = collection.queries[int(row[0])]["text"]
    shown = {"query_id": query, "query": text, "start": start, "episodes": len(rounds.rounds) - 1, "points": points}
    write_json(path, shown)


def _vectors(opened: OpenedRun, checkpoint: int, query: np.ndarray, passages: np.ndarray) -> np.ndarray:
    """Return the vectors of a query and of passages, given by row, under a checkpoint: float32 [n, dimension]."""
    retriever = opened.retriever(checkpoint)
    if retriever.each > 1:
        raise UserError(f"passages have {retriever.each} vectors each, and it shows one.")
    return np.concatenate([retriever.encode_queries(query), retriever.encode_passages(passages)])
