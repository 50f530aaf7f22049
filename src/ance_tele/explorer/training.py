"""The training queries of a run: their reciprocal ranks by checkpoint, and the orders to list them in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ance_tele.analysis.rounds import Rounds
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.explorer.asking import MOST_CHARACTERS, label_of
from ance_tele.runs.learning import training_metric
from ance_tele.settings import Recipe
from ance_tele.store.tables import read_parquet

QUERIES_PER_PAGE = 50

# What the list can be sorted by, and its title; "" is the order of the data.
SORTS: Mapping[str, str] = {
    "": "order of the data",
    "worst": "worst after training",
    "lost": "most forgotten (sum of losses)",
    "falls": "most often worse",
    "swings": "most swinging negatives",
    "suspects": "most suspects",
}
ANALYSED = ("lost", "falls", "swings", "suspects")


class Training:
    """The training queries of a run, in its order.

    Attributes:
        run: The run folder, which is only read.
        collection: Where the texts are.
        rounds: Of mining; none where nothing was trained.
        metric: What learning is read from: MRR@100, or MRR@depth of shorter lists.
        mrr: It by checkpoint and query, float64 [episodes + 1, queries].
        texts: Of the queries.
        analysed: By name in ``ANALYSED``, a value per query; empty where the run was not analysed.
    """

    def __init__(self, run: Path, recipe: Recipe, collection: Collection) -> None:
        self.run, self.collection = run, collection
        self.rounds = Rounds.of(run, recipe.mining, recipe.episode.episodes)
        self.metric = training_metric(recipe.mining.depth, len(collection.corpus))
        self.mrr = self.rounds.reciprocal_ranks()
        rows = collection.queries.rows(self.rounds.order.ids)
        if (rows < 0).any():
            raise UserError(f"{run} holds training queries that its collection lacks; run the same command again.")
        self.texts: pa.ChunkedArray = collection.queries.table["text"].take(pa.array(rows))
        self.analysed = self._analysis()

    def __len__(self) -> int:
        return len(self.rounds.order)

    @property
    def notice(self) -> str:
        """What to do where something that the page could show is missing; "" where nothing is."""
        if not len(self):
            return "This run trained nothing, so there are no training queries to follow."
        if not self.analysed or not self.suspects_path.is_file():
            return f"To sort by what was forgotten, swings or is suspect, run: ance-tele report {self.run}"
        return ""

    @property
    def labels(self) -> list[str]:
        """What each round was mined with: a checkpoint, or BM25."""
        return ["BM25" if one.source == "bm25" else label_of(one.number - 1) for one in self.rounds.rounds]

    @property
    def suspects_path(self) -> Path:
        """Where the analysis wrote suspects."""
        return self.run / "analysis" / "suspects.parquet"

    def page(self, sort: str, words: str, page: int) -> dict[str, Any]:
        """Return one page of the list.

        Args:
            sort: One of ``SORTS``; the largest first, in the order of the data where equal.
            words: Only queries whose text holds this, whatever the case; all for "".
            page: Which page, from 1; the last one if there are fewer.

        Raises:
            UserError: There is no such order, or it needs an analysis; or ``words`` are too long.
        """
        if len(words) > MOST_CHARACTERS:
            raise UserError(f"The text to look for has {len(words):,} characters; shorten it to {MOST_CHARACTERS:,}.")
        found = np.arange(len(self))
        if words.strip() and len(self):
            match = pc.match_substring(self.texts, words.strip(), ignore_case=True)
            found = np.flatnonzero(match.to_numpy())
        found = found[np.argsort(self._key(sort)[found], kind="stable")]
        pages = max(1, -(-len(found) // QUERIES_PER_PAGE))
        page = min(max(page, 1), pages)
        shown = found[(page - 1) * QUERIES_PER_PAGE : page * QUERIES_PER_PAGE]
        rows = [self.row(int(position)) for position in shown]
        return {"total": len(found), "page": page, "pages": pages, "size": QUERIES_PER_PAGE, "queries": rows}

    def row(self, position: int) -> dict[str, Any]:
        """Return one query: id, text, MRR by checkpoint, and its figures in the analysis."""
        found = {name: values[position].item() for name, values in self.analysed.items()}
        text, query = self.texts[position].as_py(), self.rounds.order.ids[position].as_py()
        return {"id": query, "text": text, "mrr": self.mrr[:, position].tolist(), **found}

    def _key(self, sort: str) -> np.ndarray:
        """Return what to sort by, ascending."""
        if sort not in SORTS:
            raise UserError(f"There is no order '{sort[:40]}'; there are: {', '.join(filter(None, SORTS))}.")
        if sort in ANALYSED:
            if sort not in self.analysed:
                raise UserError(f"This run has no '{sort}' yet; run: ance-tele report {self.run}")
            return -self.analysed[sort].astype(np.float64)
        return self.mrr[-1] if sort == "worst" and len(self.mrr) else np.zeros(len(self))

    def _analysis(self) -> dict[str, np.ndarray]:
        path = self.run / "analysis" / "per_query.parquet"
        if not path.is_file() or not len(self):
            return {}
        table = read_parquet(path, columns=["query_id", *ANALYSED])
        ids = table["query_id"].combine_chunks().cast(pa.large_string())
        rows = pc.index_in(self.rounds.order.ids, value_set=ids)
        if rows.null_count:  # of an earlier state of the run
            return {}
        return {name: table[name].take(rows).to_numpy() for name in ANALYSED}
