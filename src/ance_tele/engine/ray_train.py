"""Ray Train as a launcher: it starts the ranks and their process group; the trainer inside is the same as anywhere."""

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from uuid import uuid4

from ance_tele.console.errors import UserError
from ance_tele.engine.rank import GRACE
from ance_tele.engine.work import Facts, Job, describe
from ance_tele.engine.worker import facts_of
from ance_tele.store.files import remove, write_json


class RanksLost(Exception):
    """Ray has lost a rank, or could not place all of them."""


def train(job: Job, ranks: int, gpu: bool) -> Facts:
    """Train by Ray Train's workers, one a rank.

    Raises:
        UserError: It cannot be done.
        RanksLost: To be tried again, perhaps with fewer: the cluster may have become smaller.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    description = describe(job)
    # In the shared folder, for all to see, and not that of ranks which still end.
    answers = Path(f"{json.loads(description)['values']['work']}.answers-{uuid4().hex[:8]}")
    answers.mkdir(parents=True)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # Ray Train itself would start as many ranks again, and wait for a node that is gone.
    never = FailureConfig(max_failures=0, controller_failure_limit=0)
    with TemporaryDirectory(ignore_cleanup_errors=True) as name:
        trainer = TorchTrainer(
            _rank,
            train_loop_config={"job": description, "answers": str(answers)},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=ranks, use_gpu=gpu),
            run_config=RunConfig(name="ance-tele", storage_path=name, failure_config=never),
        )
        try:
            carry_out(trainer.fit)
        except Exception as error:  # of whatever kind this version of Ray makes it
            why = lost(answers, getattr(error, "worker_failures", None) or {0: error})
            if why is not None:
                raise RanksLost(why) from None
        finally:
            left = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(answers.glob("*.json"))}
            remove(answers)
    wrong = [answer for answer in left.values() if "facts" not in answer]
    wrong.sort(key=lambda answer: "error" not in answer)  # in words before a traceback
    return facts_of(wrong[0] if wrong else left["0"], "a rank on Ray")


def carry_out(fit: Callable[[], object]) -> None:
    """Call a function in a thread and wait: in the main thread Ray Train answers SIGINT itself, and exits with 0."""
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            fit()
            ended.put(None)
        except BaseException as error:
            ended.put(error)

    Thread(target=run, daemon=True).start()
    error = ended.get()
    if error is not None:
        raise error


def lost(answers: Path, failures: Mapping[int, BaseException]) -> str | None:
    """Return why a rank was lost: one that has failed and left no word. None where all have, or one has an error.

    When one is killed, others fail in the message they wait for; this is no failure of the training.
    """
    if any("error" in json.loads(path.read_text("utf-8")) for path in answers.glob("*.json")):
        return None
    for rank, error in failures.items():
        if not (answers / f"{rank}.json").exists():
            lines = str(error).strip().splitlines()
            return lines[-1].rstrip(".") if lines else type(error).__name__
    return None


def _rank(config: dict[str, str]) -> None:
    import ray.train

    from ance_tele.engine.work import opened

    # Ray keeps what a rank reports only together with a checkpoint, so that the answer is a file.
    place = ray.train.get_context()
    rank, answers = place.get_world_rank(), Path(config["answers"])
    left = [path.read_text("utf-8") for path in answers.glob("*.json")]
    if any("error" in json.loads(one) for one in left):  # to start again would not help
        raise RuntimeError(left[0])
    own = answers / f"{rank}.json"
    own.unlink(missing_ok=True)
    try:
        facts = opened(config["job"])((rank, place.get_world_size()))
    except Exception as error:
        known = isinstance(error, UserError)
        answer = {"error": str(error)} if known else {"failure": traceback.format_exc()}
        if not known:
            time.sleep(GRACE)  # where another rank was lost, Ray sees that now
        if answers.exists():
            write_json(own, answer)
        raise
    if rank == 0:
        write_json(own, {"facts": facts})
