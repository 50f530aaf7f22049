"""Encoding of tokenised texts: batches of similar length, on all cores of a CPU or asynchronously on a GPU."""

from collections.abc import Callable, Iterator
from threading import Lock

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from ance_tele.console.errors import NotFiniteError
from ance_tele.console.progress import Advance
from ance_tele.data.tokens import TokenStore, in_background
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward, batch_budget, chunks
from ance_tele.encode.in_use import Task
from ance_tele.encode.kernels import Kernels
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.threads import side_by_side

# With fewer texts, testing whether padding can be omitted costs more than it saves.
FEW_TEXTS = 64

# Devices for which the next batch is padded, pinned and sent by a thread while they work. A CPU has no time to spare.
PREPARED_AHEAD = {"cuda"}


def token_batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Yield batches of texts of similar length, longest first, with at most ``budget`` tokens including padding.

    Takes the length of each text, int64 [n]; yields the positions of each batch. Longer texts are batches of one.
    """
    order = np.argsort(-lengths, kind="stable")
    for part in chunks(lengths[order].tolist(), budget):
        yield order[part]


def encode_texts(
    model: SentenceTransformer,
    tokens: TokenStore,
    rows: np.ndarray,
    task: Task,
    config: EncoderConfig,
    advance: Advance = lambda units: None,
) -> np.ndarray:
    """Return the vectors of texts of a token store, given by row, int64 [n]: float32 [n, dimension].

    The model's training mode is restored; ``advance`` gets the number of texts done.
    """
    forward, device = Forward(model, task), model.device
    bf16 = resolve_precision(config.precision, device) == "bf16"
    vectors: np.ndarray | None = None
    lock = Lock()
    was_training = model.training
    model.eval()
    if device.type == "cuda" and len(rows) > FEW_TEXTS:
        forward.pack(bf16)

    def keep(batch: np.ndarray, arrive: Callable[[], np.ndarray]) -> None:
        nonlocal vectors
        out = arrive()
        if not np.isfinite(out).all():
            raise NotFiniteError(f"The vectors of text {rows[batch[0]]} and of others")
        with lock:
            if vectors is None:
                vectors = np.empty((len(rows), out.shape[1]), dtype=np.float32)
            vectors[batch] = out
            advance(len(batch))

    def prepared(batch: np.ndarray) -> tuple[np.ndarray, Tensor, Tensor, list[int]]:
        ids, mask = (sent(each, device) for each in tokens.padded(rows[batch], forward.pad))
        return batch, ids, mask, tokens.lengths(rows[batch]).tolist()

    def encode(batches: Iterator[np.ndarray]) -> None:
        kernels, before = Kernels(), None
        coming: Iterator[tuple[np.ndarray, Tensor, Tensor, list[int]]] = map(prepared, batches)
        if device.type in PREPARED_AHEAD:
            coming = in_background(coming)
        # One context for all batches, and no inference mode: so autocast casts each weight once.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for batch, ids, mask, lengths in coming:
                leaving = batch, _leaving(forward(ids, mask, lengths, kernels, bf16, half))
                if before is not None:  # copied while a GPU works on the next batch
                    keep(*before)
                before = leaving
            if before is not None:
                keep(*before)

    half = forward.half(bf16)
    budget = config.encode_tokens if forward.flat else batch_budget(config.encode_tokens, device)
    batches = token_batches(tokens.lengths(rows), budget)
    try:
        if device.type == "cpu":
            side_by_side(encode, batches)
        else:
            encode(batches)
    finally:
        model.train(was_training)
    return vectors if vectors is not None else np.empty((0, model.get_embedding_dimension() or 0), np.float32)


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy an array to a device, asynchronously for a GPU."""
    here = torch.from_numpy(array)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.to(device)


def _leaving(vectors: Tensor) -> Callable[[], np.ndarray]:
    """Start copying vectors to the CPU; return a function that waits for them."""
    if vectors.device.type != "cuda":
        return vectors.cpu().numpy
    here, event = vectors.to("cpu", non_blocking=True), torch.cuda.Event()
    event.record()

    def arrive() -> np.ndarray:
        event.synchronize()
        return here.numpy()

    return arrive
