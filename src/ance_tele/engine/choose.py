"""Which executor a command gets: by what has launched it, what is asked for, and what this machine has."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.engine.executor import IN_PROCESS, Executor

if TYPE_CHECKING:
    from ance_tele.engine.ray_cluster import RayCluster

EngineName = Literal["local", "ray"]


@contextmanager
def executor_for(
    processes: int | Literal["auto"] = "auto", engine: EngineName = "local", address: str | None = None
) -> Iterator[Executor]:
    """Yield an executor, and end its processes afterwards.

    Args:
        processes: How many; "auto" is one a GPU, and this process alone on a CPU. Where a launcher has started ranks
            already, these it is.
        engine: "local", or "ray" for a Ray cluster.
        address: Of a Ray cluster that runs already; None starts one on this machine.

    Raises:
        UserError: The engine is not installed, or cannot be reached; or an address is given without it.

    Example:
        >>> with executor_for(processes=2) as executor:
        ...     executor.workers, executor.ranks
        (2, 2)
    """
    if processes != "auto" and processes < 1:
        raise UserError(f"processes is {processes}; it must be at least 1, or auto.")
    if address is not None and engine != "ray":
        raise UserError("--address is of a Ray cluster; it goes with --engine ray.")
    executor = _made(processes, engine, address)
    try:
        yield executor
    finally:
        executor.end()


def _made(processes: int | Literal["auto"], engine: EngineName, address: str | None) -> Executor:
    if engine == "ray":
        return _ray(address, None if processes == "auto" else processes)
    from ance_tele.engine.launched import Place, Ranks

    if (place := Place.of_environment()) is not None:
        return Ranks(place, gpus())
    count = max(1, gpus()) if processes == "auto" else processes
    if count == 1:
        return IN_PROCESS
    from ance_tele.engine.processes import Processes

    return Processes(count, gpus())


def _ray(address: str | None, processes: int | None) -> "RayCluster":
    if find_spec("ray") is None:
        raise UserError(f"--engine ray needs Ray: {install('ray')}.")
    from ance_tele.engine.ray_cluster import RayCluster

    return RayCluster(address, processes)


def gpus() -> int:
    """Count the GPUs of this machine that this process may use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def serve_other_ranks() -> bool:
    """Work for rank 0 until it ends, if a launcher has started this process as another rank; return whether it has."""
    from ance_tele.engine.launched import Place, serve

    place = Place.of_environment()
    if place is None or place.rank == 0:
        return False
    serve(place, gpus())
    return True
