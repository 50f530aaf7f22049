"""What the callback leaves beside a trainer's checkpoint: pools, ranks, and the negatives in use, as safetensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ance_tele.console.errors import UserError
from ance_tele.mining.pool import COLUMNS, Pool
from ance_tele.store.files import atomic, reading

FILE = "teleportation.safetensors"


@dataclass(frozen=True)
class State:
    """Everything by which a training goes on mining as if nothing had happened.

    Attributes:
        pools: Of all minings so far, in order.
        reciprocal_ranks: Of the anchors' positives at the last mining, float64 [q]; None before the first.
        step: Optimiser steps done before the last mining.
        turn: Epochs begun since then, 0 in the epoch of the mining.
    """

    pools: tuple[Pool, ...] = field(default=(), repr=False)
    reciprocal_ranks: np.ndarray | None = field(default=None, repr=False)
    step: int = -1
    turn: int = 0


def save_state(path: Path, state: State, table: np.ndarray, labels: np.ndarray | None, key: str) -> None:
    """Write a state, the negatives in use and a teacher's scores of them; ``key`` names the data."""
    arrays: dict[str, np.ndarray] = {"table": table}
    if labels is not None:
        arrays["labels"] = labels
    if state.reciprocal_ranks is not None:
        arrays["reciprocal_ranks"] = state.reciprocal_ranks
    for number, pool in enumerate(state.pools):
        for name in ("offsets", *COLUMNS):
            arrays[f"pool.{number}.{name}"] = getattr(pool, name)
    about = {
        "key": key,
        "step": state.step,
        "turn": state.turn,
        "names": [pool.names for pool in state.pools],
        "shortages": [pool.shortage for pool in state.pools],
    }
    with atomic(path) as temporary:
        save_file(
            {name: np.ascontiguousarray(one) for name, one in arrays.items()}, temporary, {"about": json.dumps(about)}
        )


def load_state(
    path: Path, key: str, queries: np.ndarray, shape: tuple[int, int], labelled: bool
) -> tuple[State, np.ndarray, np.ndarray | None]:
    """Read what :func:`save_state` wrote.

    Args:
        path: The file.
        key: Of the data.
        queries: Rows of the anchors, int64 [q].
        shape: Rows of the dataset, and negatives of each.
        labelled: There must be a teacher's scores.

    Raises:
        UserError: It is missing or damaged, or of other data.
    """
    if not path.is_file():
        raise UserError(
            f"{path} is missing; if the checkpoint lies elsewhere, name its folder to the callback (resume_from), and "
            "if it was cut short or saved without the callback, delete it and resume from the one before."
        )
    advice = f"delete the folder {path.parent.name} and resume from the checkpoint before"
    with reading(path, advice), safe_open(path, "numpy") as file:
        about: Mapping[str, object] = json.loads(file.metadata()["about"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        labels = arrays.get("labels")
        if about["key"] != key or arrays["table"].shape != shape or labelled != (labels is not None):
            raise UserError(
                f"{path} is of another dataset, corpus, teacher or num_negatives; resume with those that the "
                "checkpoint was trained with."
            )
        names, shortages = about["names"], about["shortages"]
        assert isinstance(names, list) and isinstance(shortages, list)
        pools = tuple(
            Pool(
                queries,
                **{name: arrays[f"pool.{number}.{name}"] for name in ("offsets", *COLUMNS)},
                shortage=short,
                names=tuple(own),
            )
            for number, (own, short) in enumerate(zip(names, shortages, strict=True))
        )
        step, turn = about["step"], about["turn"]
        assert isinstance(step, int) and isinstance(turn, int)
        return State(pools, arrays.get("reciprocal_ranks"), step, turn), arrays["table"], labels
