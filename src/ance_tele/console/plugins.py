"""Functions that users bring: named "module:function", on the command line, in YAML and in Python."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from ance_tele.console.errors import UserError, nearest


def is_reference(name: str) -> bool:
    """Return whether a name is that of a user's function: "module:function"."""
    module, colon, function = name.partition(":")
    return bool(colon) and function.isidentifier() and all(part.isidentifier() for part in module.split("."))


def load_function(reference: str, what: str) -> Callable[..., Any]:
    """Return the function that "module:function" names.

    Args:
        reference: Module, as Python imports it, and function.
        what: What it is for a user, such as "recipe".

    Raises:
        UserError: There is no such module or function, or the module fails to load.
    """
    name, _, function = reference.partition(":")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(
                f"Module '{name}' of {what} '{reference}' needs '{error.name}', which is not there."
            ) from None
        raise UserError(
            f"There is no module '{name}' for {what} '{reference}'; install it, or start where {name.split('.')[0]}.py "
            "lies."
        ) from None
    except Exception as error:
        raise UserError(f"Module '{name}' of {what} '{reference}' cannot be imported ({problem(error)}).") from error
    found = getattr(module, function, None)
    if not callable(found):
        near = nearest(function, [key for key, value in vars(module).items() if callable(value)])
        hint = f"did you mean '{near}'?" if near else "define it there."
        raise UserError(f"Module '{name}' ({module.__file__}) has no function '{function}'; {hint}")
    return found


def problem(error: Exception) -> str:
    """Return what an error of a user's code was, and in which line of which file it came up, in one line."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    known = isinstance(error, SyntaxError) or not frames  # a syntax error names its own place
    place = "" if known else f", {frames[-1].filename} line {frames[-1].lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
