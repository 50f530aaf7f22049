"""Helpers of all benchmarks: alternating runs, memory, the machine and its matrix product, rows and tables.

torch is not imported here, since it would count as memory of benchmarks without it.
"""

import argparse
import ctypes
import gc
import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "numpy", "faiss-cpu", "sentence-transformers", "transformers")


def this_command() -> str:
    """Return the command line that repeats this process, without --json."""
    name, *rest = sys.argv
    if "--json" in rest:
        place = rest.index("--json")
        rest = rest[:place] + rest[place + 2 :]
    return shlex.join(["python", f"benchmarks/{Path(name).name}", *rest])


@dataclass(frozen=True)
class Row:
    """A row of the table: our time against that of a competitor, if any.

    Attributes:
        question: Task and size.
        ours: Variant of our implementation.
        seconds: Our median time; None if the script failed, with the reason in ``ours``.
        competitor: Name of the competitor.
        theirs: Its median time in seconds.
        ratio: Median speed-up over rounds.
        least: Minimum speed-up.
        most: Maximum speed-up.
        share: Our FLOP/s as a share of the machine's best matrix product.
        peak: Our peak memory in GiB.
        their_peak: The competitor's peak memory in GiB.
        command: The command line.
    """

    question: str
    ours: str
    seconds: float | None
    competitor: str = ""
    theirs: float | None = None
    ratio: float | None = None
    least: float | None = None
    most: float | None = None
    share: float | None = None
    peak: float | None = None
    their_peak: float | None = None
    command: str = field(default_factory=this_command)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option --json."""
    parser.add_argument("--json", type=Path, help="a file for the rows of the one table, which bench.py reads")


def record(path: Path | None, rows: Sequence[Row]) -> None:
    """Write rows to the file of --json, if given."""
    if path is not None:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", "utf-8")


def read_rows(path: Path) -> list[Row]:
    """Read the rows that :func:`record` wrote."""
    return [Row(**row) for row in json.loads(path.read_text("utf-8"))]


def alternate(runs: dict[str, Callable[[], object]], repeats: int, warm: int = 1) -> dict[str, list[float]]:
    """Return the seconds of each run over ``repeats`` rounds; runs alternate, so that load affects all alike.

    Args:
        runs: Functions by name.
        repeats: Number of timed rounds; every second one is in reverse order.
        warm: Warm-up rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-warm, repeats):
        for name in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
            start = time.perf_counter()
            runs[name]()
            settle()
            spent = time.perf_counter() - start
            if turn >= 0:
                seconds[name].append(spent)
    return seconds


def settle() -> None:
    """Wait until a GPU, if one is in use, has finished."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def times_faster(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Return median, minimum and maximum of theirs / ours over rounds."""
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


def peak_memory(run: Callable[[], object]) -> int:
    """Return the peak memory during a run, in bytes: of the process, or of the GPU; 0 if unknown."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated()
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        run()
        return 0
    trim()  # memory freed by the previous competitor does not count
    reset.write_text("5")
    run()
    return _status("VmHWM")


def resident() -> int:
    """Return the memory that the process holds now, in bytes; 0 where unknown."""
    if not Path("/proc/self/status").exists():
        return 0
    trim()
    return _status("VmRSS")


def trim() -> None:
    """Give freed memory back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def gemm_peak(dtype: "torch.dtype", device: str = "cpu", size: int | None = None, repeats: int = 5) -> float:
    """Return the FLOP/s of the best of several square matrix products: the limit for shares.

    Args:
        dtype: Of the factors.
        device: Any torch device.
        size: Rows and columns; 2048 on a CPU, 8192 elsewhere by default.
        repeats: How many are timed.
    """
    import torch

    size = size or (2048 if device == "cpu" else 8192)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        a @ b
        if device != "cpu":
            torch.accelerator.synchronize()

    return 2 * size**3 / min(alternate({"product": product}, repeats, warm=2)["product"])


def machine() -> str:
    """Return one line: processor or GPU, cores and threads, versions."""
    import torch

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
