"""A run to be disturbed: what it must end in, how a disturbed one may end, and damage to its files."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge import Ended, Fault, Forge
from toy import run_command

from ance_tele.store.manifests import damaged, read_manifest

SETTINGS = {"episodes": 2, "shard_passages": 50, "refresh_fraction": 0.5, "logging_steps": 4, "language": "none"}
CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}


@dataclass(frozen=True)
class Scene:
    """Data, model and cache in a folder, and the figures of a run that nothing has disturbed."""

    forge: Forge
    folder: Path
    settings: dict[str, Any]
    whole: dict[str, Any]

    @classmethod
    @contextmanager
    def set(cls, folder: Path, **settings: Any) -> Iterator["Scene"]:
        """Carry out the run to compare with, on data and with a model that are written into the folder."""
        settings = {**SETTINGS, **settings}
        first = run_command(folder / "toy", folder / "model", folder / "whole", **settings)
        with Forge.started(folder, first) as forge:
            yield cls(forge, folder, settings, figures(folder / "whole"))

    def run(self, out: Path, fault: Fault | None = None) -> Ended:
        """Carry out the run, or begin to."""
        command = run_command(self.folder / "toy", self.folder / "model", out, **self.settings)
        return self.forge.run(command, fault)

    def flaw(self, out: Path, ended: Ended, fault: Fault) -> str | None:
        """Return what is wrong with how a disturbed run has ended and with what it has left; None if nothing is."""
        if fault.kind in CODES and ended.code not in (CODES[fault.kind], 0):
            return f"exit code {ended.code}: {ended.err[-2000:]}"
        if fault.kind not in CODES and ended.code not in (0, 2):
            return f"exit code {ended.code}: {ended.err[-2000:]}"
        if ended.code != -9 and (flaw := not_a_sentence(ended)):
            return flaw
        if fault.kind in ("SIGTERM", "SIGINT") and ended.left is not None and ended.left > 10:
            return f"it took {ended.left:.1f} s to leave"
        return half_written(out)

    def recovered(self, out: Path) -> str | None:
        """Run the same command; return how its figures differ from those of the undisturbed run; None if not at all."""
        ended = self.run(out)
        if ended.code:
            return f"exit code {ended.code}: {ended.err[-2000:]}"
        return self.differs(out)

    def differs(self, out: Path) -> str | None:
        """Return how the figures of a finished run differ from those of the undisturbed one; None if not at all."""
        found = figures(out)
        wrong = [name for name, value in self.whole.items() if found[name] != value]
        left = [str(path.relative_to(out)) for pattern in ("*.tmp-*", "checkpoints") for path in out.rglob(pattern)]
        return f"differs in {wrong}" if wrong else f"left behind: {left}" if left else half_written(out)


def figures(out: Path) -> dict[str, Any]:
    """Return all of a summary but its times, and the curves of all episodes."""
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    for episode in summary["episodes"]:
        del episode["seconds"]
    curves = sorted(out.glob("episode-*/training_log.json"))
    return summary | {str(path.relative_to(out)): json.loads(path.read_text("utf-8")) for path in curves}


def not_a_sentence(ended: Ended) -> str | None:
    """Return what is printed in error that is not one sentence, or, where a run has succeeded, not nothing."""
    form = r"" if ended.code == 0 else r"ance-tele: [^\n]+[.?]\n"
    return None if re.fullmatch(form, ended.err) else f"exit code {ended.code}, printed: {ended.err[-2000:]!r}"


def half_written(out: Path) -> str | None:
    """Return an artefact that a reader would take for whole, and that is not."""
    for path in out.rglob("*.manifest.json"):
        name = path.with_name(path.name.removesuffix(".manifest.json"))
        manifest = read_manifest(name)
        if manifest is not None and damaged(name, manifest):
            return f"{name} is taken for whole"
    return None


def injure(path: Path, how: str) -> None:
    """Damage a file or folder: "flip" a bit, "truncate" to half, "empty", or "delete"."""
    if how == "delete":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    content = bytearray(path.read_bytes())
    if how == "flip" and content:
        content[len(content) // 2] ^= 1
    path.unlink()  # it may be a hard link
    path.write_bytes({"flip": content, "truncate": content[: len(content) // 2], "empty": b""}[how])
