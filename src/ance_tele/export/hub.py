"""Upload a trained model to the Hugging Face hub: safetensors and text, with a card of what was measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open

from ance_tele.console.errors import UserError
from ance_tele.export.hub_card import hub_card
from ance_tele.export.source import best_of
from ance_tele.runs.folder import RunFolder
from ance_tele.runs.identity import recipe_of

TEXT = frozenset({".json", ".txt", ".md", ".jinja"})


@dataclass(frozen=True)
class Push:
    """An upload, or what would be uploaded.

    Attributes:
        to: The repository.
        files: Size in bytes by path in the repository; the card is ``README.md``.
        left_out: Files of the folder that are neither safetensors nor text.
        card: Text of the card.
        url: Of the commit; None where nothing was uploaded.
    """

    to: str
    files: Mapping[str, int]
    left_out: tuple[str, ...]
    card: str
    url: str | None = None


def push(
    source: str | Path,
    to: str,
    *,
    episode: int | None = None,
    best: bool = False,
    private: bool = False,
    dry_run: bool = False,
    api: Any = None,
) -> Push:
    """Upload a model, with a card of the recipe and the figures of its run; the repository is made if need be.

    Only safetensors and text are uploaded, and each file is looked into: a pickle by another name is neither.

    Args:
        source: A run folder, or the folder of a model.
        to: The repository, ``owner/name``.
        episode: Of a run: which one; the last one by default.
        best: Of a run: the checkpoint with the highest metric on the split of the episodes.
        private: Make the repository a private one.
        dry_run: Upload nothing.
        api: What uploads; an ``HfApi`` with the token of ``hf auth login`` by default.

    Raises:
        UserError: There is no such model, the name is no repository's, or the hub refuses.

    Example:
        >>> shown = push("my-model", "me/my-retriever", dry_run=True)
        >>> "model.safetensors" in shown.files, shown.url is None
        (True, True)
    """
    if to.count("/") != 1:
        raise UserError(f"--to is {to}; it takes owner/name.")
    try:
        validate_repo_id(to)
    except HFValidationError as error:
        raise UserError(f"--to is {to}, which is no name of a repository: {str(error).rstrip('.')}.") from None
    folder, run, number = _located(Path(source), episode, best)
    chosen, left_out = _files(folder)
    if not any(path.suffix == ".safetensors" for path in chosen):
        raise UserError(f"{folder} holds no .safetensors file; nothing else of a model is uploaded.")
    card = hub_card(folder, run, number, to)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in chosen}
    sizes["README.md"] = len(card.encode())
    shown = Push(to, dict(sorted(sizes.items())), tuple(left_out), card)
    if dry_run:
        return shown
    return Push(**{**vars(shown), "url": _uploaded(api or HfApi(), folder, shown, private)})


def _located(source: Path, episode: int | None, best: bool) -> tuple[Path, Path | None, int | None]:
    """Return the folder of the model, the run that it is of, and its episode."""
    if (source / "run.json").is_file():
        if best and episode is not None:
            raise UserError("--best and --episode name two checkpoints; give one of them.")
        layout, last = RunFolder(source), recipe_of(source).episode.episodes
        trained = [number for number in range(1, last + 1) if layout.weights(number)]
        number = best_of(source) if best else episode if episode is not None else max(trained, default=0)
        if number not in trained:
            which = f"its last one is {trained[-1]}" if trained else "it has trained none"
            raise UserError(f"{source} has no model of episode {number} of its own; {which}.")
        return layout.checkpoint(number) / "model", source, number
    if episode is not None or best:
        raise UserError(f"{source} is no run folder, and has no episodes; leave out --episode and --best.")
    if not (source / "config.json").is_file() and not (source / "modules.json").is_file():
        raise UserError(f"{source} is neither a run folder nor a model's: it holds no config.json.")
    parent = source.resolve().parent
    of_run = (parent.parent / "run.json").is_file() and parent.name.startswith("episode-")
    return source, parent.parent if of_run else None, int(parent.name[8:]) if of_run else None


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the files to upload, and the names of the others."""
    chosen: list[Path] = []
    left_out: list[str] = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if name.as_posix() == "README.md":
            continue
        hidden = any(part.startswith(".") for part in name.parts) or name.name.endswith(".manifest.json")
        if hidden or path.is_symlink() or not _harmless(path):
            left_out.append(name.as_posix())
        else:
            chosen.append(path)
    return chosen, left_out


def _harmless(path: Path) -> bool:
    """Return whether a file is safetensors or text, by its name and by what it holds."""
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "numpy"):
                return True
        except (SafetensorError, OSError):
            return False
    if path.suffix not in TEXT:
        return False
    try:
        return "\0" not in path.read_text("utf-8")
    except UnicodeDecodeError:
        return False


def _uploaded(api: Any, folder: Path, shown: Push, private: bool) -> str:
    """Upload the files of a push as one commit; return its address."""
    from huggingface_hub import CommitOperationAdd

    operations = [
        CommitOperationAdd(name, shown.card.encode() if name == "README.md" else str(folder / name))
        for name in shown.files
    ]
    try:
        api.create_repo(shown.to, private=private, exist_ok=True, repo_type="model")
        done = api.create_commit(shown.to, operations, commit_message="Upload by ance-tele", repo_type="model")
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
        raise UserError(
            f"{shown.to} was not uploaded: {reason}; check the network, and the token (hf auth login)."
        ) from None
    return str(getattr(done, "commit_url", done))
