"""Training of a cross-encoder by sentence-transformers' own trainer, resumable from our checkpoints.

The trainer's checkpoints are pickles. Ours are safetensors: a resumed training gives the trainer the rest of the
batches and of the schedule, and the optimiser and random numbers as they were.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, ListNetLoss
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, TrainerCallback

from ance_tele.console.progress import Advance, progress
from ance_tele.console.signals import held_signals
from ance_tele.encode.loading import quiet
from ance_tele.encode.precision import resolve_precision
from ance_tele.training.checkpoints import last_checkpoint, load_checkpoint, save_checkpoint
from ance_tele.training.curve import Curve
from ance_tele.training.schedule import Schedule
from ance_tele.training.teaching import CrossEncoderConfig
from ance_tele.training.trainer import SAVE_SECONDS, Trained, adamw, finite

log = logging.getLogger(__name__)

LOGGING_STEPS = 10


def train_cross_encoder(
    model: CrossEncoder, lists: Path, rows: int, config: CrossEncoderConfig, work: Path, inputs: dict[str, Any]
) -> Trained:
    """Train a cross-encoder in place; interrupted training resumes from the last complete checkpoint in ``work``.

    Args:
        model: With one output.
        lists: Arrow file of what it is trained on, in the order of batches: for the loss "list" a row is a query, its
            passages and their labels, logits of the distribution to be learned; for "binary" a query, a passage and its
            label, 1 or 0.
        rows: Rows of a step.
        config: Settings.
        work: Folder for checkpoints, to be removed by the caller.
        inputs: Inputs of the training; checkpoints with other inputs are not used.

    Raises:
        UserError: A checkpoint cannot be read, or training has diverged.
    """
    assert config.learning_rate is not None, "chosen by the caller"
    data = Dataset.from_file(str(lists))
    steps = math.ceil(len(data) / rows)
    schedule = Schedule(steps, steps, math.ceil(config.warmup_ratio * steps), config.learning_rate)
    torch.manual_seed(config.seed)
    optimizer, curve, done = adamw(model, config.weight_decay), Curve(), 0
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate
    if (last := last_checkpoint(work, inputs)) is not None:
        done, curve = last[0], load_checkpoint(last[1], model, optimizer, 0)
        if done == steps:
            return Trained(curve.loss, curve.learning_rate, done, steps, curve.seconds)
    earlier = curve.seconds
    for group in optimizer.param_groups:
        group["initial_lr"] = config.learning_rate
    rates = LambdaLR(optimizer, lambda step: schedule.share(done + step))
    with progress("training", steps, "steps", done) as advance, held_signals() as stopping, quiet():
        keep = _Keep(model, optimizer, curve, inputs, work, done, schedule, config.save_steps, stopping, advance)
        loss = (BinaryCrossEntropyLoss if config.loss == "binary" else ListNetLoss)(model)
        loss.register_forward_hook(lambda module, given, found: curve.add(found))
        trainer = CrossEncoderTrainer(
            model=model,
            args=_arguments(model, work, rows, steps - done, config),
            train_dataset=data.select(range(done * rows, len(data))),
            loss=loss,
            optimizers=(optimizer, rates),
            callbacks=[keep],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return Trained(curve.loss, curve.learning_rate, keep.done, steps, earlier)


def _arguments(
    model: CrossEncoder, work: Path, rows: int, steps: int, config: CrossEncoderConfig
) -> CrossEncoderTrainingArguments:
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=rows,
        max_steps=steps,
        max_grad_norm=config.max_grad_norm,
        bf16=resolve_precision(config.precision, model.device) == "bf16",
        use_cpu=model.device.type == "cpu",
        batch_sampler=_InOrder,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=config.seed,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # the trainer would split each batch over all GPUs, by DataParallel
    return arguments


class _InOrder(DefaultBatchSampler):
    """Batches of consecutive rows: the file holds them in their order."""

    def __init__(self, dataset: Dataset, batch_size: int, drop_last: bool, **others: Any) -> None:
        super().__init__(SequentialSampler(dataset), batch_size, drop_last, **others)


@dataclass
class _Keep(TrainerCallback):
    """Saves checkpoints, notes the loss, and ends training after the running step where a signal has come."""

    model: CrossEncoder
    optimizer: torch.optim.Optimizer
    curve: Curve
    inputs: dict[str, Any]
    work: Path
    done: int
    schedule: Schedule
    every: int | None
    stopping: Callable[[], bool]
    advance: Advance

    def __post_init__(self) -> None:
        self.saved = time.monotonic()
        self.begun = self.saved - self.curve.seconds
        self.random: list[Any] | None = _random(self.model) if self.done else None

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Put back the random numbers of a checkpoint, after the trainer has drawn its own."""
        if self.random is not None:
            torch.set_rng_state(self.random[0])
            if len(self.random) > 1:
                torch.cuda.set_rng_state(self.random[1], self.model.device)
            self.random = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add a point to the curve; save a checkpoint if one is due, or if training ends before its time."""
        self.done += 1
        self.advance(1)
        ended, stop = self.done == self.schedule.steps, self.stopping()
        if self.done % LOGGING_STEPS == 0 or ended:
            rate = self.schedule.peak * self.schedule.share(self.done - 1)
            finite(self.curve.close(self.done, rate), self.done)
        by_time = time.monotonic() - self.saved > SAVE_SECONDS
        due = by_time if self.every is None else self.done % self.every == 0
        if stop or (due and not ended):
            self.curve.seconds = time.monotonic() - self.begun
            folder = self.work / f"checkpoint-{self.done}"
            save_checkpoint(folder, self.model, self.optimizer, self.curve, self.inputs, 0, 1)
            self.saved = time.monotonic()
        if stop:
            log.info(f"a checkpoint of step {self.done} of {self.schedule.steps} is saved")
            control.should_training_stop = True


def _random(model: CrossEncoder) -> list[Any]:
    on_gpu = [torch.cuda.get_rng_state(model.device)] if model.device.type == "cuda" else []
    return [torch.get_rng_state(), *on_gpu]
