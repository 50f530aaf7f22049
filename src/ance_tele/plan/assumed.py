"""What a plan assumes, or knows from measurements: lengths of texts, shares of a GPU's peak, links, disks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ance_tele.plan.hardware import GPU
from ance_tele.settings import Recipe

# Mean tokens of a query and of a passage with their special tokens, before anything is cut.
TOKENS: Mapping[str | None, tuple[float, float]] = {
    "msmarco": (9, 77),
    "nq": (12, 140),
    "triviaqa": (12, 140),
    None: (12, 100),
}

# As in encode.topk: rows of vectors and queries that meet in one product; candidates kept beyond k.
BLOCK_ROWS, QUERY_ROWS, MARGIN = 131072, 4096, 16

# Of a unit of search (search.grid): with more queries, the vectors are read again.
BLOCK_QUERIES = 65536

GIB = 1 << 30


@dataclass(frozen=True)
class Assumed:
    """Assumptions that convert work to time and bytes.

    Attributes:
        query_tokens: Mean tokens of a query, special tokens included. Batches are cut by length, so means count.
        passage_tokens: Mean tokens of a passage likewise.
        training: Share of the GPU's peak in training.
        encoding: Share in encoding.
        measured: Where those two were measured; "" where they are assumed.
        searching: Share of the float32 peak in search (24 TFLOP/s were measured on an H200, 36%).
        score_passes: How often search moves its scores through GPU memory: written once, read to find the best.
        tokenised: Tokens per second of tokenising on the host.
        mixed: Candidates mixed per second (measured: 500,000 queries x 400 candidates in 35 s on two cores).
        candidate_bytes: Of a candidate in Parquet, by ids (measured on random ids of an MS MARCO-sized corpus).
        pool_bytes: Of a negative in the pool likewise.
        nvlink: GB/s between GPUs of a node, in each direction.
        network: GB/s between nodes likewise (200 Gbit/s).
        disk: GB/s of the disk that several processes share, for all of them together.
    """

    query_tokens: float
    passage_tokens: float
    training: float = 0.25
    encoding: float = 0.30
    measured: str = ""
    searching: float = 0.40
    score_passes: float = 4
    tokenised: float = 1e6
    mixed: float = 5.7e6
    candidate_bytes: float = 8.2
    pool_bytes: float = 9.5
    nvlink: float = 300
    network: float = 25
    disk: float = 2


def assumed_for(recipe: Recipe, gpu: GPU, benchmark: str | None) -> Assumed:
    """Return what is assumed of a benchmark's texts and of a GPU; its shares as measured, where they were, in bf16."""
    assumed, measured = Assumed(*TOKENS[benchmark]), gpu.measured
    in_float32 = "float32" in (recipe.encoder.precision, recipe.training.train_precision)
    if measured is None or (in_float32 and gpu.kind == "GPU"):
        return assumed
    batch = recipe.encoder.encode_tokens
    encoding = next(
        (share for tokens, share in reversed(measured.encoding) if tokens <= batch), measured.encoding[0][1]
    )
    return replace(assumed, training=measured.training, encoding=encoding, measured=measured.source)
