"""Checkpoints within an episode: all that a training needs to go on as if nothing had happened.

A folder ``checkpoint-STEP`` holds ``state.safetensors`` (weights that are trained, buffers, moments of AdamW),
``curve.json``, and for each rank ``random-RANK.safetensors`` (its random numbers); its manifest is written last.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from ance_tele.store.files import reading, remove
from ance_tele.store.manifests import Manifest, checksums, damaged, file_sizes, manifest_path, read_manifest
from ance_tele.training.curve import Curve

log = logging.getLogger(__name__)

_STATE, _CURVE = "state.safetensors", "curve.json"


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer, curve: Curve, inputs: Mapping[str, Any], rank: int, ranks: int
) -> None:
    """Save a checkpoint, and remove those before it; every rank saves its part, and rank 0 all they have in common."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_random(model), folder / f"random-{rank}.safetensors")
    if ranks > 1:
        dist.barrier()  # all have written their part
    if rank:
        return
    moments = {
        f"adam.{number}.{name}": value
        for number, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    weights = {f"weight.{name}": value.detach().contiguous() for name, value in _held(model).items()}
    save_file({**weights, **moments}, folder / _STATE)
    (folder / _CURVE).write_text(json.dumps(curve.content()), "utf-8")
    files = file_sizes(folder)
    Manifest("checkpoint", inputs, files, checksums=checksums(folder.parent, files)).save(folder)
    for older in folder.parent.glob("checkpoint-*"):
        if not older.name.startswith(folder.name):
            remove(older)


def load_checkpoint(folder: Path, model: nn.Module, optimizer: Optimizer, rank: int) -> Curve:
    """Bring model, optimizer and random numbers to where a checkpoint was saved; return its curve.

    Raises:
        UserError: It cannot be read.
    """
    with reading(folder):
        state = load_file(folder / _STATE, device="cpu")
        held = _held(model)
        with torch.no_grad():
            for name, value in held.items():
                value.copy_(state[f"weight.{name}"])
        moments = dict[int, dict[str, Tensor]]()
        for name, value in state.items():
            kind, _, rest = name.partition(".")
            if kind == "adam":
                number, _, moment = rest.partition(".")
                moments.setdefault(int(number), {})[moment] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
        # Without a file of its own, where there were fewer ranks, a rank draws from its seed.
        if (own := folder / f"random-{rank}.safetensors").is_file():
            _resume_random(model, load_file(own))
        return Curve.of(json.loads((folder / _CURVE).read_text("utf-8")))


def last_checkpoint(work: Path, inputs: dict[str, Any], clean: bool = True) -> tuple[int, Path] | None:
    """Return step and folder of the last whole checkpoint of the same training; with ``clean``, remove all others."""
    found: dict[int, Path] = {}
    for folder in work.glob("checkpoint-*") if work.is_dir() else ():
        if not folder.is_dir():
            continue
        manifest = read_manifest(folder)
        # Older versions left the trainer's own files.
        ours = manifest is not None and f"{folder.name}/{_STATE}" in manifest.files
        if manifest is not None and ours and manifest.inputs == inputs and not damaged(folder, manifest):
            found[int(folder.name.rpartition("-")[2])] = folder
        elif clean:
            remove(folder)
            manifest_path(folder).unlink(missing_ok=True)
    return max(found.items()) if found else None


def taken(work: Path) -> tuple[int, float]:
    """Return steps and seconds up to the last whole checkpoint in a folder; zeros without one."""
    found = [(0, 0.0)]
    for folder in work.glob("checkpoint-*") if work.is_dir() else ():
        if folder.is_dir() and read_manifest(folder) is not None and (folder / _CURVE).is_file():
            seconds = json.loads((folder / _CURVE).read_text("utf-8")).get("seconds", 0.0)
            found.append((int(folder.name.rpartition("-")[2]), seconds))
    return max(found)


def _held(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: weights that are trained, each once, and buffers."""
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    kept = model.state_dict().keys()
    return {**trained, **{name: one for name, one in model.named_buffers() if name in kept}}


def _random(model: nn.Module) -> dict[str, Tensor]:
    device = next(model.parameters()).device
    states = {"cpu": torch.get_rng_state()}
    return {**states, "cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def _resume_random(model: nn.Module, states: Mapping[str, Tensor]) -> None:
    device = next(model.parameters()).device
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
