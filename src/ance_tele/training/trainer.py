"""One episode of training: one loop over the steps of a plan."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from ance_tele.console.errors import UserError
from ance_tele.console.progress import progress
from ance_tele.console.signals import held_signals
from ance_tele.data.tokens import TokenStore, in_background
from ance_tele.encode.adapters import check_trainable
from ance_tele.encode.encoder import Forward
from ance_tele.encode.lora import adapted
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.recomputing import recomputing
from ance_tele.training.batches import BatchPlan, Collator, Feature, moved
from ance_tele.training.checkpoints import last_checkpoint, load_checkpoint, save_checkpoint
from ance_tele.training.config import TrainingConfig
from ance_tele.training.curve import Curve
from ance_tele.training.loss import TeleportationLoss
from ance_tele.training.schedule import Schedule
from ance_tele.training.teaching import TeachingConfig
from ance_tele.training.together import agreed, sum_gradients
from ance_tele.training.tracking import Tracking

log = logging.getLogger(__name__)

SAVE_SECONDS = 600.0

# Weights that do not decay, besides those of layer norms: biases, and norms by their names.
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|[._])norm(?:$|\.)")


@dataclass(frozen=True)
class Trained:
    """Loss curve and steps of an episode of training.

    Attributes:
        loss: (step, mean loss since the last point).
        learning_rate: (step, learning rate).
        steps: Steps taken.
        scheduled: Steps that the schedule spans.
        earlier_seconds: What the steps before the last interruption took; 0 without one.
    """

    loss: list[tuple[int, float]]
    learning_rate: list[tuple[int, float]]
    steps: int
    scheduled: int
    earlier_seconds: float = 0.0


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
    teaching: TeachingConfig | None = None,
    tracking: Tracking | None = None,
) -> Trained:
    """Train a model in place; interrupted training resumes from the last complete checkpoint in ``work``.

    SIGINT and SIGTERM are raised again once the running step has ended and its checkpoint is saved. Adapters
    (``lora_rank``) are in the model's weights in the end, unless an error comes before.

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
        teaching: What is learned from the teacher whose scores the plan has; None for nothing.
        tracking: Where it is logged; next to ``work`` by default.

    Raises:
        UserError: The model has no weight that can be trained, a checkpoint cannot be read, or training has diverged.

    Example:
        >>> import ance_tele as at
        >>> import numpy as np
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
    lora = config.lora_rank, config.lora_alpha, config.lora_targets, config.weights == "bf16"
    with (
        adapted(model, *lora) if config.lora_rank else nullcontext(),
        recomputing(model) if config.gradient_checkpointing else nullcontext(),
    ):
        loss_of = loss_for(model, config, rank, ranks, teaching)
        forwards = loss_of.query_forward, loss_of.passage_forward
        collate = Collator(plan, queries, passages, *forwards, rank, ranks)
        optimizer, device = adamw(model, config.weight_decay), model.device

        def made(done: int) -> Iterator[tuple[Feature, Feature]]:
            return batches(collate, schedule, done, device)

        tracking = tracking or Tracking(config.report_to, str(work.parent / "tracking"))
        pace = Pace(config.max_grad_norm, config.logging_steps, config.save_steps, tracking)
        return optimise(model, optimizer, loss_of, made, pace, work, schedule, plan.seed, inputs, rank, ranks)


@dataclass(frozen=True)
class Pace:
    """What the loop over the steps takes of a configuration.

    Attributes:
        max_grad_norm: Gradients are clipped to this norm; 0 for not at all.
        logging_steps: Steps between two points of the loss curve.
        save_steps: Steps between two checkpoints; None means every ten minutes.
        tracking: Where points of the loss curve are logged.
    """

    max_grad_norm: float
    logging_steps: int
    save_steps: int | None
    tracking: Tracking


def optimise(
    model: nn.Module,
    optimizer: AdamW,
    loss_of: Callable[..., Tensor],
    batches_after: Callable[[int], Iterator[tuple[Feature, ...]]],
    pace: Pace,
    work: Path,
    schedule: Schedule,
    seed: int,
    inputs: dict[str, Any] | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> Trained:
    """Minimise a loss step by step; what was interrupted resumes from the last complete checkpoint in ``work``.

    Args:
        model: Everything that is trained.
        optimizer: Over its weights.
        loss_of: The loss of a batch, given its features.
        batches_after: Returns the batches of the steps after so many.
        pace: Clipping, how often to log and to save, trackers.
        work: Folder for checkpoints, to be removed by the caller.
        schedule: Steps, learning rates.
        seed: Of dropout; the caller has seeded torch with it.
        inputs: Inputs of the training; checkpoints with other inputs are not used.
        rank: Rank of this process; its process group is initialised already.
        ranks: Number of processes that share each step.

    Raises:
        UserError: A checkpoint cannot be read, or training has diverged.
    """
    weights = [one for one in model.parameters() if one.requires_grad]
    torch.empty((), dtype=torch.int64).random_()  # as torch's loader of data does: the same dropout as ever
    inputs, curve, done = inputs or {}, Curve(), 0
    if rank:
        torch.manual_seed(seed + 1000003 * rank)  # dropout of its own
    if (last := last_checkpoint(work, inputs, clean=ranks == 1)) is not None:
        done, curve = last[0], load_checkpoint(last[1], model, optimizer, rank)
    model.train()
    earlier, begun, shown = curve.seconds, time.monotonic(), 0 if rank else schedule.steps
    saved = begun
    trackers = nullcontext(None) if rank else pace.tracking.opened()
    with progress("training", shown, "steps", done) as advance, held_signals() as stopping, trackers as track:
        steps = range(done + 1, schedule.steps + 1)
        for step, batch in zip(steps, batches_after(done), strict=True):
            rate = schedule.peak * schedule.share(schedule.begin + step - 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(*batch)
            loss.backward()
            if ranks > 1:
                sum_gradients(weights)
            norm = clip_grad_norm_(weights, pace.max_grad_norm) if pace.max_grad_norm > 0 else None
            optimizer.step()
            optimizer.zero_grad()
            curve.add(loss)
            advance(1)
            ended = step == schedule.steps
            if step == 1 or step % pace.logging_steps == 0 or ended:
                mean = finite(curve.close(step, rate), step)
                if track is not None:
                    norms = {} if norm is None else {"grad_norm": float(norm)}
                    track("training", step, {"loss": mean, **norms, "learning_rate": rate})
            every = pace.save_steps
            due = time.monotonic() - saved > SAVE_SECONDS if every is None else step % every == 0
            due, stop = agreed((due and not ended, stopping()), ranks)
            if due or stop:
                curve.seconds = earlier + time.monotonic() - begun
                save_checkpoint(work / f"checkpoint-{step}", model, optimizer, curve, inputs, rank, ranks)
                saved = time.monotonic()
            if stop:
                if not rank:
                    log.info(f"a checkpoint of step {step} of {schedule.steps} is saved")
                break
    return Trained(curve.loss, curve.learning_rate, step if steps else done, schedule.total, earlier)


def loss_for(
    model: SentenceTransformer,
    config: TrainingConfig,
    rank: int = 0,
    ranks: int = 1,
    teaching: TeachingConfig | None = None,
) -> TeleportationLoss:
    """Return the loss of a model, by the settings of a training."""
    return TeleportationLoss(
        model,
        Forward(model, "query", config.gradient_checkpointing),
        Forward(model, "document", config.gradient_checkpointing),
        resolve_temperature(model, config),
        in_batch_negatives=config.in_batch_negatives,
        mask_known_positives=config.mask_known_positives,
        chunk_tokens=config.chunk_tokens,
        grad_cache=config.grad_cache,
        grad_cache_tokens=config.grad_cache_tokens,
        bf16="bf16" in (config.weights, resolve_precision(config.train_precision, model.device)),
        rank=rank,
        ranks=ranks,
        compile_mode=config.compile,
        passage_share=config.passage_loss,
        teaching=teaching,
        sizes=config.matryoshka_dims,
        weights=config.matryoshka_weights,
    )


def finite(loss: float, step: int) -> float:
    """Return a mean loss.

    Raises:
        UserError: It is no number, or infinite.
    """
    if not loss < float("inf"):
        raise UserError(f"The loss is {loss} at step {step}: the model has diverged; lower the learning rate.")
    return loss


def adamw(model: nn.Module, weight_decay: float) -> AdamW:
    """Return AdamW over the weights that are trained; biases and norms do not decay."""
    norms = {id(one) for module in model.modules() if isinstance(module, nn.LayerNorm) for one in module.parameters()}
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = ([], [])
    for name, one in model.named_parameters():
        if one.requires_grad:
            groups[id(one) in norms or bool(_NO_DECAY.search(name.lower()))].append(one)
    both = [{"params": groups[0], "weight_decay": weight_decay}, {"params": groups[1], "weight_decay": 0.0}]
    return AdamW([group for group in both if group["params"]], fused=True)


def batches(
    collate: Collator, schedule: Schedule, done: int, device: torch.device
) -> Iterator[tuple[Feature, Feature]]:
    """Yield the features of the steps after ``done``; the next is made, and copied to a GPU, in the background."""

    def made(step: int) -> tuple[Feature, Feature]:
        query, passage = collate(schedule.first_step + step)
        return moved(query, device), moved(passage, device)

    return in_background(map(made, range(done, schedule.steps)))
