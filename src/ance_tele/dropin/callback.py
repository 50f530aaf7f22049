"""``TeleportationCallback``: an ordinary SentenceTransformerTrainer whose negatives are mined again while it trains."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.training_args import BatchSamplers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ance_tele.console.errors import UserError
from ance_tele.dropin.pairs import Pairs
from ance_tele.dropin.searching import (
    COUNT,
    COUNT_OR_NONE,
    MOST_MININGS,
    Searched,
    check_arguments,
    check_cross_encoder,
    check_model,
    check_settings,
    searching,
)
from ance_tele.dropin.served import Resolve, Served, served_dataset
from ance_tele.dropin.state import FILE, State, load_state, save_state
from ance_tele.dropin.teacher import teacher_labels
from ance_tele.encode.config import EncoderConfig
from ance_tele.mining.config import MiningConfig
from ance_tele.runs.learning import change
from ance_tele.training.batches import BatchPlan

log = logging.getLogger(__name__)

Figures = dict[str, float]


class TeleportationCallback(TrainerCallback):
    """Mines the negatives of a SentenceTransformerTrainer with the model that it trains, before it and every n epochs.

    The trainer gets :attr:`train_dataset`, whose rows are an anchor, a positive and ``num_negatives`` negatives, and
    the callback; loss, collator, sampler and loader stay what they are. Every epoch reads the next negatives of the
    pool. Query, lookahead and momentum negatives are mixed as :class:`~ance_tele.mining.config.MiningConfig` says, each
    mining being an episode. The model encodes in evaluation mode, and random number generators stay as they were, so
    that dropout is that of a training without the callback. A checkpoint has its state in
    ``teleportation.safetensors``, and ``resume_from_checkpoint`` goes on as if nothing had happened. Of several
    processes the first one mines.

    After every mining, and after the last step, the training's log gets ``training_mrr`` (MRR@100 of the anchors) and,
    from the second on, the shares ``forgotten``, ``learned`` and ``unchanged`` of anchors whose positive ranks lower,
    higher or as before. Set :attr:`log` to ``trainer.log``, so that trackers get them too.

    Args:
        dataset: Rows of an anchor and a positive; equal anchors are one, with the positives of all of their rows.
        corpus: Texts to mine in addition to the positives.
        num_negatives: Of each row.
        every_epochs: Mine again after so many epochs.
        every_steps: Mine again after so many optimiser steps instead, also within an epoch.
        mining: Sources, depth, shares, filters.
        encoder: Prompts, lengths and precision of mining; prompts by default the trainer's ``prompts``, if it has any,
            else the model's own.
        teacher: A cross-encoder (or its folder or hub name); its logits for positive and negatives are the column
            ``label``, as MarginMSELoss takes them.
        anchor_column_name: Column of anchors; the first by default.
        positive_column_name: Column of positives; the second by default.
        seed: Of all draws.
        resume_from: Folder of the checkpoint to resume from, where it is not ``checkpoint-STEP`` in the trainer's
            ``output_dir``.
        cache: Folder of Arrow files and tokens; that of the package by default.

    Attributes:
        train_dataset: For the trainer.
        log: Gets the figures; None puts them into the trainer's state alone.

    Raises:
        UserError: A column is missing, or a setting is not possible here.

    Example:
        >>> from datasets import Dataset
        >>> from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
        >>> from sentence_transformers import SentenceTransformerTrainingArguments
        >>> from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        >>> pairs = Dataset.from_dict({"query": ["t1 u7", "t2 u8"], "answer": ["t1 u7 w9", "t2 u8 w5"]})
        >>> callback = TeleportationCallback(pairs, corpus=["t1 w3", "t2 w4"], num_negatives=2)
        >>> model = SentenceTransformer("my-model", device="cpu")
        >>> trainer = SentenceTransformerTrainer(
        ...     model,
        ...     SentenceTransformerTrainingArguments("out", num_train_epochs=2, report_to="none", disable_tqdm=True),
        ...     train_dataset=callback.train_dataset,
        ...     loss=MultipleNegativesRankingLoss(model),
        ...     callbacks=[callback],
        ... )
        >>> callback.log = trainer.log
        >>> done = trainer.train()  # doctest: +ELLIPSIS
        {...
        >>> [len(pool) for pool in callback.pools]
        [12, 24]
    """

    def __init__(
        self,
        dataset: Dataset,
        corpus: Sequence[str] | None = None,
        *,
        num_negatives: int = 3,
        every_epochs: int = 1,
        every_steps: int | None = None,
        mining: MiningConfig | None = None,
        encoder: EncoderConfig | None = None,
        teacher: CrossEncoder | str | None = None,
        anchor_column_name: str | None = None,
        positive_column_name: str | None = None,
        seed: int = 42,
        resume_from: str | Path | None = None,
        cache: Path | None = None,
    ) -> None:
        check_arguments(
            num_negatives=(num_negatives, COUNT),
            every_epochs=(every_epochs, COUNT),
            every_steps=(every_steps, COUNT_OR_NONE),
            seed=(seed, int),
        )
        self.mining = MiningConfig() if mining is None else mining
        self.encoder = EncoderConfig() if encoder is None else encoder
        check_settings(self.mining, self.encoder)
        if teacher is not None:
            check_cross_encoder("teacher", teacher)
        self.num_negatives, self.every_epochs, self.every_steps = num_negatives, every_epochs, every_steps
        self.teacher, self.seed, self.resume_from = teacher, seed, resume_from
        self.log: Callable[[Figures], None] | None = None
        self._pairs = Pairs.of(dataset, corpus, anchor_column_name, positive_column_name, cache)
        self._encoder = self.encoder
        self._served = Served(len(dataset), num_negatives, teacher is not None)
        self._resolve, self._state = Resolve(self._pairs, self._served), State()
        self.train_dataset = served_dataset(self._resolve)

    @property
    def pools(self) -> tuple[Any, ...]:
        """The pools of all minings so far, in the first process; rows are those of the distinct texts."""
        return self._state.pools

    # ---- events of the trainer -----------------------------------------------------------------------

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Check the arguments of the trainer."""
        if args.fsdp or args.deepspeed:
            raise UserError("The weights lie in parts on several devices (FSDP or DeepSpeed); mine in another way.")
        if getattr(args, "batch_sampler", None) == BatchSamplers.NO_DUPLICATES_HASHED:
            raise UserError(
                "batch_sampler is NO_DUPLICATES_HASHED, which hashes negatives once for all epochs; take NO_DUPLICATES."
            )
        if self.every_steps is not None and args.dataloader_num_workers:
            raise UserError(
                f"every_steps is {self.every_steps} and dataloader_num_workers {args.dataloader_num_workers}: which "
                "batches workers have read ahead is not known; set it to 0, or mine every_epochs."
            )
        if args.dataloader_num_workers and args.dataloader_persistent_workers:
            self._served.share()
        self._served.attached = True

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin anew, or where the checkpoint was saved."""
        check_model(kwargs["model"])
        if state.is_hyper_param_search:
            raise UserError(
                "The trainer searches for hyperparameters, where the checkpoints of trials mix; call train."
            )
        dataset = getattr(kwargs["train_dataloader"], "dataset", None)
        if getattr(dataset, "_format_kwargs", {}).get("transform") is not self._resolve:
            raise UserError("The trainer reads another dataset; give it train_dataset=callback.train_dataset.")
        whole, part = state.num_train_epochs, self.every_epochs
        if self.every_steps is not None:
            whole, part = state.max_steps, self.every_steps
        planned = whole // part
        if planned > MOST_MININGS:
            raise UserError(f"There would be {planned:,} minings, and {MOST_MININGS} are the most; mine less often.")
        self._state, self._encoder = State(), self._prompted(getattr(args, "prompts", None))
        if not state.global_step:
            self._served.table.fill_(-1)
            return
        loaded: list[Any] = [None]
        if state.is_world_process_zero:
            path = Path(self.resume_from or _checkpoint(args, state)) / FILE
            shape, labelled = (len(self.train_dataset), self.num_negatives), self.teacher is not None
            training = self._pairs.training
            self._state, table, labels = load_state(path, training.key, training.queries, shape, labelled)
            loaded = [(self._state.step, self._state.turn, table, labels)]
        step, turn, table, labels = broadcast_object_list(loaded)[0]
        self._state = replace(self._state, step=step, turn=turn)
        self._served.exchange(table, labels)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Mine if it is time, and put the next negatives of the pool in place."""
        if not float(state.epoch or 0).is_integer():
            return  # resumed within an epoch, whose negatives are in place
        due = self.every_steps is None and round(state.epoch or 0) % self.every_epochs == 0
        if self._state.step == state.global_step:  # mined after the last step
            self._serve()
        elif due or self._state.step < 0:
            self._mine(state, control, kwargs["model"])
        else:
            self._state = replace(self._state, turn=self._state.turn + 1)
            self._serve()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mine if it is time; after the last step, log what was learned and forgotten."""
        if state.global_step >= state.max_steps:
            self._measure(state, control, kwargs["model"])
        elif self.every_steps and state.global_step % self.every_steps == 0:
            # What the loader has read ahead keeps its negatives, so that a resumed training, which reads it again,
            # reads the same.
            ahead = np.array(gather_object(self._served.last), dtype=np.int64)
            self._mine(state, control, kwargs["model"], ahead)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save the state beside the trainer's."""
        if state.is_world_process_zero:
            labels = None if self._served.labels is None else self._served.labels.numpy()
            path, key = _checkpoint(args, state) / FILE, self._pairs.training.key
            save_state(path, self._state, self._served.table.numpy(), labels, key)

    def _prompted(self, prompts: Mapping[str, str] | str | None) -> EncoderConfig:
        """Return the settings of mining with the prompts that the trainer trains with, if it is given any."""
        if not prompts:
            return self.encoder
        columns = (self._pairs.anchor, self._pairs.positive)
        query, passage = (prompts if isinstance(prompts, str) else prompts.get(name, "") for name in columns)
        own = self.encoder
        return replace(
            own,
            query_prompt=query if own.query_prompt is None else own.query_prompt,
            passage_prompt=passage if own.passage_prompt is None else own.passage_prompt,
        )

    # ---- mining ---------------------------------------------------------------------------------------

    def _mine(
        self,
        state: TrainerState,
        control: TrainerControl,
        model: SentenceTransformer,
        kept: np.ndarray | None = None,
    ) -> None:
        """Mine with the model as it is, and exchange the negatives of all rows but those ``kept``."""
        figures: Figures = {}
        if state.is_world_process_zero:
            with searching(self._pairs, model, self.mining, self._encoder, again=bool(self._state.pools)) as searched:
                score = searched.scores(self.mining.cross_encoder)
                pool, _ = searched.pool(self._state.pools, self.seed, score)
                figures = self._figures(searched)
            pools, ranks = (*self._state.pools, pool), searched.reciprocal_ranks
            self._state = State(pools, ranks, state.global_step)
            log.info(f"mined {len(pool):,} negatives at step {state.global_step:,}: {pool.by_source()}")
        self._state = replace(self._state, step=state.global_step, turn=0)
        self._serve(kept)
        self._log(figures, state, control)

    def _measure(self, state: TrainerState, control: TrainerControl, model: SentenceTransformer) -> None:
        """Search for the anchors once more, and log what the last stretch of training has changed."""
        figures: Figures = {}
        if state.is_world_process_zero:
            with searching(self._pairs, model, self.mining, self._encoder, again=True) as searched:
                figures = self._figures(searched)
        self._log(figures, state, control)

    def _figures(self, searched: Searched) -> Figures:
        figures, before = {"training_mrr": float(searched.reciprocal_ranks.mean())}, self._state.reciprocal_ranks
        return figures if before is None else figures | asdict(change(before, searched.reciprocal_ranks))

    def _serve(self, kept: np.ndarray | None = None) -> None:
        """Put the negatives of this turn in place, in all processes."""
        shared: list[Any] = [None]
        if self._state.pools:
            table = self._table()
            labels = None
            if self.teacher is not None:
                labels = teacher_labels(self.teacher, self._pairs, table, self.encoder)
            shared = [(table, labels)]
        table, labels = broadcast_object_list(shared)[0]
        self._served.exchange(table, labels, kept)

    def _table(self) -> np.ndarray:
        """Return the negatives of each row at this turn, int64 [rows, negatives]: the next ones of its pool.

        An anchor without negatives keeps those of the mining before.
        """
        pool, positives = self._state.pools[-1], self._pairs.training.positives
        plan = BatchPlan(pool, positives, 1, self.num_negatives, self.seed, every=True)
        table = self._served.table.numpy().astype(np.int64)
        drawn = np.empty((len(positives.passages), self.num_negatives), dtype=np.int64)
        empty = pool.sizes[plan.owners] == 0
        for pair in np.flatnonzero(~empty).tolist():
            drawn[pair] = plan.passages(pair, self._state.turn)[1][1:]
        filled = ~empty[self._pairs.examples]
        table[filled] = drawn[self._pairs.examples[filled]]
        left = int((table < 0).any(axis=1).sum())
        if left:
            raise UserError(
                f"{left:,} of {len(table):,} rows have no negative; loosen the margins, raise depth, or give a larger "
                "corpus."
            )
        return table

    def _log(self, figures: Figures, state: TrainerState, control: TrainerControl) -> None:
        figures = broadcast_object_list([figures])[0]
        if self.log is None:
            state.log_history.append({**figures, "epoch": state.epoch, "step": state.global_step})
            return
        wanted = control.should_log
        self.log(dict(figures))
        control.should_log = wanted  # logging marks as done what the trainer has yet to log of this step


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    """Return the folder of the trainer's checkpoint after the steps done so far."""
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
