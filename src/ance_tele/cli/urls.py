"""Which flags take a URL of an object store."""

from ance_tele.cli.flags import Given
from ance_tele.console.errors import UserError
from ance_tele.store.urls import is_url

# By verb; and the run of `evaluate --on`.
_TAKE_URLS = {
    ("run", "out"),
    ("compare", "out"),
    ("reproduce", "out"),
    ("search", "run"),
    ("serve", "run"),
    ("suspects", "run"),
    ("report", "runs"),
    ("merge", "run"),
    ("export", "source"),
    ("export", "to"),
    ("push", "to"),
}

# Flags that are files and folders of this machine everywhere else.
_PATHS = ("out", "run", "runs", "target", "run_file", "to", "data", "source", "model", "models", "review", "beside")


def refuse_urls(verb: str, given: Given) -> None:
    """Refuse a URL where only files and folders of this machine are taken.

    Raises:
        UserError: There is one.
    """
    for key in _PATHS:
        value = getattr(given, key, None)
        taken = (verb, key) in _TAKE_URLS or (verb == "evaluate" and key == "model" and given.on)
        for one in value if isinstance(value, tuple) else (value,):
            if is_url(one) and not taken:
                raise UserError(
                    f"{one} is a URL, and {verb} takes none as {key}: only run, compare and reproduce --out, search, "
                    "serve, suspects, report, merge, export and evaluate --on take one. Give a file or folder."
                )
