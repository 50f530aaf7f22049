"""Models that are refused: loading them would run code of theirs or read a pickle, or their files are damaged."""

import re
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

from ance_tele.console.errors import UserError
from ance_tele.encode.adapters import missing_package
from ance_tele.encode.files import convert, declared, declared_modules, has_file
from ance_tele.store.files import read_json

ANOTHER_COPY = "take another copy of the model"


def check_executed(name: str, trust_remote_code: bool) -> None:
    """Refuse a folder or hub name whose modules have pickled weights, or an activation that is code of its own.

    sentence-transformers itself refuses modules and models of their own code. It would read the pickle of a module,
    and take another activation in silence.
    """
    for folder, kind in _modules(name):
        if pickle := _pickled(name, folder, kind):
            raise UserError(convert(name, pickle))
        activation = (
            declared(name, _inside(folder, "config.json")).get("activation_function") if kind == "Dense" else None
        )
        if not trust_remote_code and activation is not None and not str(activation).startswith("torch."):
            raise own_code(name, f"its activation {activation}")
    config = declared(name, "config.json")
    inner = config.get("sentence_transformers")
    for named in (inner.get("activation_fn") if isinstance(inner, dict) else None,
                  config.get("sbert_ce_default_activation_function")):  # fmt: skip
        if not trust_remote_code and named is not None and not str(named).startswith("torch."):
            raise own_code(name, f"its activation {named}")


def check_complete(model: SentenceTransformer, name: str) -> None:
    """Refuse a model whose file lacks some of its weights, which transformers initialises at random without a word.

    A pooler that nothing uses may be lacking.
    """
    for module in model.modules():
        if not isinstance(module, PreTrainedModel) or getattr(module, "_hf_peft_config_loaded", False):
            continue
        # transformers marks what it has read.
        read = {key: getattr(weight, "_is_hf_initialized", False) for key, weight in module.named_parameters()}
        lacking = [key for key, found in read.items() if not found and "pooler" not in key]
        if any(read.values()) and lacking:
            more = f" and {len(lacking) - 1:,} more" if lacking[1:] else ""
            raise UserError(
                f"{name} lacks weights that its architecture has ('{lacking[0]}'{more}), which would be random: the "
                f"file is damaged, or of a model that brings code of its own; {ANOTHER_COPY}, or another one."
            )


def own_code(name: str, what: str) -> UserError:
    """Return the error for a model that brings ``what`` of its own to be executed."""
    return UserError(
        f"{name} brings code of its own ({what}), which is not executed; if you have read it and trust it, "
        "set trust_remote_code to true (--trust_remote_code)."
    )


def cannot_load(name: str, error: Exception, what: str = "The model") -> UserError:
    """Return the error for a model that a library could not load; of a folder, the damaged file is named."""
    text, reason = str(error), first_line(error).rstrip(" .:")
    if "trust_remote_code" in text or "contains custom code" in text:
        module = re.search("module class '([^']+)'", text)
        return own_code(name, f"its module {module[1]}" if module else "its model")
    if isinstance(error, ImportError) or "peft" in text.lower():
        return missing_package(name, error)
    if damaged := _damaged(Path(name)):
        return UserError(f"{what} {name} cannot be loaded: {damaged}")
    if "model.safetensors" in reason:  # the hub has weights, but not as safetensors
        return UserError(convert(name))
    if "ignore_mismatched_sizes" in reason:
        reason = "its weights have other shapes than its config.json declares"
    advice = f"{ANOTHER_COPY}, or another one" if Path(name).exists() else "check its name, and the network"
    return UserError(f"{what} {name} cannot be loaded: {reason}; {advice}.")


def cannot_encode(name: str, error: Exception) -> UserError:
    """Return the error for a model that is loaded, and fails at the first text."""
    return UserError(
        f"{name} cannot encode a text ({first_line(error).rstrip(' .:')}): its files do not fit together; "
        f"{ANOTHER_COPY}."
    )


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type without a message."""
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    plain = isinstance(error, (OSError, ValueError, RuntimeError, SafetensorError))
    return line if plain else f"{type(error).__name__}: {line}"


def _modules(name: str) -> Iterator[tuple[str, str]]:
    """Yield folder and class of each declared module, also of those that a router holds."""
    for module in declared_modules(name):
        folder, kind = str(module.get("path", "")), str(module.get("type", "")).rpartition(".")[2]
        yield folder, kind
        types = (
            declared(name, _inside(folder, "router_config.json")).get("types") if kind in ("Router", "Asym") else None
        )
        for inner, one in (types if isinstance(types, dict) else {}).items():
            yield _inside(folder, str(inner)), str(one).rpartition(".")[2]


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _pickled(name: str, folder: str, kind: str) -> str:
    """Return the pickle that the weights of a module would be read from, "" if there is none."""
    # Transformers are loaded from safetensors only; of the hub, no file is fetched that is not needed.
    if kind in ("Pooling", "Normalize") or (kind == "Transformer" and not Path(name).is_dir()):
        return ""
    for weights in ("pytorch_model.bin", "adapter_model.bin"):
        safe = weights.replace("pytorch_", "").replace(".bin", ".safetensors")
        places = [_inside(folder, file) for file in (safe, f"{safe}.index.json", weights)]
        if not has_file(name, places[0]) and not has_file(name, places[1]) and has_file(name, places[2]):
            return places[2]
    return ""


def _damaged(folder: Path) -> str:
    """Return the sentence on a file of a folder that cannot be read, "" if all can."""
    try:
        for path in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
            read_json(path, ANOTHER_COPY)
    except UserError as error:
        return str(error)
    for path in sorted(folder.rglob("*.safetensors")) if folder.is_dir() else ():
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, ValueError) as error:
            return f"{path} is damaged ({first_line(error).rstrip('.')}): {ANOTHER_COPY}."
    return ""
