"""Files: written atomically, so that nothing half-written is ever taken for whole; read; JSON."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any, TypeVar

from ance_tele.console.errors import UserError

ABANDONED_SECONDS = 24 * 3600.0

# Errors of code, which no damaged file was seen to make numpy or pyarrow raise: they keep their tracebacks.
PROGRAMMING = (NameError, AttributeError, TypeError, AssertionError, ImportError)

T = TypeVar("T")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``, which is moved to ``path`` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{escape(path.name)}.tmp-*"):
        if _abandoned(leftover):
            remove(leftover)
    temporary = temporary_of(path, host(), os.getpid())
    try:
        yield temporary
        share_weights(temporary)
        for file in [temporary] if temporary.is_file() else [f for f in temporary.rglob("*") if f.is_file()]:
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        if path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    except Exception as error:
        vars(error).setdefault("writing", str(path))  # libraries do not say what could not be written
        raise
    finally:
        remove(temporary)


def share_weights(folder: Path) -> None:
    """Give weights in a folder the permissions of its other files: safetensors 0.8 writes for its user alone."""
    for file in folder.rglob("*.safetensors"):
        file.chmod(file.parent.stat().st_mode & 0o666)  # as the umask left them to the folder


def temporary_of(path: Path, host: str, process: int) -> Path:
    """Return where a process of a host makes what takes the place of ``path``."""
    return path.with_name(f".{path.name}.tmp-{host}-{process}")


def host() -> str:
    """Return the name of this machine."""
    return os.uname().nodename.replace("/", "_")


def alive(process: int) -> bool:
    """Return whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _abandoned(leftover: Path) -> bool:
    """Return whether a temporary file or folder is of a process that was killed.

    Nothing is known of the processes of other machines: theirs are abandoned after a day.
    """
    where, _, process = leftover.name.rpartition(".tmp-")[2].rpartition("-")
    if not process.isdigit():
        return False
    if where in ("", host()):  # versions before the name of the machine was in it have none
        return int(process) == os.getpid() or not alive(int(process))
    try:
        return time.time() - max(file.stat().st_mtime for file in (leftover, *leftover.rglob("*"))) > ABANDONED_SECONDS
    except FileNotFoundError:  # being worked at
        return False


def remove(path: Path) -> None:
    """Remove a file or folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def reading(path: Path, advice: str = "delete it; the command that made it makes it again") -> Iterator[None]:
    """Name the file, and what to do, where a library cannot read it because it is damaged or gone.

    Raises:
        UserError: The block has failed in a way that a damaged or missing file makes it fail.
    """
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing; the command that made it makes it again.") from None
    except (UserError, MemoryError, *PROGRAMMING) as error:
        if type(error).__module__ != "pyarrow.lib":  # its errors are TypeErrors and KeyErrors too
            raise
        raise _damaged(path, error, advice) from error
    except Exception as error:  # of a damaged file libraries raise whatever they run into
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system, not of what the file holds
        raise _damaged(path, error, advice) from error


def _damaged(path: Path, error: Exception, advice: str) -> UserError:
    why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return UserError(f"{path} is damaged ({why}): {advice}.")


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_json(path: Path, advice: str = "delete it and run the same command again") -> Any:
    """Read a JSON file; ``advice``, on what to do if it cannot be read, ends the error.

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
    """Return the content of a JSON file of a model; None if it cannot be read or is of another kind.

    Loading the model reports what is wrong.
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


def file_name(name: str) -> str:
    """Return a file name for a name, which may contain slashes.

    >>> file_name("beir/scifact <b>")
    'beir-scifact--b-'
    """
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in name).lstrip(".")[:80] or "data"
