"""Conversion: collections to BEIR layout, pools to other trainers' formats, runs to DPR's JSON."""

from pathlib import Path
from typing import get_args

import numpy as np

from ance_tele.console.errors import UserError, unknown
from ance_tele.data.collection import Qrels
from ance_tele.data.formats.write import write_beir
from ance_tele.data.load import load_collection
from ance_tele.evaluate.export import export_dpr
from ance_tele.evaluate.run import Run
from ance_tele.mining.export import Kind, export_corpus, export_pool
from ance_tele.mining.storage import read_pool
from ance_tele.runs.folder import open_run
from ance_tele.runs.training_set import read_pairs

KINDS = ("beir", *get_args(Kind), "dpr")


def convert(source: str, target: Path, to: str, episode: int | None = None, strict: bool = True) -> str:
    """Convert a collection, or the pool or the results of an episode; return a line describing what was written.

    Args:
        source: A collection, as :func:`load_collection` takes it, for "beir"; a run folder for all others.
        target: The folder ("beir") or file to write.
        to: "beir"; the pool as "tevatron", "tevatron2", "flagembedding" or "triplets"; the run as "dpr" JSON.
        episode: Which episode of a run; the last one by default.
        strict: Refuse a collection with inconsistent files.

    Raises:
        UserError: There is no such format, run or episode; or the target is a folder where a file is written.
    """
    if to not in KINDS:
        raise UserError(unknown("format", to, KINDS))
    if to != "beir" and target.is_dir():
        raise UserError(f"{target} is a folder; '{to}' is written as a file: name one that is new, or to be replaced.")
    if to == "beir":
        collection = load_collection(source, strict=strict)
        write_beir(collection, target)
        return f"{target}: {len(collection.corpus):,} passages, {len(collection.queries):,} queries in BEIR layout"
    run = Path(source)
    opened = open_run(run)
    collection, recipe = opened.collection, opened.recipe
    number = opened.last if episode is None else episode
    if not 0 <= number <= opened.last:
        raise UserError(f"{run} has no episode {number}; its last one is {opened.last}.")
    if to == "dpr":
        ranked = (opened.folder.checkpoint(number) if opened.model else run / "bm25") / "run.trec"
        if not ranked.is_file():
            raise UserError(f"{ranked} does not exist: episode {number} is not evaluated yet; let the run go on.")
        written, left_out = export_dpr(Run.read_trec(ranked), collection, target)
        return f"{target}: {written:,} questions ({left_out:,} without answers left out)"
    if number == 0:
        raise UserError(f"Episode 0 of {run} is the model as it was given: it has no pool; give --episode 1 or more.")
    queries, passages = read_pairs(run / "positives.parquet", collection)
    positives = Qrels.from_arrays(queries, passages, np.ones(len(queries), dtype=np.int64))
    path = opened.folder.checkpoint(number) / "pool.parquet"
    pool = read_pool(path, positives.queries, collection.queries, collection.corpus)
    kind: Kind = to  # type: ignore[assignment]
    negatives = recipe.training.negatives_per_query if to != "triplets" else None
    done = export_pool(pool, positives, collection, target, kind, negatives, recipe.episode.seed)
    if to == "tevatron2":
        corpus = target.with_name(f"{target.stem}.corpus.jsonl")
        export_corpus(collection, corpus)
        return f"{target}: {done.queries:,} queries; {corpus}: {len(collection.corpus):,} passages"
    return f"{target}: {done.queries:,} queries in {done.lines:,} lines ({done.left_out:,} without negatives left out)"
