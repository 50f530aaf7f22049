"""Training of a query encoder on the query vectors of another model, by mean squared error."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import mse_loss

from ance_tele.data.tokens import TokenStore, in_background
from ance_tele.encode.adapters import check_trainable
from ance_tele.encode.encoder import Forward
from ance_tele.encode.precision import resolve_precision
from ance_tele.mining.seeding import hashed
from ance_tele.training.batches import Feature, moved
from ance_tele.training.schedule import Schedule
from ance_tele.training.teaching import DistilConfig
from ance_tele.training.tracking import Tracking
from ance_tele.training.trainer import Pace, Trained, adamw, optimise

LOGGING_STEPS = 10


@dataclass(frozen=True)
class VectorBatches:
    """Queries with the vectors to be learned, in an order that depends on seed and epoch alone.

    Attributes:
        queries: Tokens of all queries.
        rows: The training queries, int64 [n].
        targets: Their vectors, float32 [n, dimension].
        size: Queries in a step; the last of an epoch may have fewer.
        seed: Of the order.
        pad: Id of the padding token.
    """

    queries: TokenStore
    rows: np.ndarray
    targets: np.ndarray
    size: int
    seed: int
    pad: int

    @cached_property
    def _order(self) -> Any:
        def shuffled(epoch: int) -> np.ndarray:
            return np.argsort(hashed(self.seed, epoch, "order", self.rows), kind="stable")

        return lru_cache(maxsize=2)(shuffled)

    def places(self, step: int) -> np.ndarray:
        """Return the training queries of a step, from 0, by position, int64."""
        epoch, inside = divmod(step, -(-len(self.rows) // self.size))
        found: np.ndarray = self._order(epoch)[inside * self.size : (inside + 1) * self.size]
        return found

    def __call__(self, step: int) -> Feature:
        """Return tokens, lengths and targets of a step."""
        places = self.places(step)
        rows = self.rows[places]
        ids, mask = (torch.from_numpy(each) for each in self.queries.padded(rows, self.pad))
        given = {"input_ids": ids, "attention_mask": mask, "lengths": self.queries.lengths(rows).tolist()}
        return {**given, "targets": torch.from_numpy(self.targets[places])}


def train_query_encoder(
    model: SentenceTransformer,
    queries: TokenStore,
    rows: np.ndarray,
    targets: np.ndarray,
    config: DistilConfig,
    work: Path,
    inputs: dict[str, Any],
) -> Trained:
    """Train a query encoder in place; interrupted training resumes from the last complete checkpoint in ``work``.

    Args:
        model: Its vectors have the targets' dimension.
        queries: Tokens of all queries.
        rows: The training queries, int64 [n].
        targets: Their vectors by the other model, float32 [n, dimension].
        config: Settings, steps and learning rate among them.
        work: Folder for checkpoints, to be removed by the caller.
        inputs: Inputs of the training; checkpoints with other inputs are not used.

    Raises:
        UserError: The model has no weight that can be trained, a checkpoint cannot be read, or training has diverged.
    """
    assert config.steps is not None and config.learning_rate is not None, "chosen by the caller"
    check_trainable(model, "The model")
    forward, device, steps = Forward(model, "query"), model.device, config.steps
    bf16 = resolve_precision(config.precision, device) == "bf16"
    made = VectorBatches(queries, rows, targets, config.batch_queries, config.seed, forward.pad)
    schedule = Schedule(steps, steps, math.ceil(config.warmup_ratio * steps), config.learning_rate)

    def loss_of(given: Feature) -> Tensor:
        vectors = forward(given["input_ids"], given["attention_mask"], given["lengths"], bf16=bf16)
        return mse_loss(vectors, given["targets"])

    def after(done: int) -> Iterator[tuple[Feature]]:
        return in_background((moved(made(step), device),) for step in range(done, steps))

    pace = Pace(config.max_grad_norm, LOGGING_STEPS, config.save_steps, Tracking(("none",), str(work)))
    torch.manual_seed(config.seed)
    optimizer = adamw(model, config.weight_decay)
    return optimise(model, optimizer, loss_of, after, pace, work, schedule, config.seed, inputs)
