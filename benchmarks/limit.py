"""The limit that steps and encoding are compared with: FLOPs of real tokens, and the best matrix product."""

from collections.abc import Iterable

import numpy as np
import torch
from common import alternate, gemm_peak
from sentence_transformers import SentenceTransformer

from ance_tele.encode import kernels
from ance_tele.encode.precision import has_fast_bf16


def precisions() -> tuple[str, ...]:
    """Return the precisions to benchmark: bf16 only if it is not emulated (a product would take minutes)."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return ("float32", "bf16") if has_fast_bf16(device) else ("float32",)


def product_peak(precision: str) -> dict[str, float]:
    """Return the FLOP/s of torch's square matrix product, and of oneDNN's where ours uses it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peaks = {"torch": gemm_peak(torch.bfloat16 if precision == "bf16" else torch.float32, device)}
    if device == "cpu" and precision == "float32" and kernels.onednn_is_faster():
        a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
        peaks["oneDNN"] = 2 * 2048**3 / min(alternate({"": lambda: kernels.linear(a, b)}, 5, warm=2)[""])
    return peaks


class Limit:
    """The best matrix product measured so far, FLOP/s by precision.

    It is measured repeatedly, since load of other processes may slow down any single measurement.
    """

    def __init__(self, precisions: Iterable[str]) -> None:
        self.found: dict[str, dict[str, float]] = {precision: {} for precision in precisions}
        self.look()

    def look(self) -> None:
        """Measure again, and keep the maximum."""
        for precision, best in self.found.items():
            for name, rate in product_peak(precision).items():
                best[name] = max(rate, best.get(name, 0.0))

    def __getitem__(self, precision: str) -> float:
        return max(self.found[precision].values())

    def __str__(self) -> str:
        lines = (
            f"matrix product, {precision}, GFLOP/s: "
            + ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in best.items())
            for precision, best in self.found.items()
        )
        return "\n".join(lines)


def model_flops(model: SentenceTransformer, lengths: np.ndarray, passes: int) -> float:
    """Return the FLOPs of real tokens: two a weight of every product, and attention.

    Args:
        model: A BERT-like encoder.
        lengths: Tokens of each text.
        passes: 1 for encoding, 3 for training (forward, gradients of inputs, gradients of weights).
    """
    weights = sum(
        module.weight.numel()
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "pooler" not in name
    )
    config = model[0].auto_model.config
    attention = 4 * config.num_hidden_layers * config.hidden_size * float((lengths.astype(float) ** 2).sum())
    return passes * (2.0 * weights * float(lengths.sum()) + attention)
