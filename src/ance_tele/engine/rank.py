"""One rank of a training: joins the process group, opens a job, does its unit.

    python -m ance_tele.engine.rank JOB.json BACKEND [GPUS]

RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are the launcher's; of so many GPUs it takes one,
without their number the one it sees. What rank 0 returns is written next to
the job as facts.json, an error of any rank as error-RANK.json: then nothing is gained by starting again.
"""

import json
import os
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.console.events import leave_bars
from ance_tele.console.garbage import importing, skip_last_collection
from ance_tele.engine.processes import variables

# Where a rank is killed, the others fail in the message they wait for. The launcher ends them within this time, in
# seconds, so that what they have met is not taken for an error of the training.
GRACE = 5.0

# Ranks wait for each other within a step only, so that one which does not come is dead.
TIMEOUT = timedelta(minutes=10)


def main(handed: Path, backend: str, gpus: int = 0) -> int:
    """Do this rank's unit; return the exit code."""
    leave_bars()  # the terminal is that of the process that has started the ranks
    rank, ranks, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    os.environ.update(variables(local, int(os.environ.get("LOCAL_WORLD_SIZE", ranks)), gpus))
    if gpus:
        os.environ["LOCAL_RANK"] = "0"  # of the GPUs that it sees
    if list(handed.parent.glob("error-*.json")):
        return 1  # started again by a launcher that does not know why it failed

    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    if again and rank == 0:
        print(f"a training process was killed: all start again from the last checkpoint ({again})", file=sys.stderr)
    with importing():
        import torch.distributed as dist

    from ance_tele.engine.work import opened

    dist.init_process_group(backend, timeout=TIMEOUT, store=meeting(rank), rank=rank, world_size=ranks)
    try:
        facts = opened(handed.read_text("utf-8"))((rank, ranks))
    except UserError as error:
        return left(handed, rank, {"error": str(error)})
    except Exception:
        failure = traceback.format_exc()
        time.sleep(GRACE)
        return left(handed, rank, {"failure": failure})
    if rank == 0:
        (handed.parent / "facts.json").write_text(json.dumps(facts), "utf-8")
    dist.barrier()  # none leaves while another still writes
    dist.destroy_process_group()
    return 0


def meeting(rank: int) -> Any:
    """Return the launcher's key-value store, or one that rank 0 hosts where the launcher has none.

    Each start has keys of its own. torch 2.13's own way of meeting has not: after a restart, ranks wait for addresses
    of processes that were killed.

    Raises:
        UserError: There is no such store, as where torchrun was given ``--master_port 0``.
    """
    import torch.distributed as dist

    hosts = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    where = f"{address}:{port} (MASTER_ADDR, MASTER_PORT)"
    if not port:  # torchrun gives it on as it is
        raise UserError(f"The launcher has ranks meet at {where}: give it a port, or torchrun --standalone.")
    try:
        store = dist.TCPStore(address, port, is_master=hosts, wait_for_workers=False)
    except dist.DistError as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"Rank {rank} cannot meet the others at {where}: {why}.") from None
    return dist.PrefixStore(f"ance-tele-{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def left(handed: Path, rank: int, error: dict[str, str]) -> int:
    """Write why this rank has failed."""
    (handed.parent / f"error-{rank}.json").write_text(json.dumps(error), "utf-8")
    return 1


if __name__ == "__main__":
    skip_last_collection()
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))
