"""Trainable and frozen weights of a model; LoRA adapters, which sentence-transformers loads frozen."""

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.store.files import json_or_none

# Not simply peft: docs/decisions.md, "Dependencies".
EXTRA = "lora"


def missing_package(name: str, error: Exception) -> UserError:
    """Return the error for a model that needs a package that is missing or of another release."""
    reason = " ".join(str(error).split())
    if "peft" in reason.lower():
        return UserError(f"{name} holds an adapter (LoRA), which needs peft: {install(EXTRA)} ({reason[:200]})")
    return UserError(
        f"{name} needs a package that is not installed ({reason[:300]}); install it, or take another model."
    )


def bare_adapter(folder: Path) -> str | None:
    """Return how to merge a folder that contains only an adapter with its base model; None for other folders."""
    path = folder / "adapter_config.json"
    if not path.exists() or (folder / "modules.json").exists():
        return None
    base = (json_or_none(path, dict) or {}).get("base_model_name_or_path") or "its base model"
    return (
        f"{folder} holds an adapter (LoRA) of {base}, not a model; join the two and take what that saves:  "
        f"python -c \"from sentence_transformers import SentenceTransformer as S; m = S('{base}'); "
        f"m.load_adapter('{folder}'); m.save_pretrained('{folder}-joined')\""
    )


def thaw_adapters(model: SentenceTransformer) -> None:
    """Make the adapters of a model trainable; its base model stays frozen."""
    for module in model.modules():
        if getattr(module, "_hf_peft_config_loaded", False):
            adapted: Any = module
            adapted.set_adapter(adapted.active_adapters())


def check_trainable(model: SentenceTransformer, name: str) -> str:
    """Return a line about frozen weights, "" without; refuse a model that has no others."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    every, trained = sum(size for size, _ in sizes), sum(size for size, free in sizes if free)
    if not trained:
        raise UserError(
            f"{name} has no weight that can be trained: all {every:,} are frozen. Word embeddings are trained where "
            "their wordembedding_config.json says update_embeddings: true."
            if every
            else f"{name} has no weights, so that there is nothing to train."
        )
    if trained == every:
        return ""
    return f"Of {every:,} weights {trained:,} are trained; the others are frozen, as the folder declares."
