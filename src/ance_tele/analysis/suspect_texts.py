"""Suspects of a run, with their texts: to be read, judged in a file, and given to the next run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ance_tele.analysis.analyse import analyse
from ance_tele.analysis.rounds import source_names
from ance_tele.analysis.suspects import REASONS
from ance_tele.console.errors import UserError
from ance_tele.data.review import Verdict
from ance_tele.runs.folder import open_run
from ance_tele.runs.identity import recipe_of
from ance_tele.store.files import read_json


def suspects_of(
    run: str | Path,
    most: int | None = None,
    sample: int | None = None,
    seed: int = 42,
    reasons: Sequence[str] = (),
    sources: Sequence[str] = (),
    data: str | Path | None = None,
) -> list[Verdict]:
    """Return suspects of a run with their texts, as rows of a review file; each is "unsure" until somebody judges it.

    Args:
        run: A run folder, finished.
        most: So many, the most suspect first; all by default.
        sample: So many drawn at random instead.
        seed: Of that draw.
        reasons: Only those with one of these: "copy", "outscores", "kept".
        sources: Only those that one of these has mined, such as "lookahead".
        data: Where the collection lies now, if it was moved.

    Returns:
        The rows, most suspect first, those of a draw too.

    Raises:
        UserError: This is no finished run with training, its collection is out of reach, or a name is unknown.
    """
    known_sources = source_names(recipe_of(Path(run)).mining)
    for what, given, known in (("reason", reasons, REASONS), ("source", sources, known_sources)):
        for name in given:
            if name not in known:
                raise UserError(f"There is no {what} '{name}'; there are: {', '.join(known)}.")
    folder = analyse(run, data=data)
    if folder is None:
        raise UserError(f"{run} is a run without training; it has no pools, and so no suspects.")
    table = pq.read_table(folder / "suspects.parquet")
    for column, names in (("reasons", reasons), ("sources", sources)):
        if names:
            pattern = rf"(^|,)({'|'.join(names)})(,|$)"
            table = table.filter(pc.match_substring_regex(table[column], pattern))
    if sample is not None:
        drawn = np.random.default_rng(seed).permutation(len(table))[:sample]
        table = table.take(np.sort(drawn))
    table = table.slice(0, most)
    collection = open_run(Path(run), data).collection
    asked = [collection.queries[row]["text"] for row in collection.queries.rows(table["query_id"]).tolist()]
    found = [collection.corpus[row] for row in collection.corpus.rows(table["passage_id"]).tolist()]
    names = ("query_id", "passage_id", "reasons", "sources")
    ids, passages, why, origins = (table[name].to_pylist() for name in names)
    return [
        Verdict(query, passage, "unsure", text, shown["title"], shown["text"], reason, source)
        for query, passage, text, shown, reason, source in zip(ids, passages, asked, found, why, origins, strict=True)
    ]


def counts_of(run: str | Path) -> dict[str, Any]:
    """Return how many suspects an analysed run has, by source and by reason: its ``suspects.json``."""
    found: dict[str, Any] = read_json(Path(run) / "analysis" / "suspects.json")
    return found
