"""A rank of a process group without a trainer: its gradients, summed over the ranks, and those of the whole batch."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward
from ance_tele.encode.loading import load_model
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.training.batches import BatchPlan, Collator
from ance_tele.training.loss import TeleportationLoss
from ance_tele.training.together import sum_gradients


def plan_of(queries: int, negatives: int) -> BatchPlan:
    """Each query has a positive and as many negatives, some of which others share."""
    rng = np.random.default_rng(5)
    offsets = np.arange(queries + 1)
    positives = Qrels(np.arange(queries), offsets, np.arange(queries), np.ones(queries, dtype=int))
    held = {name: np.zeros(queries * negatives, kind) for name, kind in COLUMNS.items()}
    held["passages"] = rng.integers(queries, 30, queries * negatives).astype(np.int32)
    return BatchPlan(Pool(np.arange(queries), offsets * negatives, **held), positives, queries, negatives, seed=1)


def gradients(
    start: Any, plan: BatchPlan, tokens: tuple[TokenStore, TokenStore], rank: int, ranks: int, cached: bool
) -> tuple[float, list[torch.Tensor], list[int]]:
    """Return the loss and the gradients of one step, on one's own copy of the model, and the passages of each rank."""
    model = copy.deepcopy(start).train()
    query, passage = Forward(model, "query"), Forward(model, "document")
    loss_of = TeleportationLoss(model, query, passage, 0.05, chunk_tokens=40, grad_cache=cached, rank=rank, ranks=ranks)
    features = Collator(plan, *tokens, query, passage, rank, ranks)(0)
    loss = loss_of(*features)
    loss.backward()
    if ranks > 1:
        sum_gradients(model.parameters())
    sizes = features[1].get("sizes", [])
    return float(loss), [one.grad for one in model.parameters() if one.grad is not None], sizes


def compare_gradients(folder: Path, rank: int, ranks: int, meeting: Path) -> int:
    """Compare for every loss; return the exit code."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)

    def texts(count: int) -> TokenStore:
        return TokenStore.from_lists([[2, *rng.integers(5, 90, rng.integers(1, 12)).tolist(), 3] for _ in range(count)])

    tokens = texts(8), texts(30)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=ranks)
    for untied in (False, True):
        start = load_model(folder, EncoderConfig(query_max_len=16, passage_max_len=16, untie_encoders=untied), "cpu")
        for module in start.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for queries, negatives, cached in ((8, 3, False), (8, 3, True), (1, 0, False)):
            plan = plan_of(queries, negatives)
            whole, expected, _ = gradients(start, plan, tokens, 0, 1, cached)
            loss, found, sizes = gradients(start, plan, tokens, rank, ranks, cached)
            assert queries == 1 or len(set(sizes)) > 1, "ranks are to hold unequally many passages"
            assert abs(loss - whole) < 1e-5 * max(1.0, whole), (loss, whole)
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    dist.barrier()
    dist.destroy_process_group()
    return 0
