"""One task of an array: which part of all units a command does, as told by flags or by Slurm."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ance_tele.console.errors import UserError

_SLURM = "SLURM_ARRAY_TASK_"


@dataclass(frozen=True)
class ArrayTask:
    """Task ``index`` of ``count``, from 0: it does every ``count``-th unit (:func:`ance_tele.engine.work.share`)."""

    index: int
    count: int

    @classmethod
    def of(
        cls, index: int | None, count: int | None, environment: Mapping[str, str] = os.environ
    ) -> "ArrayTask | None":
        """Return the task that two flags name, or else that of a Slurm array; None where there is neither.

        Raises:
            UserError: One flag is given without the other, the index is not below the count, or the ids of the Slurm
                array are not evenly spaced, so that they do not tell how many parts there are.

        Example:
            >>> slurm = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "8"}
            >>> ArrayTask.of(None, None, slurm)
            ArrayTask(index=4, count=8)
        """
        if index is None and count is None:
            return cls._of_slurm(environment)
        if index is None or count is None:
            given, other = ("count", "index") if index is None else ("index", "count")
            raise UserError(f"--unit_{given} goes with --unit_{other}: which part this is, from 0, and of how many.")
        if not 0 <= index < count:
            raise UserError(f"unit_index is {index}, of unit_count {count}; it must lie between 0 and {count - 1}.")
        return cls(index, count)

    @classmethod
    def _of_slurm(cls, environment: Mapping[str, str]) -> "ArrayTask | None":
        if f"{_SLURM}ID" not in environment:
            return None
        one, count = int(environment[f"{_SLURM}ID"]), int(environment[f"{_SLURM}COUNT"])
        first, step = int(environment.get(f"{_SLURM}MIN", 0)), int(environment.get(f"{_SLURM}STEP") or 1)
        last = int(environment.get(f"{_SLURM}MAX", first + (count - 1) * step))
        index, rest = divmod(one - first, step)
        if rest or not 0 <= index < count or last - first != (count - 1) * step:
            raise UserError(
                f"The ids of this Slurm array ({count} from {first} to {last}) have gaps; number the tasks as in "
                f"--array=0-{count - 1}, or give --unit_index and --unit_count."
            )
        return cls(index, count)
