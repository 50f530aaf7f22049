"""The unit of training: an episode as one job, whose ranks share every step."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from ance_tele.console.log import muted
from ance_tele.data.collection import Qrels
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import weights_fingerprint
from ance_tele.encode.loading import load_model, quiet
from ance_tele.encode.saving import save_model
from ance_tele.engine.work import Facts, Unit, Work
from ance_tele.mining.never import NeverNegative
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.store.files import atomic
from ance_tele.training.batches import BatchPlan
from ance_tele.training.config import TrainingConfig
from ance_tele.training.schedule import Schedule
from ance_tele.training.teaching import TeachingConfig
from ance_tele.training.tracking import Tracking
from ance_tele.training.trainer import train

# What a rank trains: the model, its batches, the tokens of queries and of passages.
Held = tuple[SentenceTransformer, BatchPlan, TokenStore, TokenStore]


@dataclass(frozen=True)
class TrainJob:
    """An episode of training; its unit is ``(rank, ranks)``.

    Attributes:
        model: Folder or hub name of the model to start from; None where it is in memory alone.
        encoder: Settings of the encoder.
        plan: File of the batch plan (:func:`write_plan`).
        tokens: Folder and key of the token stores of queries and of passages.
        config: Settings of the training.
        work: Folder for checkpoints.
        schedule: Steps and learning rates.
        inputs: What the training is made of.
        target: Where rank 0 saves the trained model.
        teaching: Settings of the teacher whose scores the plan has.
        tracking: Where it is logged.
    """

    model: str | None
    encoder: dict[str, Any]
    plan: str
    tokens: list[list[str]]
    config: dict[str, Any]
    work: str
    schedule: dict[str, Any]
    inputs: dict[str, Any]
    target: str
    teaching: dict[str, Any] = field(default_factory=dict)
    tracking: dict[str, Any] | None = None
    _held: Held | None = field(default=None, compare=False)

    def open(self) -> Work:
        """Load model, plan and tokens, unless they are at hand; return what trains and saves."""
        if self._held is not None:
            model, plan, queries, passages = self._held
        else:
            assert self.model is not None
            with muted():
                model = load_model(self.model, EncoderConfig(**self.encoder))
            plan = read_plan(Path(self.plan))
            queries, passages = (TokenStore.open(Path(folder), key) for folder, key in self.tokens)
        lists = {name: tuple(value) for name, value in self.config.items() if isinstance(value, list)}
        config = TrainingConfig(**{**self.config, **lists})

        def work(unit: Unit) -> Facts:
            rank, ranks = unit
            schedule = Schedule(**self.schedule)
            with quiet(), muted(rank > 0):
                place = Path(self.work), schedule, self.inputs, rank, ranks
                logged = None if self.tracking is None else Tracking(**self.tracking)
                trained = train(model, plan, queries, passages, config, *place, TeachingConfig(**self.teaching), logged)
                if rank == 0:
                    save_model(model, self.target)
            return {**asdict(trained), "weights": weights_fingerprint(model) if rank == 0 else ""}

        return work


def write_plan(path: Path, plan: BatchPlan) -> None:
    """Write a batch plan for other processes."""
    never, pool = plan.never, plan.pool
    arrays = {f"pool.{name}": getattr(pool, name) for name in ("queries", "offsets", *COLUMNS)}
    judgements = ("queries", "offsets", "passages", "grades")
    arrays |= {f"positives.{name}": getattr(plan.positives, name) for name in judgements}
    arrays |= {f"never.{name}": getattr(never, name) for name in ("groups", "offsets", "passages")}
    if never.first is not None:
        arrays["never.first"] = never.first
    if plan.doubtful is not None:
        arrays |= {f"doubtful.{name}": getattr(plan.doubtful, name) for name in ("groups", "offsets", "passages")}
    if plan.teacher is not None:
        arrays |= {f"teacher.{name}": one for name, one in vars(plan.teacher).items()}
    if plan.forgotten is not None:
        arrays["forgotten"] = plan.forgotten
    settings = {
        "batch_queries": plan.batch_queries,
        "negatives": plan.negatives,
        "seed": plan.seed,
        "every": plan.every,
        "weight": plan.weight,
        "replay": plan.replay,
        "by_text": never.by_text,
    }
    arrays["settings"] = np.frombuffer(json.dumps(settings).encode(), np.uint8)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def read_plan(path: Path) -> BatchPlan:
    """Read back what :func:`write_plan` has written."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    settings = json.loads(arrays.pop("settings").tobytes())

    def part(prefix: str) -> dict[str, Any]:
        return {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{prefix}.")}

    never = NeverNegative(**part("never"), by_text=settings.pop("by_text"))
    teacher = TeacherScores(**scored) if (scored := part("teacher")) else None
    doubtful = NeverNegative(**part("doubtful")) if part("doubtful") else None
    pool, positives = Pool(**part("pool")), Qrels(**part("positives"))
    again = arrays.get("forgotten")
    return BatchPlan(pool, positives, known=never, doubtful=doubtful, teacher=teacher, forgotten=again, **settings)
