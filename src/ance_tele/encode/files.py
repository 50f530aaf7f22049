"""Checks of model folders and hub repositories, with errors in one sentence."""

import ssl
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from huggingface_hub import constants, try_to_load_from_cache
from sentence_transformers.util import ORIGINAL_TRANSFORMER_MODELS, is_sentence_transformer_model, load_file_path
from tokenizers import Tokenizer

from ance_tele.console.errors import UserError
from ance_tele.encode.adapters import bare_adapter
from ance_tele.paper.settings import start_of
from ance_tele.store.files import json_or_none


def resolve(name: str) -> str:
    """Return the folder or hub name that a model's name means.

    Raises:
        UserError: It is a folder without a model or without safetensors weights, or neither a folder nor a hub name.
    """
    path = Path(name)
    if not path.exists():
        name = start_of(name)
        if (name.count("/") != 1 or name.startswith((".", "/", "~"))) and "/" in name:
            raise UserError(f"{name} is neither a folder nor a hub name (owner/name); check the path.")
        _check_hub(name)
        return name
    if (path / "run.json").exists():
        trained = sorted(path.glob("episode-*/model"), key=lambda folder: int(folder.parent.name.rpartition("-")[2]))
        hint = f"take that of an episode: {trained[-1]}" if trained else "it has trained none yet"
        raise UserError(f"{name} is a run folder, not a model; {hint}.")
    if adapter := bare_adapter(path):
        raise UserError(adapter)
    if not (path / "config.json").exists() and not (path / "modules.json").exists():
        raise UserError(
            f"{name} holds neither config.json nor modules.json; --model takes the folder or hub name of a "
            "sentence-transformers model or of a Hugging Face encoder."
        )
    if not any(path.rglob("*.safetensors")):
        if any(path.rglob("pytorch_model*.bin")):
            raise UserError(convert(name))
        raise UserError(f"{name} holds no .safetensors file; only safetensors weights are read.")
    return name


def _check_hub(name: str) -> None:
    """Refuse a hub name that is not in the cache while the hub cannot be reached.

    Without this, huggingface_hub 2.4 retries five times for each of a dozen files: four minutes for a mistyped folder.
    """
    names = (name,) if "/" in name else (name, f"sentence-transformers/{name}")
    in_cache = (try_to_load_from_cache(one, file) for one in names for file in ("config.json", "modules.json"))
    if constants.HF_HUB_OFFLINE or any(isinstance(path, str) for path in in_cache):
        return
    try:
        urlopen(Request(constants.ENDPOINT, method="HEAD"), timeout=10).close()
    except HTTPError:  # an answer
        return
    except URLError as error:
        if isinstance(error.reason, OSError) and not isinstance(error.reason, ssl.SSLError):
            host = urlsplit(constants.ENDPOINT).hostname
            raise UserError(
                f"{name} is no folder here and not in the cache of models, and {host} cannot be reached "
                f"({error.reason.strerror or error.reason}); check the path, or the network."
            ) from error


def is_plain(name: str) -> bool:
    """Return whether a folder or hub name is a plain encoder, without files of sentence-transformers."""
    path = Path(name)
    if path.exists():
        return not (path / "modules.json").exists()
    # sentence-transformers adds its own organisation to bare names, with few exceptions.
    own = "/" not in name and name.lower() not in ORIGINAL_TRANSFORMER_MODELS
    return not own and not is_sentence_transformer_model(name)


def declared(name: str, file: str) -> dict[str, Any]:
    """Return the object in a JSON file of a folder or hub repository; {} if it cannot be read."""
    return json_or_none(_path(name, file), dict) or {}


def declared_modules(name: str) -> list[dict[str, Any]]:
    """Return the entries of the modules.json of a folder or hub repository; [] if it cannot be read."""
    found = json_or_none(_path(name, "modules.json"), list) or []
    return [one for one in found if isinstance(one, dict)]


def has_file(name: str, file: str) -> bool:
    """Return whether a folder or hub repository has a file."""
    path = _path(name, file)
    return path is not None and path.is_file()


def declared_tokenizer(name: str) -> Tokenizer | None:
    """Return what the tokenizer.json of a folder or hub repository describes; None if it cannot be read."""
    path = _path(name, "tokenizer.json")
    try:
        return None if path is None else Tokenizer.from_file(str(path))
    except Exception:  # the package raises nothing narrower
        return None


def _path(name: str, file: str) -> Path | None:
    if Path(file).is_absolute() or ".." in Path(file).parts:  # a model's own files name none outside its folder
        return None
    try:
        path = Path(name) / file if Path(name).is_dir() else load_file_path(name, file)
    except (OSError, ValueError):  # reported on loading
        return None
    return None if path is None else Path(path)


def convert(name: str, pickle: str = "") -> str:
    """Return how to convert a model whose weights are pickled; ``pickle`` is the file of one of its modules."""
    # Keeps the name, by which published checkpoints are recognised.
    out = f"safetensors/{Path(name).name}"
    if (Path(name) / "modules.json").exists():
        code = f"from sentence_transformers import SentenceTransformer as S; S('{name}').save_pretrained('{out}')"
    else:
        code = (
            "from transformers import AutoModel as M, AutoTokenizer as T; "
            f"[kind.from_pretrained('{name}').save_pretrained('{out}') for kind in (M, T)]"
        )
    holds = f"has weights in {pickle}" if pickle else "holds no .safetensors file, only a pickle of its weights"
    return (
        f"{name} {holds}, {'a pickle, ' if pickle else ''}which is not read because it can run any "
        f'code; if you trust it, convert it with  python -c "{code}"  and take {out}.'
    )


def check_tokenizer(name: str, tokenizer: Any, rows: int | None) -> None:
    """Refuse a model without its tokenizer, or with that of another model.

    Without files, transformers creates a tokenizer with special tokens only. ``rows`` is the number of token
    embeddings, if known.
    """
    special = getattr(tokenizer, "all_special_ids", None)
    if special is None:
        return
    if len(tokenizer) <= len(special):
        raise UserError(
            f"{name} has no tokenizer; put its files (tokenizer.json, or vocab.txt for BERT) next to config.json."
        )
    if rows is not None and len(tokenizer) > rows:
        raise UserError(
            f"{name} has a tokenizer of {len(tokenizer):,} tokens, but embeddings for {rows:,}; put the files of its "
            "own tokenizer next to config.json."
        )
