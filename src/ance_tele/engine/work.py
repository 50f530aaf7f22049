"""Work units and jobs: pure, idempotent, reading and writing artefacts, so that where they run changes no result.

A unit is a few integers: which rows of what is to be encoded, which queries over which vectors. A job is a frozen
dataclass of plain JSON values that says what its units have in common, and opens itself wherever they run.
"""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeAlias

from ance_tele.console.garbage import importing
from ance_tele.store.artefacts import cached

Unit: TypeAlias = tuple[int, ...]
"""Which part of a job."""

Facts: TypeAlias = dict[str, Any]
"""What is known of a unit that is done, as JSON values; its artefacts lie on disk."""

Work: TypeAlias = Callable[[Unit], Facts]
"""Does one unit; called again, it finds the unit done."""


class Job(Protocol):
    """What the units of a job have in common: a dataclass of paths, numbers, texts, and lists and mappings of these."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def open(self) -> Work:
        """Load what the units need (a model, an index of files), once in each process."""


class ArtefactJob(Job, Protocol):
    """A job each of whose units leaves one artefact."""

    def path(self, unit: Unit) -> Path:
        """Return where the artefact of a unit belongs."""

    def inputs(self, unit: Unit) -> dict[str, Any]:
        """Return what decides its content."""


def missing(job: ArtefactJob, units: Sequence[Unit]) -> list[Unit]:
    """Return the units whose artefacts are not on disk."""
    return [unit for unit in units if cached(job.path(unit), job.inputs(unit)) is None]


def describe(job: Job) -> str:
    """Write a job as JSON, for another process to open; a field whose name begins with "_" stays here."""
    values = {field.name: _plain(getattr(job, field.name)) for field in fields(job) if field.name[0] != "_"}
    return json.dumps({"job": f"{type(job).__module__}:{type(job).__name__}", "values": values})


def opened(description: str) -> Work:
    """Open a job that another process has described; only classes of this package are."""
    found = json.loads(description)
    module, _, name = found["job"].partition(":")
    if not module.startswith("ance_tele."):
        raise ValueError(f"{module} is no module of ance_tele")
    with importing():
        jobs = importlib.import_module(module)
    work: Work = getattr(jobs, name)(**found["values"]).open()
    return work


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    if hasattr(value, "__dataclass_fields__"):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def share(units: Sequence[Unit], index: int, count: int) -> list[Unit]:
    """Return every ``count``-th unit from ``index`` on: the part of one task of a Slurm array.

    Example:
        >>> share([(0, 4), (4, 8), (8, 9)], 1, 2)
        [(4, 8)]
    """
    return list(units[index::count])
