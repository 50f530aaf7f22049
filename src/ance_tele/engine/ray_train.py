"""Ray Train as a launcher: it starts the ranks and their process group; the trainer inside is the same as anywhere."""

import json
import logging
import time
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.engine.processes import own_signals
from ance_tele.engine.rank import GRACE
from ance_tele.engine.work import Facts, Job, describe
from ance_tele.engine.worker import facts_of


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
    answers = Path(json.loads(description)["values"]["work"] + ".answer.json")  # in the shared folder, for all to see
    answers.unlink(missing_ok=True)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    # Ray Train itself would start as many ranks again, and wait for a node that is gone.
    never = FailureConfig(max_failures=0, controller_failure_limit=0)
    with TemporaryDirectory() as name:
        trainer = TorchTrainer(
            _rank,
            train_loop_config={"job": description, "answers": str(answers)},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(num_workers=ranks, use_gpu=gpu),
            run_config=RunConfig(name="ance-tele", storage_path=name, failure_config=never),
        )
        try:
            with own_signals():
                trainer.fit()
        except SystemExit:  # its answer to SIGINT, with exit code 0
            raise KeyboardInterrupt from None
        except Exception as error:  # of whatever kind this version of Ray makes it
            if not answers.exists():
                causes = getattr(error, "worker_failures", None) or {0: error}
                why = str(next(iter(causes.values()))).strip().splitlines()
                raise RanksLost(why[-1].rstrip(".") if why else type(error).__name__) from None
    found: dict[str, Any] = json.loads(answers.read_text("utf-8"))
    answers.unlink()
    return facts_of(found, "a rank on Ray")


def _rank(config: dict[str, str]) -> None:
    import ray.train

    from ance_tele.engine.work import opened

    # Ray keeps what a rank reports only together with a checkpoint, so that the answer is a file.
    place, answers = ray.train.get_context(), Path(config["answers"])
    if answers.exists():  # an exception of ours: to start again would not help
        raise RuntimeError(answers.read_text("utf-8"))
    answer: dict[str, Any]
    try:
        answer = {"facts": opened(config["job"])((place.get_world_rank(), place.get_world_size()))}
    except Exception as error:
        answer = {"error": str(error)} if isinstance(error, UserError) else {"failure": traceback.format_exc()}
        if "failure" in answer:
            time.sleep(GRACE)  # where another rank was lost, Ray ends this one now
        answers.write_text(json.dumps(answer), "utf-8")
        raise
    if place.get_world_rank() == 0:
        answers.write_text(json.dumps(answer), "utf-8")
