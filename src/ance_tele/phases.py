"""The phases of an episode, each an artefact of the run folder: made once, resumed, or made again.

Checkpoint 0 is the model as it was given; checkpoint i is what episode i has trained. A checkpoint's corpus
vectors are encoded once and serve its evaluation and the mining of the next episode.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ance_tele.data.artefacts import (
    Manifest,
    Say,
    build,
    fingerprint,
    package_versions,
    read_manifest,
    remove,
    write_json,
)
from ance_tele.data.collection import Collection, Qrels
from ance_tele.data.errors import UserError
from ance_tele.data.tokens import TokenStore, tokenize
from ance_tele.dynamics.learning import change, new_share, reciprocal_ranks
from ance_tele.encode.topk import TopK, exact_topk
from ance_tele.evaluate.retrieval import evaluate
from ance_tele.mining.candidates import Candidates, Lists
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import Pool
from ance_tele.mining.seeding import hashed
from ance_tele.mining.sources import mine
from ance_tele.mining.storage import read_candidates, read_lists, read_pool, write_candidates, write_lists, write_pool
from ance_tele.recipes import Recipe

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ance_tele.encode.vectors import Vectors

# Settings that change no number of the result, and so may differ when a run is resumed.
FREE_SETTINGS = ("keep_vectors", "report_to", "save_steps", "shard_passages")


class Phases:
    """Makes the artefacts of one run folder.

    Args:
        recipe: What to do.
        collection: On which data.
        model: Folder or hub name of the model to start from; None for recipes without a model.
        out: The run folder.
        cache: Folder for the token stores.
        say: Gets one line per phase.
    """

    def __init__(
        self, recipe: Recipe, collection: Collection, model: str | Path | None, out: Path, cache: Path, say: Say
    ) -> None:
        self.recipe, self.collection, self.model = recipe, collection, model
        self.out, self.cache, self.say = out, cache, say
        self._held: tuple[int, SentenceTransformer] | None = None

    def folder(self, checkpoint: int) -> Path:
        """Return the folder of a checkpoint: ``episode-N``."""
        return self.out / f"episode-{checkpoint}"

    # ---- what all phases share -------------------------------------------------------------------

    @cached_property
    def judged(self) -> Qrels:
        """Judgements of the split that every episode is measured on."""
        return self.collection.split(self.recipe.evaluation.split)

    @cached_property
    def positives(self) -> Qrels:
        """Relevant passages of the training queries; of some of them, drawn by the seed, where so asked."""
        positives = self.collection.split("train").relevant()
        limit = self.recipe.episode.max_train_queries
        if limit is not None and limit < len(positives):
            lot = hashed(self.recipe.episode.seed, 0, "training queries", positives.queries)
            positives = positives.select(positives.queries[np.argsort(lot, kind="stable")[:limit]])
        if not len(positives):
            raise UserError(f"Collection '{self.collection.name}' has no training query with a relevant passage.")
        return positives

    @cached_property
    def training_key(self) -> str:
        """Fingerprint of the training queries and their positives."""
        parts = (self.positives.queries, self.positives.offsets, self.positives.passages)
        return fingerprint([self.collection.fingerprint, *(hash_of(part) for part in parts)])

    def load(self, checkpoint: int) -> "SentenceTransformer":
        """Return the model of a checkpoint; the one last used is kept in memory."""
        if self._held is None or self._held[0] != checkpoint:
            self._held = (checkpoint, self._fresh(checkpoint))
        return self._held[1]

    def _fresh(self, checkpoint: int) -> "SentenceTransformer":
        from ance_tele.encode.encoder import load_model

        assert self.model is not None
        return load_model(self.folder(checkpoint) / "model" if checkpoint else self.model, self.recipe.encoder)

    def trained(self, checkpoint: int) -> bool:
        """Say whether a checkpoint's model stands."""
        return read_manifest(self.folder(checkpoint) / "model") is not None

    def weights(self, checkpoint: int) -> str:
        """Return the fingerprint of a checkpoint's weights."""
        if checkpoint == 0:
            return self._start_weights
        manifest = read_manifest(self.folder(checkpoint) / "model")
        assert manifest is not None, "a checkpoint is used before it is trained"
        return str(manifest.facts["weights"])

    @cached_property
    def _start_weights(self) -> str:
        from ance_tele.encode.encoder import weights_fingerprint

        return weights_fingerprint(self.load(0))

    @cached_property
    def passages(self) -> TokenStore:
        """Tokens of the corpus."""
        return self._tokens("document", "passages")

    @cached_property
    def queries(self) -> TokenStore:
        """Tokens of all queries."""
        return self._tokens("query", "queries")

    def _tokens(self, task: Any, what: str) -> TokenStore:
        from ance_tele.encode.encoder import text_format, tokenizer_of

        # Training leaves the tokenizer as it is, so any checkpoint's will do.
        model = self._held[1] if self._held else self.load(0)
        texts = self.collection.corpus if task == "document" else self.collection.queries
        form = text_format(model, self.recipe.encoder, task)
        return tokenize(texts, tokenizer_of(model, task), form, self.cache, self.collection.fingerprint, what, self.say)

    def encoding(self, checkpoint: int) -> dict[str, Any]:
        """Return what decides a checkpoint's vectors, for the manifests of what is made of them."""
        config = self.recipe.encoder
        return {
            "weights": self.weights(checkpoint),
            "passages": self.passages.key,
            "queries": self.queries.key,
            "precision": config.precision,
            "encode_tokens": config.encode_tokens,
        }

    def vectors(self, checkpoint: int) -> "Vectors":
        """Return the corpus vectors of a checkpoint, encoding the shards that do not stand."""
        from ance_tele.encode.vectors import encode_corpus

        folder, weights = self.folder(checkpoint) / "vectors", self.weights(checkpoint)
        model = self.load(checkpoint)
        return encode_corpus(model, self.passages, "document", self.recipe.encoder, folder, weights, say=self.say)

    def search(self, checkpoint: int, rows: np.ndarray, depth: int, task: Any, what: str) -> TopK:
        """Search the corpus for queries, or for passages (``task`` "document"), given by row."""
        vectors = self.vectors(checkpoint)
        model = self.load(checkpoint)
        if task == "document":
            asked = vectors.take(rows)
        else:
            from ance_tele.encode.encoder import encode_rows

            asked = encode_rows(model, self.queries, rows, task, self.recipe.encoder)
        device = "cpu" if model.device.type == "cpu" else str(model.device)
        return exact_topk(asked, vectors, depth, self.collection.corpus.id_rank, device, what=what)

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
            return {"metrics": scores.means(), "encode_seconds": encoded, "search_seconds": spent}

        return build(self.folder(checkpoint) / "evaluation", "evaluation", inputs, make, self.say, spread=True)

    def training_lists(self, checkpoint: int) -> Manifest:
        """Search for every training query: T of the next episode, and what the model has learned so far."""
        depth = self.recipe.mining.depth
        inputs = {**self.encoding(checkpoint), "training": self.training_key, "depth": depth}

        def make(target: Path) -> dict[str, Any]:
            import pyarrow as pa
            import pyarrow.parquet as pq

            target.mkdir()
            found = self.search(checkpoint, self.positives.queries, depth, "query", "searching for training queries")
            lists = Lists.from_topk(found)
            rr = reciprocal_ranks(lists, self.positives)
            ids = self.collection.queries.take_ids(self.positives.queries)
            pq.write_table(pa.table({"query_id": ids, "MRR@100": rr}), target / "per_training_query.parquet")
            path = target / "training_lists.parquet"
            write_lists(path, self.positives.queries, lists, self.collection.queries, self.collection.corpus)
            return {"MRR@100": float(rr.mean())}

        path = self.folder(checkpoint) / "training_lists"
        return build(path, "lists of training queries", inputs, make, self.say, spread=True)

    def read_training_lists(self, checkpoint: int) -> Lists:
        """Read back the lists of the training queries."""
        path = self.folder(checkpoint) / "training_lists.parquet"
        return read_lists(path, self.positives.queries, self.collection.queries, self.collection.corpus)

    def evaluate_bm25(self) -> Manifest:
        """Measure BM25 on the chosen split."""
        split, depth = self.recipe.evaluation.split, self.recipe.evaluation.eval_depth

        def make(target: Path) -> dict[str, Any]:
            found = self._bm25(self.judged.queries, depth)
            return {"metrics": evaluate(found, self.judged, self.collection, split, target).means()}

        inputs = {"data": self.collection.fingerprint, "split": split, "depth": depth}
        return build(self.out / "bm25" / "evaluation", "evaluation", inputs, make, self.say, spread=True)

    def evaluate_final(self, checkpoint: int) -> dict[str, float]:
        """Return the last checkpoint's metrics on the test split, whatever split the episodes were measured on."""
        chosen = self.recipe.evaluation
        if chosen.split == "test" or "test" not in self.collection.qrels:
            return dict(self.evaluate(checkpoint).facts["metrics"])
        qrels, depth = self.collection.split("test"), chosen.eval_depth
        inputs = {**self.encoding(checkpoint), "data": self.collection.fingerprint, "split": "test", "depth": depth}

        def make(target: Path) -> dict[str, Any]:
            found = self.search(checkpoint, qrels.queries, depth, "query", "searching for test queries")
            return {"metrics": evaluate(found, qrels, self.collection, "test", target).means()}

        final = build(self.out / "final" / "evaluation", "evaluation", inputs, make, self.say, spread=True)
        return dict(final.facts["metrics"])

    def _bm25(self, queries: np.ndarray, depth: int) -> TopK:
        texts = self.collection.queries.table["text"].take(queries).to_pylist()
        return self._bm25_index.search(texts, depth, self.collection.corpus.id_rank)

    @cached_property
    def _bm25_index(self) -> Any:
        from ance_tele.encode.lexical import BM25

        return BM25(self.collection.corpus)

    # ---- mine and mix ----------------------------------------------------------------------------

    def mine(self, episode: int) -> Manifest:
        """Collect the candidates of an episode with the checkpoint before it."""
        config, before, seed = self.recipe.mining, episode - 1, self.recipe.episode.seed
        lists = self.training_lists(before)
        inputs = {
            **self.encoding(before),
            "query_lists": fingerprint(lists.inputs),
            "training": self.training_key,
            "sources": config.sources_at(episode),
            "depth": config.depth,
            "lookahead_positives": config.lookahead_positives,
            "episode": episode,
            "seed": seed,
        }

        def make(target: Path) -> dict[str, Any]:
            found = mine(
                self.positives,
                config,
                episode,
                seed,
                len(self.collection.corpus),
                lambda: self.read_training_lists(before),
                lambda rows: self.search(before, rows, config.depth, "document", "searching around positives"),
                lambda: Lists.from_topk(self._bm25(self.positives.queries, config.depth)),
            )
            write_candidates(target, found, self.collection.queries, self.collection.corpus)
            return {source: len(lists.passages) for source, lists in found.lists.items()}

        return build(self.folder(episode) / "candidates.parquet", "candidates", inputs, make, self.say)

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
            **{name: getattr(config, name) for name in ("pool_per_source", "alpha", "beta", "momentum", "dedup")},
            "episode": episode,
            "seed": seed,
        }

        def make(target: Path) -> dict[str, Any]:
            history = [self.read_pool(earlier) for earlier in range(1, episode)]
            pool = mix(self.read_candidates(episode), self.positives, config, episode, seed, history)
            write_pool(target, pool, self.collection.queries, self.collection.corpus)
            return {"size": len(pool), "by_source": pool.by_source(), **pool.shortage}

        return build(self.folder(episode) / "pool.parquet", "pool", inputs, make, self.say)

    def read_pool(self, episode: int) -> Pool:
        """Read back the pool of an episode."""
        path = self.folder(episode) / "pool.parquet"
        return read_pool(path, self.positives.queries, self.collection.queries, self.collection.corpus)

    # ---- train -----------------------------------------------------------------------------------

    def stop_after(self, episode: int, scheduled: int) -> int | None:
        """Return the refresh step of an episode; None for the last, which runs to its end."""
        config = self.recipe.episode
        if episode == config.episodes:
            return None
        return max(1, config.refresh_step or round(config.refresh_fraction * scheduled))

    def train(self, episode: int) -> Manifest:
        """Train an episode's model from its pool; goes on in the middle where a checkpoint stands."""
        config, encoder, seed = self.recipe.training, self.recipe.encoder, self.recipe.episode.seed
        start = 0 if self.recipe.episode.restart == "scratch" else episode - 1
        pool = read_manifest(self.folder(episode) / "pool.parquet")
        assert pool is not None, "an episode is trained before it is mixed"
        scheduled = -(-len(self.positives) // config.batch_queries) * config.epochs
        stop = self.stop_after(episode, scheduled)
        settings = {name: value for name, value in asdict(config).items() if name not in FREE_SETTINGS}
        inputs = {
            "pool": fingerprint(pool.inputs),
            "training": self.training_key,
            "start": self.weights(start),
            "tokens": [self.queries.key, self.passages.key],
            "untie_encoders": encoder.untie_encoders,
            "settings": settings,
            "stop": stop,
            "seed": seed,
        }
        work = self.folder(episode) / "checkpoints"

        def make(target: Path) -> dict[str, Any]:
            from ance_tele.encode.encoder import quiet, weights_fingerprint
            from ance_tele.training.batches import Plan
            from ance_tele.training.card import model_card
            from ance_tele.training.trainer import train

            self._held = None
            model = self._fresh(start)
            plan = Plan(self.read_pool(episode), self.positives, config.batch_queries, config.negatives_per_query, seed)
            # As the manifest will hold them, so that a checkpoint of the same training is known as such.
            same = {"training": fingerprint(inputs)}
            with quiet():
                trained = train(model, plan, self.queries, self.passages, config, work, stop, same)
                model.save_pretrained(str(target), create_model_card=False)
            write_json(
                self.folder(episode) / "training_log.json",
                {"loss": trained.loss, "learning_rate": trained.learning_rate},
            )
            facts = {
                "weights": weights_fingerprint(model),
                "steps": trained.steps,
                "scheduled": trained.scheduled,
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
        inputs = {"lists": [fingerprint(manifest.inputs) for manifest in lists if manifest is not None]}

        def make(target: Path) -> dict[str, Any]:
            before, after = (self.reciprocal_ranks(number) for number in (episode - 1, episode))
            mined: Sequence[Lists] = [self.read_training_lists(number) for number in range(episode)]
            facts = {
                **asdict(change(before, after)),
                "new_negatives": new_share(mined[-1], list(mined[:-1])),
                "training_mrr": float(after.mean()),
            }
            write_json(target, facts)
            return facts

        return build(self.folder(episode) / "dynamics.json", "dynamics", inputs, make, self.say)

    def reciprocal_ranks(self, checkpoint: int) -> np.ndarray:
        """Read back the reciprocal rank of each training query under a checkpoint, float64 [q]."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder(checkpoint) / "per_training_query.parquet")["MRR@100"].to_numpy()

    def drop_vectors(self, checkpoint: int) -> None:
        """Remove the vectors of a checkpoint that nothing will read any more, unless they are to be kept."""
        if not self.recipe.episode.keep_vectors:
            remove(self.folder(checkpoint) / "vectors")


def hash_of(array: np.ndarray) -> str:
    """Return the sha-256 (hex) of an integer array."""
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.int64).tobytes()).hexdigest()
