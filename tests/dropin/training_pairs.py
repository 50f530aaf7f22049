"""The toy collection as what sentence-transformers trains on: a dataset of pairs, a list of texts, a trainer."""

import json
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import TrainerCallback

import ance_tele as at
from ance_tele.encode.loading import quiet

FLOAT32 = at.EncoderConfig(precision="float32")
MINING = at.MiningConfig(depth=20, pool_per_source=4)


def read_pairs(folder: Path) -> tuple[Dataset, list[str]]:
    """Return the training pairs of a collection in BEIR layout, and the texts of its corpus."""
    texts = {}
    for name in ("corpus", "queries"):
        lines = (folder / f"{name}.jsonl").read_text("utf-8").splitlines()
        texts |= {record["_id"]: record["text"] for record in map(json.loads, lines)}
    rows = [line.split("\t") for line in (folder / "qrels" / "train.tsv").read_text("utf-8").splitlines()[1:]]
    columns = {"anchor": [texts[row[0]] for row in rows], "positive": [texts[row[1]] for row in rows]}
    return Dataset.from_dict(columns), [text for key, text in texts.items() if key.startswith("d")]


def load(folder: Path) -> SentenceTransformer:
    with quiet():
        torch.manual_seed(1)  # of the pooler, which has no weights in the folder
        return SentenceTransformer(str(folder), device="cpu")


def trainer_of(
    callback: Any,
    model: SentenceTransformer,
    out: Path,
    loss: Any = None,
    others: tuple[TrainerCallback, ...] = (),
    dataset: Dataset | None = None,
    evaluated: Dataset | None = None,
    **settings: Any,
) -> SentenceTransformerTrainer:
    """Return a trainer with a callback (None: without) that trains for two epochs of nine steps."""
    usual = {"num_train_epochs": 2, "per_device_train_batch_size": 8, "learning_rate": 1e-3, "save_strategy": "no"}
    quietly = {"report_to": "none", "disable_tqdm": True, "logging_steps": 5, "use_cpu": True, "save_only_model": False}
    args = SentenceTransformerTrainingArguments(str(out), **{**usual, **quietly, **settings})
    trainer = SentenceTransformerTrainer(
        model,
        args,
        train_dataset=callback.train_dataset if dataset is None else dataset,
        eval_dataset=evaluated,
        loss=MultipleNegativesRankingLoss(model) if loss is None else loss,
        callbacks=[*([] if callback is None else [callback]), *others],
    )
    if callback is not None:
        callback.log = trainer.log
    return trainer


def weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    return {name: one.clone() for name, one in model.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
