"""One episode of training: sentence-transformers' own trainer with our batches and our loss."""

import logging
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.modules import Normalize
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import BatchSampler, DataLoader
from transformers import PrinterCallback, ProgressCallback
from transformers.integrations import is_tensorboard_available

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.console.signals import held_signals
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.adapters import check_trainable
from ance_tele.encode.encoder import Forward, resolve_precision
from ance_tele.training.batches import BatchPlan, Collator, StepSampler
from ance_tele.training.checkpoints import Watch, last_checkpoint
from ance_tele.training.config import TrainingConfig
from ance_tele.training.curve import OpenPoint
from ance_tele.training.loss import TeleportationLoss
from ance_tele.training.schedule import Schedule
from ance_tele.training.together import sum_gradients


@dataclass(frozen=True)
class Trained:
    """Loss curve and steps of an episode of training.

    Attributes:
        loss: (step, mean loss since the last point).
        learning_rate: (step, learning rate).
        steps: Steps taken.
        scheduled: Steps that the schedule spans.
    """

    loss: list[tuple[int, float]]
    learning_rate: list[tuple[int, float]]
    steps: int
    scheduled: int


def resolve_temperature(model: SentenceTransformer, config: TrainingConfig) -> float:
    """Return the temperature: as given, else 0.05 for normalised vectors, else 1."""
    if config.temperature is not None:
        return config.temperature
    return 0.05 if any(isinstance(module, Normalize) for module in model.modules()) else 1.0


def train(
    model: SentenceTransformer,
    plan: BatchPlan,
    queries: TokenStore,
    passages: TokenStore,
    config: TrainingConfig,
    work: Path,
    schedule: Schedule,
    inputs: dict[str, Any] | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> Trained:
    """Train a model in place; interrupted training resumes from the last complete checkpoint in ``work``.

    SIGINT and SIGTERM are raised again once the running step has ended and its checkpoint is saved.

    Args:
        model: The encoder, holding its initial weights.
        plan: Queries, positives and negatives by step.
        queries: Tokens of the queries.
        passages: Tokens of the passages.
        config: Batch size, schedule, precision and so on.
        work: Folder for checkpoints, to be removed by the caller.
        schedule: Steps, learning rates, place in the order of batches.
        inputs: Inputs of the training; checkpoints with other inputs are not used.
        rank: Rank of this process; its process group is initialised already.
        ranks: Number of processes that share each step.

    Raises:
        UserError: The model has no weight that can be trained, or a checkpoint holds a pickle of something else.

    Example:
        >>> import ance_tele as at
        >>> from ance_tele.data.collection import Qrels
        >>> from ance_tele.mining.pool import Pool
        >>> encoder = at.load_model("my-model", at.EncoderConfig(), device="cpu")
        >>> queries, passages = TokenStore.from_lists([[2, 5, 3]] * 2), TokenStore.from_lists([[2, 5, 6, 3]] * 4)
        >>> rows, offsets, ones = np.arange(2), np.arange(3), np.ones(2, dtype=int)
        >>> positives = Qrels(rows, offsets, passages=np.array([0, 1]), grades=ones)
        >>> pool = Pool(rows, offsets, np.array([2, 3]), ones, ones, ones, ranks=ones, scores=np.zeros(2))
        >>> plan = BatchPlan(pool, positives, batch_queries=2, negatives=1, seed=42)
        >>> config = TrainingConfig(batch_queries=2, negatives_per_query=1, report_to=("none",))
        >>> schedule = Schedule(steps=3, total=3, warmup=1, peak=1e-4)
        >>> train(encoder, plan, queries, passages, config, Path("checkpoints"), schedule).steps
        3
    """
    check_trainable(model, "The model")
    torch.manual_seed(plan.seed)
    query_forward, passage_forward = Forward(model, "query"), Forward(model, "document")
    loss = TeleportationLoss(
        model,
        query_forward,
        passage_forward,
        resolve_temperature(model, config),
        config.in_batch_negatives,
        config.mask_known_positives,
        config.chunk_tokens,
        config.grad_cache,
        config.grad_cache_tokens,
        pack=resolve_precision(config.train_precision, model.device) == "bf16",
        rank=rank,
        ranks=ranks,
    )
    collator = Collator(plan, queries, passages, query_forward, passage_forward, rank, ranks)
    epochs = -(-(schedule.first_step + schedule.steps) // plan.steps_per_epoch)
    last, point = last_checkpoint(work, inputs or {}, clean=ranks == 1), OpenPoint()
    point.resume(last)
    shown = 0 if rank else schedule.steps * config.batch_queries
    with progress("training", shown, "queries") as advance, held_signals() as stopping:
        watch = Watch(config, work, inputs or {}, advance, point, stopping, rank, ranks)
        trainer = EpisodeTrainer(
            plan,
            schedule,
            point,
            ranks,
            model=model,
            args=_arguments(config, work, schedule, plan.seed, model.device),
            train_dataset=Dataset.from_dict({"example": np.arange(plan.examples * epochs)}),
            loss=loss,
            data_collator=collator,
            callbacks=[watch],
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        if rank:
            torch.manual_seed(plan.seed + 1000003 * rank)  # dropout of its own
        try:
            trainer.train(resume_from_checkpoint=last)
        except UnpicklingError as error:
            raise UserError(
                f"{last} holds more than tensors and numbers, which is not read because it could run any code: "
                "somebody else has written it; delete it and run the same command again."
            ) from error
    history = trainer.state.log_history
    curve = [(row["step"], row["loss"]) for row in history if "loss" in row]
    rates = [(row["step"], row["learning_rate"]) for row in history if "learning_rate" in row]
    return Trained(curve, rates, trainer.state.global_step, schedule.total)


class EpisodeTrainer(SentenceTransformerTrainer):
    """The library's trainer with batches that depend on the step alone."""

    def __init__(self, plan: BatchPlan, schedule: Schedule, point: OpenPoint, ranks: int = 1, **options: Any) -> None:
        self.plan, self.schedule, self.point, self.ranks = plan, schedule, point, ranks
        super().__init__(**options)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return the batches; every rank gets all of them, since each is shared by all."""
        if self.ranks == 1:
            return super().get_train_dataloader()
        return DataLoader(self.train_dataset, batch_sampler=self.get_batch_sampler(), collate_fn=self.data_collator)

    def training_step(self, *args: Any, **options: Any) -> torch.Tensor:
        """Compute the gradients of a step, summed over the ranks; its loss is part of the next point of the curve."""
        loss: torch.Tensor = super().training_step(*args, **options)
        if self.ranks > 1:
            sum_gradients(self.model.parameters())
        self.point.add(loss)
        return loss

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log a point of the curve: after a resume, with what was summed up before."""
        if "loss" in logs:
            logs["loss"] = self.point.close(logs["loss"])
        super().log(logs, *args, **options)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule from the first step of the episode."""
        optimizer = optimizer or self.optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        schedule = self.schedule
        # PyTorch does not save a function in checkpoints.
        self.lr_scheduler = LambdaLR(optimizer, lambda step: schedule.share(step), schedule.begin - 1)
        return self.lr_scheduler

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Leave the card to :mod:`ance_tele.training.card`: the library's would describe numbers of examples."""

    def get_batch_sampler(self, *args: Any, **options: Any) -> BatchSampler:
        """Return the sampler of the plan."""
        return StepSampler(self.plan, self.schedule.steps, self.schedule.first_step)


def _arguments(
    config: TrainingConfig, work: Path, schedule: Schedule, seed: int, device: torch.device
) -> SentenceTransformerTrainingArguments:
    trackers = [name for name in config.report_to if name != "auto"]
    if "auto" in config.report_to and is_tensorboard_available():
        trackers.append("tensorboard")
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(work),
        max_steps=schedule.steps,
        per_device_train_batch_size=config.batch_queries,
        learning_rate=schedule.peak,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        bf16=resolve_precision(config.train_precision, device) == "bf16",
        use_cpu=device.type == "cpu",
        seed=seed,
        data_seed=seed,
        logging_strategy="steps",
        logging_steps=config.logging_steps,
        logging_first_step=True,
        save_strategy="no",
        disable_tqdm=True,
        report_to=trackers or "none",
        dataloader_pin_memory=device.type == "cuda",
        ddp_backend=dist.get_backend() if dist.is_initialized() else None,
    )
    # One process uses one GPU: the library would copy the model to all there are at every step.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
