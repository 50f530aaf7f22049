"""What every benchmark needs: runs that take turns, the machine and its matrix product, a table."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "faiss-cpu", "sentence-transformers", "transformers")


def alternate(runs: dict[str, Callable[[], object]], repeats: int, warm: int = 1) -> dict[str, list[float]]:
    """Return the seconds of each run, ``repeats`` each, taken in turns so that a loaded machine slows all alike.

    Args:
        runs: What to time, by name.
        repeats: Rounds that count; every second one goes backwards.
        warm: Rounds before them that do not.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-warm, repeats):
        for name in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
            start = time.perf_counter()
            runs[name]()
            spent = time.perf_counter() - start
            if turn >= 0:
                seconds[name].append(spent)
    return seconds


def times_faster(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return median, least and most of theirs over ours, round by round."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def gemm_peak(dtype: torch.dtype, device: str = "cpu", size: int | None = None, repeats: int = 5) -> float:
    """Return the FLOP/s of the best of several square matrix products: the limit that shares are told of.

    Args:
        dtype: Of the factors.
        device: Any torch device.
        size: Rows and columns; 2048 on a CPU, 8192 elsewhere by default.
        repeats: How many are timed.
    """
    size = size or (2048 if device == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        a @ b
        if device != "cpu":
            torch.accelerator.synchronize()

    return 2 * size**3 / min(alternate({"product": product}, repeats, warm=2)["product"])


def machine() -> str:
    """Return one line: processor or GPU, cores and threads, versions."""
    name = platform.processor() or platform.machine()
    described = Path("/proc/cpuinfo")
    if described.exists():
        lines = described.read_text("utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    if torch.cuda.is_available():
        name += f", {torch.cuda.get_device_name()}"
    packages = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{name}, {threads}; Python {platform.python_version()}, {packages}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, columns padded so that it can be read in a terminal too."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "| " + " | ".join("-" * width for width in widths) + " |", *lines[1:]])
