"""The paper's training settings by benchmark (Tables 5 and 7), and those of the official code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Its encoders are plain BERT folders: first token, no normalisation, dot product.
BERT: Mapping[str, Any] = {"pooling": "cls", "normalize": False, "title_separator": "[SEP]", "query_max_len": 32}

_MARCO: Mapping[str, Any] = {
    **BERT,
    "passage_max_len": 128,
    "learning_rate": 5e-6,
    "batch_queries": 8,
    "negatives_per_query": 31,
    "epochs": 3,
    "refresh_step": 20_000,
    "pool_per_source": 30,
    "split": "dev",
}
_OPENQA: Mapping[str, Any] = {
    **BERT,
    "passage_max_len": 156,
    "learning_rate": 5e-6,
    "batch_queries": 128,
    "negatives_per_query": 11,
    "epochs": 40,
    "refresh_step": 2000,
    "pool_per_source": 80,
    "untie_encoders": True,
    "filter_answers": True,
}
SCALES: Mapping[str, Mapping[str, Any]] = {"marco": _MARCO, "nq": _OPENQA, "triviaqa": _OPENQA}
"""Table 5, by benchmark. What makes a recipe the one it is (sources, shares, episodes) is not among them."""

ANCE: Mapping[str, Any] = {"refresh_step": 10_000, "negatives_per_query": 7, "warmup_steps": 5000}
"""Table 7: what differs for ANCE after its BM25 episode; its rate of 1e-6 is the recipe's ``later_rate`` of 5e-6."""

OFFICIAL: Mapping[str, Any] = {"momentum": "all", "mask_known_positives": False, "lookahead_positives": "first"}
"""What the authors' public code does otherwise than the paper's text."""

STARTS: Mapping[str, str] = {
    "bert-base": "google-bert/bert-base-uncased",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "condenser": "Luyu/condenser",
    "co-condenser-marco": "Luyu/co-condenser-marco",
    "co-condenser-wiki": "Luyu/co-condenser-wiki",
}
"""Pretrained models by short name."""

START_OF_SCALE: Mapping[str, str] = {
    "marco": STARTS["co-condenser-marco"],
    "nq": STARTS["co-condenser-wiki"],
    "triviaqa": STARTS["co-condenser-wiki"],
}
"""From which of them the paper trains its main models."""


def start_of(name: str) -> str:
    """Return the hub name of a short name ("co-condenser-marco"); other names unchanged, and those of folders."""
    return name if Path(name).is_dir() else STARTS.get(name, name)
