"""The phases of an episode, each an artefact of the run folder: made once, resumed, or made again."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ance_tele.checkpoints import Checkpoints, hash_of
from ance_tele.data.artefacts import (
    Manifest,
    build,
    fingerprint,
    package_versions,
    read_manifest,
    remove,
    write_json,
)
from ance_tele.dynamics.learning import change, new_share, reciprocal_ranks
from ance_tele.encode.topk import TopK
from ance_tele.evaluate.retrieval import evaluate
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.filters import without_answers, without_false_negatives
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import Pool
from ance_tele.mining.sources import lookahead, mine
from ance_tele.mining.storage import read_candidates, read_lists, read_pool, write_candidates, write_lists, write_pool

# Settings that change no number of the result, and so may differ when a run is resumed; of the cross-encoder, it is
# the weights that may not.
FREE_SETTINGS = ("cross_encoder", "keep_vectors", "report_to", "save_steps", "shard_passages", "watch_lookahead")

# Training queries and positives are searched for in one pass over the vectors, as long as what both hold fits.
ONE_PASS_BYTES = 4 << 30


class Phases(Checkpoints):
    """Makes the artefacts of one run folder."""

    # ---- evaluate --------------------------------------------------------------------------------

    def evaluate(self, checkpoint: int) -> Manifest:
        """Measure a checkpoint: run, metrics and per-query values on the chosen split."""
        depth, split = self.recipe.evaluation.eval_depth, self.recipe.evaluation.split
        inputs = {**self.encoding(checkpoint), "data": self.collection.fingerprint, "split": split, "depth": depth}

        def make(target: Path) -> dict[str, Any]:
            encoded = self.vectors(checkpoint).seconds
            start = time.perf_counter()
            found = self.search(checkpoint, self.judged.queries, depth, "query", f"searching for {split} queries")
            scores = evaluate(found, self.judged, self.collection, split, target)
            spent = round(time.perf_counter() - start, 3)
            return {
                "metrics": scores.means(),
                "encode_seconds": encoded,
                "search_seconds": spent,
                "search_engine": found.engine,
            }

        return build(self.folder(checkpoint) / "evaluation", "evaluation", inputs, make, self.say, spread=True)

    def training_lists(self, checkpoint: int) -> Manifest:
        """Search for every training query: T of the next episode, and what the model has learned so far.

        Where the next episode looks around positives too, the same pass over the vectors finds their neighbours.
        """
        depth = self.recipe.mining.depth
        inputs = {**self.encoding(checkpoint), "training": self.training_key, "depth": depth}
        inputs |= self.recipe.mining.searching

        def make(target: Path) -> dict[str, Any]:
            target.mkdir()
            from ance_tele.encode.vectors import pair_scores

            asked, positives = self.query_vectors(checkpoint, self.positives.queries), self.positives
            found = self._nearest_both(checkpoint, asked, depth)
            lists = Lists.from_topk(found)
            rr = reciprocal_ranks(lists, positives)
            scores = pair_scores(asked, self.vectors(checkpoint), positives.offsets, positives.passages)
            best = np.maximum.reduceat(scores, positives.offsets[:-1])
            ids = self.collection.queries.take_ids(self.positives.queries)
            columns = {"query_id": ids, "MRR@100": rr, "positive_score": best}
            pq.write_table(pa.table(columns), target / "per_training_query.parquet")
            path = target / "training_lists.parquet"
            write_lists(path, self.positives.queries, lists, self.collection.queries, self.collection.corpus)
            recall = self.recall(checkpoint, found, lambda places: asked[places])
            return {"MRR@100": float(rr.mean()), "search_engine": found.engine, **recall}

        path = self.folder(checkpoint) / "training_lists"
        return build(path, "lists of training queries", inputs, make, self.say, spread=True)

    def _nearest_both(self, checkpoint: int, asked: np.ndarray, depth: int) -> TopK:
        """Search for training queries, float32 [q, dimension], and in the same pass around positives, if they are due.

        What is found around positives is an artefact of its own; killed after it, only the queries are searched again.
        """
        queries, rows = len(asked), self._positives_due(checkpoint)
        fits = (queries + len(rows)) * (4 * asked.shape[1] + 20 * depth) <= ONE_PASS_BYTES
        # An index takes as long to build as to ask, and more memory than both.
        if len(rows) and (fits or self.recipe.mining.search != "exact"):
            both = np.concatenate([asked, self.vectors(checkpoint).take(rows)])
            what = "searching for training queries and around positives"
            found = self.nearest(checkpoint, both, depth, what, mining=True)
            self.around_positives(checkpoint, rows, TopK(found.rows[queries:], found.scores[queries:], found.engine))
            return TopK(found.rows[:queries], found.scores[:queries], found.engine)
        return self.nearest(checkpoint, asked, depth, "searching for training queries", mining=True)

    def _positives_due(self, checkpoint: int) -> np.ndarray:
        """Return the positives (rows) that the next episode will search around, none if that is done or not wanted."""
        episode, config = checkpoint + 1, self.recipe.episode
        wanted = episode <= config.episodes and (
            config.watch_lookahead or "lookahead" in self.recipe.mining.sources_at(episode)
        )
        made = (self.folder(checkpoint) / "around_positives.parquet", self.folder(episode) / "candidates.parquet")
        done = any(read_manifest(path) is not None for path in made)
        return self.lookahead_rows if wanted and not done else np.empty(0, dtype=np.int64)

    def read_training_lists(self, checkpoint: int) -> Lists:
        """Read back the lists of the training queries."""
        path = self.folder(checkpoint) / "training_lists.parquet"
        return read_lists(path, self.positives.queries, self.collection.queries, self.collection.corpus)

    def evaluate_bm25(self) -> Manifest:
        """Measure BM25 on the chosen split."""
        split, depth = self.recipe.evaluation.split, self.recipe.evaluation.eval_depth

        def make(target: Path) -> dict[str, Any]:
            found = self.bm25(self.judged.queries, depth)
            return {"metrics": evaluate(found, self.judged, self.collection, split, target).means()}

        inputs = {"data": self.collection.fingerprint, "split": split, "depth": depth}
        return build(self.out / "bm25" / "evaluation", "evaluation", inputs, make, self.say, spread=True)

    def evaluate_final(self, checkpoint: int) -> dict[str, float]:
        """Return the final metrics, of the test split whatever split the episodes were measured on.

        Of the last checkpoint; of BM25 where there is no model.
        """
        chosen = self.recipe.evaluation
        if chosen.split == "test" or "test" not in self.collection.qrels:
            measured = self.evaluate_bm25() if self.model is None else self.evaluate(checkpoint)
            return dict(measured.facts["metrics"])
        qrels, depth = self.collection.split("test"), chosen.eval_depth
        system = {} if self.model is None else self.encoding(checkpoint)
        inputs = {**system, "data": self.collection.fingerprint, "split": "test", "depth": depth}

        def make(target: Path) -> dict[str, Any]:
            if self.model is None:
                found = self.bm25(qrels.queries, depth)
            else:
                found = self.search(checkpoint, qrels.queries, depth, "query", "searching for test queries")
            return {"metrics": evaluate(found, qrels, self.collection, "test", target).means()}

        final = build(self.out / "final" / "evaluation", "evaluation", inputs, make, self.say, spread=True)
        return dict(final.facts["metrics"])

    # ---- mine and mix ----------------------------------------------------------------------------

    def around_positives(self, checkpoint: int, rows: np.ndarray, found: TopK | None = None) -> Lists:
        """Search around passages given by row, ascending: L of the next episode, before it is joined by query.

        Where a pass for something else has ``found`` them already, they are only written.
        """
        depth, corpus = self.recipe.mining.depth, self.collection.corpus
        inputs = {**self.encoding(checkpoint), "positives": hash_of(rows), "depth": depth}
        inputs |= self.recipe.mining.searching

        def make(target: Path) -> dict[str, Any]:
            best = found or self.search(checkpoint, rows, depth, "document", "searching around positives", mining=True)
            write_lists(target, rows, Lists.from_topk(best), corpus, corpus)
            recall = self.recall(checkpoint, best, lambda places: self.vectors(checkpoint).take(rows[places]))
            return {"search_engine": best.engine, **recall}

        path = self.folder(checkpoint) / "around_positives.parquet"
        build(path, "lists around positives", inputs, make, self.say)
        return read_lists(path, rows, corpus, corpus)

    def bm25_lists(self) -> Lists:
        """Search for every training query with BM25."""
        depth, queries = self.recipe.mining.depth, self.collection.queries
        inputs = {"data": self.collection.fingerprint, "training": self.training_key, "depth": depth}

        def make(target: Path) -> None:
            found = Lists.from_topk(self.bm25(self.positives.queries, depth))
            write_lists(target, self.positives.queries, found, queries, self.collection.corpus)

        path = self.out / "bm25" / "training_lists.parquet"
        build(path, "BM25 lists of training queries", inputs, make, self.say)
        return read_lists(path, self.positives.queries, queries, self.collection.corpus)

    def mine(self, episode: int) -> Manifest:
        """Collect the candidates of an episode with the checkpoint before it."""
        config, before, seed = self.recipe.mining, episode - 1, self.recipe.episode.seed
        sources = config.sources_at(episode)
        inputs = {
            **self.encoding(before),
            "training": self.training_key,
            "sources": sources,
            "depth": config.depth,
            "lookahead_positives": config.lookahead_positives,
            "filter_answers": config.filter_answers,
            "draw": [episode, seed] if "random" in sources else None,
            **config.searching,
        }
        if config.filters:
            inputs["filters"] = {**config.filters, "cross_encoder": self.cross_encoder_key}
        if self.review is not None:
            inputs["review"] = self.review.fingerprint

        def make(target: Path) -> dict[str, Any]:
            collection = self.collection
            found = mine(
                self.positives,
                config,
                episode,
                seed,
                len(collection.corpus),
                lambda: self.read_training_lists(before),
                lambda rows: self.around_positives(before, rows),
                self.bm25_lists,
            )
            facts: dict[str, Any] = {}
            around = read_manifest(self.folder(before) / "around_positives.parquet")
            if "lookahead" in sources and around is not None and "recall" in around.facts:
                facts["recall_around"] = around.facts["recall"]  # the lists themselves are removed
            if config.filter_answers:
                found, answers = self._without_answers(found)
                facts |= answers
            if config.filters:
                score = self.pair_score(before)
                found, facts["filtered"] = without_false_negatives(
                    found, self.positives, self.known, config.filters, score
                )
            write_candidates(target, found, collection.queries, collection.corpus)
            return {**{source: len(lists.passages) for source, lists in found.lists.items()}, **facts}

        manifest = build(self.folder(episode) / "candidates.parquet", "candidates", inputs, make, self.say)
        self.__dict__.pop("cross_encoder", None)  # memory that training needs
        partial = "lookahead" not in sources or config.filter_answers or config.filters
        if self.recipe.episode.watch_lookahead and partial:
            self._watch(episode)
        for name in ("around_positives.parquet", "around_positives.parquet.manifest.json"):
            remove(self.folder(before) / name)  # the candidates hold them, by query
        return manifest

    def _watch(self, episode: int) -> None:
        """Write L of an episode by query, where its candidates do not hold the whole of it: only to be looked at."""
        config, before, collection = self.recipe.mining, episode - 1, self.collection
        which = {"depth": config.depth, "lookahead_positives": config.lookahead_positives}
        inputs = {**self.encoding(before), "training": self.training_key, **which, **config.searching}

        def make(target: Path) -> None:
            around = config.lookahead_positives
            seen = lookahead(self.positives, lambda rows: self.around_positives(before, rows), around)
            found = Candidates(self.positives.queries, {"lookahead": seen})
            write_candidates(target, found, collection.queries, collection.corpus)

        path = self.folder(episode) / "lookahead_lists.parquet"
        build(path, "lists around positives, by query", inputs, make, self.say)

    def write_positives(self) -> Manifest:
        """Write which passages are relevant to each training query, by id, for what reads run folders alone."""
        positives, collection = self.positives, self.collection

        def make(target: Path) -> None:
            owner = np.repeat(positives.queries, np.diff(positives.offsets))
            ids = collection.queries.take_ids(owner), collection.corpus.take_ids(positives.passages)
            pq.write_table(pa.table({"query_id": ids[0], "passage_id": ids[1]}), target)

        return build(self.out / "positives.parquet", "positives", {"training": self.training_key}, make, self.say)

    def _without_answers(self, found: Candidates) -> tuple[Candidates, dict[str, Any]]:
        lists, dropped = {}, {}
        for source, one in found.lists.items():
            lists[source], dropped[source] = without_answers(
                one, found.queries, self.collection.answers, self.collection.corpus
            )
        return Candidates(found.queries, lists), {"answer_bearing": dropped}

    def read_candidates(self, episode: int) -> Candidates:
        """Read back the candidates of an episode."""
        path = self.folder(episode) / "candidates.parquet"
        return read_candidates(path, self.positives.queries, self.collection.queries, self.collection.corpus)

    def mix(self, episode: int) -> Manifest:
        """Draw the pool of an episode."""
        config, seed = self.recipe.mining, self.recipe.episode.seed
        candidates = read_manifest(self.folder(episode) / "candidates.parquet")
        assert candidates is not None, "an episode is mixed before it is mined"
        past = [read_manifest(self.folder(earlier) / "pool.parquet") for earlier in range(1, episode)]
        inputs = {
            "candidates": fingerprint(candidates.inputs),
            "history": [fingerprint(pool.inputs) for pool in past if pool is not None],
            **{name: getattr(config, name) for name in ("pool_per_source", "dedup")},
            # What an episode does not use does not decide it: so recipes that begin alike share their beginning.
            "beta": config.beta_at(episode),
            "momentum": [config.momentum, config.alpha] if past and config.alpha else None,
            "episode": episode,
            "seed": seed,
        }

        def make(target: Path) -> dict[str, Any]:
            history = [self.read_pool(earlier) for earlier in range(1, episode)]
            pool = mix(self.read_candidates(episode), self.known, config, episode, seed, history)
            write_pool(target, pool, self.collection.queries, self.collection.corpus)
            return {"size": len(pool), "by_source": pool.by_source(), **pool.shortage}

        return build(self.folder(episode) / "pool.parquet", "pool", inputs, make, self.say)

    def read_pool(self, episode: int) -> Pool:
        """Read back the pool of an episode."""
        path = self.folder(episode) / "pool.parquet"
        return read_pool(path, self.positives.queries, self.collection.queries, self.collection.corpus)

    # ---- train -----------------------------------------------------------------------------------

    def train(self, episode: int) -> Manifest:
        """Train an episode's model from its pool; goes on in the middle where a checkpoint stands."""
        config, encoder, seed = self.recipe.training, self.recipe.encoder, self.recipe.episode.seed
        start = 0 if self.recipe.episode.restart == "scratch" else episode - 1
        pool = read_manifest(self.folder(episode) / "pool.parquet")
        assert pool is not None, "an episode is trained before it is mixed"
        schedule = self.recipe.schedule(episode, len(self.positives))
        settings = {name: value for name, value in asdict(config).items() if name not in FREE_SETTINGS}
        inputs = {
            "pool": fingerprint(pool.inputs),
            "training": self.training_key,
            "start": self.weights(start),
            "tokens": [self.queries.key, self.passages.key],
            "untie_encoders": encoder.untie_encoders,
            "settings": settings,
            "schedule": asdict(schedule),
            "seed": seed,
        }
        work = self.folder(episode) / "checkpoints"

        def make(target: Path) -> dict[str, Any]:
            from ance_tele.encode.encoder import weights_fingerprint
            from ance_tele.encode.loading import quiet
            from ance_tele.training.batches import Plan
            from ance_tele.training.card import model_card
            from ance_tele.training.trainer import train

            self._held = None
            model = self._fresh(start)
            batch, negatives = config.batch_queries, config.negatives_per_query
            plan = Plan(self.read_pool(episode), self.positives, batch, negatives, seed, self.known)
            # As the manifest will hold them, so that a checkpoint of the same training is known as such.
            same = {"training": fingerprint(inputs)}
            with quiet():
                trained = train(model, plan, self.queries, self.passages, config, work, schedule, same)
                model.save_pretrained(str(target), create_model_card=False)
            write_json(
                self.folder(episode) / "training_log.json",
                {"loss": trained.loss, "learning_rate": trained.learning_rate},
            )
            facts = {
                "weights": weights_fingerprint(model),
                "steps": trained.steps,
                "scheduled": trained.scheduled,
                "whole": -(-len(self.positives) // config.batch_queries) * config.epochs,
                "repeats_per_epoch": plan.repeats(),
                "queries_without_negatives": int((plan.pool.sizes == 0).sum()),
            }
            names = {"base": self.model, "recipe": self.recipe.name, "collection": self.collection.name}
            card = {**facts, **names, "episode": episode, "version": package_versions()["ance-tele"]}
            score = "cosine similarity" if model.similarity_fn_name == "cosine" else "dot product"
            text = model_card({**card, "score": score}, self.recipe.settings())
            (target / "README.md").write_text(text, "utf-8")
            self._held = (episode, model)
            return facts

        manifest = build(self.folder(episode) / "model", "model", inputs, make, self.say)
        remove(work)
        return manifest

    # ---- look back -------------------------------------------------------------------------------

    def look_back(self, episode: int) -> Manifest:
        """Compare an episode with those before it: learned, forgotten, new negatives."""
        lists = [read_manifest(self.folder(number) / "training_lists") for number in range(episode + 1)]
        inputs = {
            "lists": [fingerprint(manifest.inputs) for manifest in lists if manifest is not None],
            "mined": [self.recipe.mining.main_source(number) for number in range(1, episode + 1)],
        }

        def make(target: Path) -> dict[str, Any]:
            before, after = (self.reciprocal_ranks(number) for number in (episode - 1, episode))
            *earlier, current = (self.mined_lists(number) for number in range(1, episode + 1))
            facts = {
                **asdict(change(before, after)),
                "new_negatives": new_share(current, earlier, self.positives),
                "training_mrr": float(after.mean()),
            }
            write_json(target, facts)
            return facts

        return build(self.folder(episode) / "dynamics.json", "dynamics", inputs, make, self.say)

    def mined_lists(self, episode: int) -> Lists:
        """Read back T of an episode: what it mined for the queries."""
        lexical = self.recipe.mining.main_source(episode) == "bm25"
        return self.bm25_lists() if lexical else self.read_training_lists(episode - 1)

    def reciprocal_ranks(self, checkpoint: int) -> np.ndarray:
        """Read back the reciprocal rank of each training query under a checkpoint, float64 [q]."""
        return pq.read_table(self.folder(checkpoint) / "per_training_query.parquet")["MRR@100"].to_numpy()
