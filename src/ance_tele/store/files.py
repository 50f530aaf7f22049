"""Files: written atomically, so that nothing half-written is ever taken for whole; locked; JSON."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from ance_tele.console.errors import UserError

T = TypeVar("T")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; what is made there takes its place only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{escape(path.name)}.tmp-*"):
        process = leftover.name.rpartition("-")[2]
        if process.isdigit() and not _alive(int(process)):  # left by a process that was killed
            remove(leftover)
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        yield temporary
        for file in [temporary] if temporary.is_file() else [f for f in temporary.rglob("*") if f.is_file()]:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        remove(temporary)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process != os.getpid()


@contextmanager
def lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file, which stays where it is, empty, while the block runs.

    Where another process holds it, that is waited for once ``waiting`` was called.

    Raises:
        UserError: Another process holds it, and it is not to be waited for.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise UserError(
                    f"Another process is at work in {path.parent}; wait for it, or give another --out."
                ) from None
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system without locks
                raise
        yield


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path, advice: str = "delete it and run the same command again") -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        advice: What the user can do where it cannot be read; ends the sentence of the error.

    Raises:
        UserError: It is missing, or it is not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; is this the folder of a finished run?") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {advice}.") from error
    except json.JSONDecodeError as error:
        found = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UserError(f"{path} is not valid JSON ({found}): {advice}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid JSON (byte {error.start} is not UTF-8): {advice}.") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
        raise UserError(f"{path} is not valid JSON ({str(error).partition(';')[0]}): {advice}.") from error


def json_or_none(path: Path | None, kind: type[T]) -> T | None:
    """Return what a JSON file of somebody else's holds; None without a file, or where it holds none of that kind.

    Loading what the file belongs to reports what is wrong with it.
    """
    try:
        found = None if path is None else json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, kind) else None


def read_json_object(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON file that holds an object; arguments and errors as of :func:`read_json`."""
    found = read_json(path, advice)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a JSON {type(found).__name__} instead of an object: {advice}.")
    return found
