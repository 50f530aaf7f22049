"""Checkpoints within an episode: when they are saved, when training stops for a signal, and which one it resumes."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback

from ance_tele.console.progress import Advance
from ance_tele.store.files import remove
from ance_tele.store.manifests import Manifest, checksums, damaged, file_sizes, manifest_path, read_manifest
from ance_tele.training.config import TrainingConfig
from ance_tele.training.curve import OpenPoint
from ance_tele.training.together import agreed

log = logging.getLogger(__name__)

SAVE_SECONDS = 600.0


class Watch(TrainerCallback):
    """Logs the loss of the last step, triggers checkpoints, and advances the progress bar.

    All ranks save and stop after the same step: rank 0 decides.
    """

    def __init__(
        self,
        config: TrainingConfig,
        work: Path,
        inputs: dict[str, Any],
        advance: Advance,
        point: OpenPoint,
        stopping: Callable[[], bool],
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.config, self.work, self.inputs, self.advance = config, work, inputs, advance
        self.point, self.stopping, self.rank, self.ranks = point, stopping, rank, ranks
        self.saved = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the bar to where a resumed training goes on."""
        self.advance(state.global_step * self.config.batch_queries)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Decide whether to log, to save and to stop."""
        self.advance(self.config.batch_queries)
        step, every = state.global_step, self.config.save_steps
        last = step >= state.max_steps
        if last:
            control.should_log = True
        due = time.monotonic() - self.saved > SAVE_SECONDS if every is None else step % every == 0
        due, stop = agreed((due and not last, self.stopping()), self.ranks)
        control.should_save = due or stop
        control.should_training_stop = control.should_training_stop or stop

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Describe the new checkpoint by a manifest, and remove the one before."""
        self.saved = time.monotonic()
        if self.ranks > 1:
            dist.barrier()  # all have written their part
        if self.rank:
            return
        folder = self.work / f"checkpoint-{state.global_step}"
        self.point.save(folder)
        files = file_sizes(folder)
        Manifest("checkpoint", self.inputs, files, checksums=checksums(self.work, files)).save(folder)
        for older in self.work.glob("checkpoint-*"):
            if not older.name.startswith(folder.name):
                remove(older)
        if self.stopping():
            log.info(f"a checkpoint of step {state.global_step} of {state.max_steps} is saved")


def last_checkpoint(work: Path, inputs: dict[str, Any], clean: bool = True) -> str | None:
    """Return the last complete checkpoint of the same training; with ``clean``, remove all others."""
    found: dict[int, Path] = {}
    for folder in work.glob("checkpoint-*") if work.is_dir() else ():
        if not folder.is_dir():
            continue
        manifest = read_manifest(folder)
        if manifest is not None and manifest.inputs == inputs and not damaged(folder, manifest):
            found[int(folder.name.rpartition("-")[2])] = folder
        elif clean:
            remove(folder)
            manifest_path(folder).unlink(missing_ok=True)
    return str(found[max(found)]) if found else None
