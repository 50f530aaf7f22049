"""Mining, mixing and training, each an artefact of the run folder: made once, resumed, or made again."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.mining.candidates import Candidates
from ance_tele.mining.filters import without_answers, without_false_negatives
from ance_tele.mining.known import without_same_texts
from ance_tele.mining.mix import mix
from ance_tele.mining.pool import Pool
from ance_tele.mining.sources import mine
from ance_tele.mining.storage import read_candidates, read_pool, write_candidates, write_pool
from ance_tele.runs.evaluations import Evaluations
from ance_tele.runs.learning import change, new_share
from ance_tele.store.artefacts import (
    Manifest,
    build,
    fingerprint,
    package_versions,
    read_manifest,
    remove,
    write_json,
)

log = logging.getLogger(__name__)

# Settings that change no number of the result, and so may differ when a run is resumed; of the cross-encoder, it is
# the weights that may not.
FREE_SETTINGS = ("cross_encoder", "keep_vectors", "report_to", "save_steps", "shard_passages", "watch_lookahead")


class Phases(Evaluations):
    """Makes the artefacts of one run folder."""

    # ---- mine and mix ----------------------------------------------------------------------------

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
        inputs |= self.same_texts

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
                self.collection.negatives,
            )
            facts: dict[str, Any] = {}
            if self.never.by_text:
                found, facts["same_text"] = without_same_texts(found, self.known, self.never)
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

        manifest = build(self.folder(episode) / "candidates.parquet", "candidates", inputs, make)
        self.__dict__.pop("cross_encoder", None)  # memory that training needs
        partial = "lookahead" not in sources or config.filter_answers or config.filters
        if self.recipe.episode.watch_lookahead and partial:
            self.watch(episode)
        for name in ("around_positives.parquet", "around_positives.parquet.manifest.json"):
            remove(self.folder(before) / name)  # the candidates hold them, by query
        return manifest

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
            if not len(pool) and self.recipe.training.negatives_per_query:
                raise UserError(self._found_nothing(episode, candidates))
            write_pool(target, pool, self.collection.queries, self.collection.corpus)
            empty = int((pool.sizes == 0).sum())
            without = {"without_negatives": empty} if empty else {}
            return {"size": len(pool), "by_source": pool.by_source(), **pool.shortage, **without}

        return build(self.folder(episode) / "pool.parquet", "pool", inputs, make)

    def _found_nothing(self, episode: int, mined: Manifest) -> str:
        """Return why no training query has a negative, and what to do about it."""
        config = self.recipe.mining
        dropped = {name: mined.facts[name] for name in ("same_text", "answer_bearing") if name in mined.facts}
        dropped |= mined.facts.get("filtered", {})
        found = {
            source: mined.facts[source] + sum(counts[source] for counts in dropped.values())
            for source in config.sources_at(episode)
        }
        filters = [name for name, counts in dropped.items() if name != "same_text" and any(counts.values())]
        if not any(found.values()):
            why, remedy = "found no passage at all", "name another source of negatives in sources"
            if list(found) == ["bm25"]:
                why, remedy = "found no passage that shares a word with a query", f"{remedy}, such as '[query]'"
        elif filters:
            why = f"found {sum(found.values()):,} passages, all relevant or left out by {', '.join(filters)}"
            remedy = "loosen what leaves them out"
        else:
            why = f"found {sum(found.values()):,} passages, all of them relevant"
            remedy = "raise depth, or add passages that are not relevant"
        return (
            f"There is no negative for any of the {len(self.positives):,} training queries of episode {episode}: "
            f"{' and '.join(found)} {why} (the collection has {len(self.collection.corpus):,}); {remedy}."
        )

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
        schedule = self.recipe.schedule(episode, self.examples)
        several = len(self.positives.passages) > len(self.positives)
        free = (*FREE_SETTINGS, *(() if several else ("positives",)))
        settings = {name: value for name, value in asdict(config).items() if name not in free}
        settings["negatives_cross_device"] = False  # a former setting, in the manifests of earlier models
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
        inputs |= self.same_texts
        work = self.folder(episode) / "checkpoints"

        def make(target: Path) -> dict[str, Any]:
            from ance_tele.encode.encoder import text_format, weights_fingerprint
            from ance_tele.encode.loading import quiet
            from ance_tele.training.batches import Plan, by_turn
            from ance_tele.training.card import model_card
            from ance_tele.training.trainer import train

            self._held = None
            model = self._fresh(start)
            batch, negatives = config.batch_queries, config.negatives_per_query
            every, turns = config.positives == "all", by_turn(self.positives, seed)
            plan = Plan(self.read_pool(episode), turns, batch, negatives, seed, self.never, every)
            self._refuse_nothing(plan.without_negative(config.in_batch_negatives, config.mask_known_positives))
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
                "whole": plan.steps_per_epoch * config.epochs,
                "queries": len(turns),
                "pairs": len(turns.passages),
                "pairs_used": plan.pairs_used(schedule.steps, schedule.first_step),
                "repeats_per_epoch": plan.repeats(),
                "queries_without_negatives": int((plan.pool.sizes == 0).sum()),
            }
            names = {"base": self.model, "recipe": self.recipe.name, "collection": self.collection.name}
            card = {**facts, **names, "episode": episode, "version": package_versions()["ance-tele"]}
            score = "cosine similarity" if model.similarity_fn_name == "cosine" else "dot product"
            card |= {"score": score, "separator": text_format(model, encoder, "document").title_separator}
            text = model_card(card, self.recipe.settings())
            (target / "README.md").write_text(text, "utf-8")
            self._held = (episode, model)
            return facts

        manifest = build(self.folder(episode) / "model", "model", inputs, make)
        remove(work)
        return manifest

    def _refuse_nothing(self, without: int) -> None:
        """Refuse to train where the loss would be 0 at every step; count the queries for which it is."""
        count, config = len(self.positives), self.recipe.training
        if without < count:
            if without:
                log.info(f"{without:,} of {count:,} training queries meet no negative: nothing is learned from them")
            return
        if not config.in_batch_negatives:
            why, remedy = "in_batch_negatives is off", "switch it on, or have negatives_per_query above 0"
        elif min(config.batch_queries, count) == 1:
            why, remedy = "a batch holds one query", "train on more queries, with batch_queries above 1"
        else:
            why, remedy = "all passages that a batch can hold are relevant to its queries", "add other passages"
        raise UserError(
            f"None of the {count:,} training queries would meet a negative, and the loss be 0 at every step: there is "
            f"none of its own in a pool, and {why}; {remedy}."
        )

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

        return build(self.folder(episode) / "dynamics.json", "dynamics", inputs, make)
