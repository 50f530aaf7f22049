"""Suspects of a run, with their texts: to be read, judged in a file, and given to the next run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from ance_tele.analysis.analyse import analyse
from ance_tele.analysis.rounds import source_names
from ance_tele.console.errors import UserError
from ance_tele.data.reasons import REASONS, current_reasons
from ance_tele.data.review import Verdict
from ance_tele.runs.folder import open_run
from ance_tele.runs.identity import recipe_of
from ance_tele.store.tables import read_parquet


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
        most: At most so many, the most suspect first; all by default.
        sample: So many drawn at random instead.
        seed: Of that draw.
        reasons: Only those with one of these: "near_duplicate", "above_positive", "persistently_top".
        sources: Only those that one of these has mined, such as "lookahead".
        data: Where the collection lies now, if it was moved.

    Raises:
        UserError: This is no finished run with training, its collection is out of reach, or a name is unknown.

    Example::

        rows = at.suspects_of("runs/mine", most=50, reasons=["near_duplicate"])
        at.write_review("review.csv", rows)
    """
    reasons = [current_reasons(name) for name in reasons]
    known_sources = source_names(recipe_of(Path(run)).mining)
    for what, given, known in (("reason", reasons, REASONS), ("source", sources, known_sources)):
        for name in given:
            if name not in known:
                raise UserError(f"There is no {what} '{name}'; there are: {', '.join(known)}.")
    folder = analyse(run, data=data)
    if folder is None:
        raise UserError(f"{run} is a run without training; it has no pools that could hold suspects.")
    table = read_parquet(folder / "suspects.parquet", columns=["query_id", "passage_id", "reasons", "sources"])
    current = [current_reasons(one) for one in table["reasons"].to_pylist()]
    table = table.set_column(2, "reasons", [current])
    for column, names in (("reasons", reasons), ("sources", sources)):
        if names:
            pattern = rf"(^|,)({'|'.join(names)})(,|$)"
            table = table.filter(pc.match_substring_regex(table[column], pattern))
    if sample is not None:
        drawn = np.random.default_rng(seed).permutation(len(table))[:sample]
        table = table.take(np.sort(drawn))
    table = table.slice(0, most)
    collection = open_run(Path(run), data).collection
    queries = collection.queries.rows(table["query_id"]).tolist()
    passages = collection.corpus.rows(table["passage_id"]).tolist()
    found = []
    for row, query, passage in zip(table.to_pylist(), queries, passages, strict=True):
        text, shown = collection.queries[query]["text"], collection.corpus[passage]
        found.append(Verdict(**row, verdict="unsure", query=text, title=shown["title"], text=shown["text"]))
    return found
