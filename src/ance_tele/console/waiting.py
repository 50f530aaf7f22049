"""How the threads of a product wait for each other, on a machine that others may use too.

OpenMP of GCC, which torch brings on Linux, has a thread spin for milliseconds before it sleeps: longer than threads
wait for each other on an idle machine, and on a busy one time in which the thread that is waited for could run.
"""

import os
import sys
import time
from collections.abc import MutableMapping
from pathlib import Path

# Where the machine is idle: spins enough for an idle machine, few enough where it gets busy later.
IDLE = {"GOMP_SPINCOUNT": "10000"}
# Where others are at work: sleep at once. On an idle machine this would cost a seventh of a training step.
BUSY = {"OMP_WAIT_POLICY": "passive"}

# Share of all cores that others use, from which on a machine is busy, and the seconds for which it is watched.
SHARE, SECONDS = 0.25, 0.1


def wait_well(environment: MutableMapping[str, str] = os.environ) -> None:
    """Choose how threads wait, by what the machine is doing: before torch is loaded; processes started inherit it.

    What the environment says already stays.
    """
    if "torch" not in sys.modules and not any(name in environment for name in (*IDLE, *BUSY)):
        environment.update(BUSY if used_share() > SHARE else IDLE)


def used_share(times: Path = Path("/proc/stat"), seconds: float = SECONDS) -> float:
    """Return the share of all cores that is used now; 0 where the system does not tell."""
    if not times.exists():
        return 0.0
    before = _ticks(times)
    time.sleep(seconds)
    spent, idle = (after - old for after, old in zip(_ticks(times), before, strict=True))
    return 1 - idle / spent if spent else 0.0


def _ticks(times: Path) -> tuple[int, int]:
    """Return the ticks of all cores since the start, and those of them in which they had nothing to do."""
    ticks = [int(word) for word in times.read_text("utf-8").partition("\n")[0].split()[1:]]
    return sum(ticks[:8]), ticks[3] + ticks[4]
