"""User-defined functions, given as ``module:function``."""

import ast
import hashlib
import importlib
import inspect
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError

_PACKAGE = str(Path(__file__).parents[1])
_NAMED = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<function>[^\W\d]\w*)")


def is_plugin(name: str) -> bool:
    """Return whether a name has the form ``module:function``."""
    return _NAMED.fullmatch(name) is not None


def plain_name(name: str) -> str:
    """Return the function's name of ``module:function``; the name itself where it has no colon."""
    return name.rpartition(":")[2]


def load_plugin(name: str, what: str) -> Callable[..., Any]:
    """Import a function by ``module:function``, also from the current directory; ``what`` describes it in errors.

    Raises:
        UserError: There is no such module, it cannot be imported, or it has no such function.
    """
    parts = _NAMED.fullmatch(name)
    if parts is None:
        raise UserError(f"'{name}' names no {what}; a function of your own is named module:function.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that no file there shadows a library
    importlib.invalidate_caches()  # the module may be newer than the cache
    try:
        module = importlib.import_module(parts["module"])
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{parts['module']}.".startswith(f"{error.name}.")
        if missing:
            raise UserError(
                f"There is no module '{parts['module']}' for the {what} '{name}'; it must lie in {here} or be "
                "installed."
            ) from None
        raise UserError(
            f"The module '{parts['module']}' of the {what} '{name}' cannot be imported: "
            f"{type(error).__name__}: {error}."
        ) from error
    found = getattr(module, parts["function"], None)
    if found is None:
        raise UserError(f"{module.__file__} has no '{parts['function']}', which '{name}' names as {what}.")
    if not callable(found):
        raise UserError(f"'{parts['function']}' in {module.__file__} is no function, so it can be no {what}.")
    function: Callable[..., Any] = found
    return function


@contextmanager
def failing_as(what: str, name: str) -> Iterator[None]:
    """Turn errors of a user-defined function, ``what`` and ``module:function``, into one sentence with file and line.

    Raises:
        UserError: The function raised.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(_PACKAGE)]
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
        raise UserError(f"The {what} '{name}' failed{where}: {reason}.") from error


@cache
def code_hash(function: Callable[..., Any]) -> str:
    """Return the sha-256 (hex) of a function's source code, so that artefacts are made anew after an edit.

    Decorators and called functions do not count.

    Raises:
        UserError: There is no source code.
    """
    try:
        code = inspect.getsource(function)
    except (OSError, TypeError) as error:
        raise UserError(f"{function!r} has no source code to be read ({error}); define it in a .py file.") from None
    code = textwrap.dedent(code)
    if code.startswith("@"):
        code = "\n".join(code.splitlines()[ast.parse(code).body[0].lineno - 1 :])
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
