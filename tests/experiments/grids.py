"""A small comparison on the toy collection."""

from pathlib import Path
from typing import Any

from ance_tele.experiments.grid import slug

SETTINGS: dict[str, Any] = {
    "episodes": 2, "query_max_len": 16, "passage_max_len": 16, "depth": 20, "pool_per_source": 6,
    "negatives_per_query": 3, "batch_queries": 24, "epochs": 3, "refresh_step": 4, "learning_rate": 3e-3,
    "precision": "float32", "train_precision": "float32", "report_to": ["none"], "split": "dev",
}  # fmt: skip
SYSTEMS = ("zero-shot", "bm25", "ance", "dpr", "q-neg", "q-neg+momentum")


def command(data: Path, model: Path, out: Path, *systems: str, seeds: tuple[int, ...] = (1,)) -> list[str]:
    words = ["compare", "--recipes", *systems, "--seeds", *map(str, seeds)]
    flags = [f"--{name}={'[none]' if name == 'report_to' else value}" for name, value in SETTINGS.items()]
    return [*words, f"--data={data}", f"--model={model}", f"--out={out}", *flags]


def folder_of(out: Path, name: str, seed: int = 1) -> Path:
    return out / "cells" / "tiny-bert" / slug(name) / f"seed-{seed}"
