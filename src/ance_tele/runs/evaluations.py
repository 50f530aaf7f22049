"""The evaluations of a run, each an artefact of its folder: of every checkpoint, of BM25, and the final one."""

import time
from functools import cached_property
from pathlib import Path
from typing import Any

from ance_tele.evaluate.evaluation import Evaluation
from ance_tele.runs.searches import Searches
from ance_tele.store.artefacts import Manifest, build


class Evaluations(Searches):
    """Measures the checkpoints and the baselines of one run folder."""

    def evaluation(self, split: str) -> Evaluation:
        """Return what is measured on a split, and how; logged once."""
        if split not in self.evaluations:
            self.evaluations[split] = Evaluation.of(self.recipe.evaluation, self.collection, split)
        return self.evaluations[split]

    @cached_property
    def evaluations(self) -> dict[str, Evaluation]:
        """What is measured, by split, as far as it was asked for."""
        return {}

    def evaluate(self, checkpoint: int) -> Manifest:
        """Measure a checkpoint: run, metrics and per-query values on the chosen split."""
        on = self.evaluation(self.recipe.evaluation.split)
        inputs = {**self.encoding(checkpoint), **on.inputs}

        def make(target: Path) -> dict[str, Any]:
            encoded = self.vectors(checkpoint).seconds
            start = time.perf_counter()
            what = f"searching for {on.split} queries"
            found = self.search(checkpoint, on.qrels.queries, on.search_depth, "query", what)
            scores = on.write(found, target, self.tag(checkpoint))
            spent = round(time.perf_counter() - start, 3)
            return {
                "metrics": scores.means(),
                "encode_seconds": encoded,
                "search_seconds": spent,
                "search_engine": found.engine,
            }

        return build(self.folder(checkpoint) / "evaluation", "evaluation", inputs, make, spread=True)

    def evaluate_bm25(self) -> Manifest:
        """Measure BM25 on the chosen split."""
        on = self.evaluation(self.recipe.evaluation.split)

        def make(target: Path) -> dict[str, Any]:
            found = self.bm25(on.qrels.queries, on.search_depth)
            without = int((found.rows < 0).all(axis=1).sum())
            # A system that finds nothing for most queries is none that another can be tested against.
            facts = {"queries": len(found.rows), "found_nothing": without, "usable": 2 * without <= len(found.rows)}
            return {"metrics": on.write(found, target, "bm25").means(), **facts}

        inputs = {**on.inputs, **self.lexical}
        return build(self.out / "bm25" / "evaluation", "evaluation", inputs, make, spread=True)

    def evaluate_final(self, checkpoint: int) -> dict[str, float]:
        """Return the final metrics, of the test split whatever split the episodes were measured on.

        Of the last checkpoint; of BM25 where there is no model.
        """
        if self.final_split == self.recipe.evaluation.split:
            measured = self.evaluate_bm25() if self.model is None else self.evaluate(checkpoint)
            return dict(measured.facts["metrics"])
        on = self.evaluation(self.final_split)
        inputs = {**(self.lexical if self.model is None else self.encoding(checkpoint)), **on.inputs}

        def make(target: Path) -> dict[str, Any]:
            queries, depth = on.qrels.queries, on.search_depth
            if self.model is None:
                found = self.bm25(queries, depth)
            else:
                found = self.search(checkpoint, queries, depth, "query", "searching for test queries")
            return {"metrics": on.write(found, target, self.tag(checkpoint)).means()}

        final = build(self.out / "final" / "evaluation", "evaluation", inputs, make, spread=True)
        return dict(final.facts["metrics"])

    @property
    def final_split(self) -> str:
        """The split of the final figures: test, where there is one."""
        return "test" if "test" in self.collection.qrels else self.recipe.evaluation.split

    def tag(self, checkpoint: int) -> str:
        """Return the name of a checkpoint in runs, no other system's: recipe, seed, episode, a bit of its weights."""
        if self.model is None:
            return "bm25"
        name = f"{self.recipe.name}-s{self.recipe.episode.seed}-e{checkpoint}" if checkpoint else "zero-shot"
        return f"{name}-{self.weights(checkpoint)[:6]}"
