"""The exception for errors of the user, and sentences that several rooms need."""

from collections.abc import Iterable

# Characters of a sentence: what a file holds may be of any length, and is quoted in it.
LONGEST = 1000


def printable(text: str, most: int = LONGEST) -> str:
    r"""Return a text as it can be printed in one line of any terminal: odd characters escaped, the middle of it cut.

    >>> printable("one\ntwo \x1b[31m \ud800"), printable("a" * 30, 11)
    ('one\\ntwo \\x1b[31m \\ud800', 'aaaaaaa … aaa')
    """
    if len(text) > most:
        text = f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 :]}"
    return text if text.isprintable() else "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


class UserError(ValueError):
    """One clear sentence: what was found, where, and what to do.

    The command line prints it without a traceback and exits with code 2; as a ``ValueError`` it can be
    caught by code that uses the package as a library.

    Example:
        >>> import ance_tele as at
        >>> try:
        ...     at.load_collection("no-such-folder")
        ... except at.UserError as error:
        ...     print(str(error)[:45])
        no-such-folder is not a folder or file; --dat
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(printable(sentence))


class NotFiniteError(UserError):
    """``what`` (the start of a sentence) hold NaN or infinite values: training diverged, or the model came so."""

    def __init__(self, what: str) -> None:
        self.found = f"{what} hold NaN or infinite values"
        super().__init__(f"{self.found}: the model has diverged; lower the learning rate.")


def nearest(name: str, known: Iterable[str], least: float = 0.5) -> str | None:
    """Return the known name most similar to ``name``, or None if none is as similar as ``least``, of 1."""
    from difflib import get_close_matches  # only where something is wrong

    plain = {key.replace("_", "-"): key for key in known}
    near = get_close_matches(name[:100].lower().replace("_", "-"), plain, 1, least)
    return plain[near[0]] if near else None


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Return the sentence for a name that does not exist, suggesting the most similar one that does."""
    near, every = nearest(str(name), known), list(known)
    others = f"there are: {', '.join(every)}." if len(every) < 30 else "ance-tele run --help names those there are."
    return f"There is no {what} '{name}'; " + (f"did you mean '{near}'?" if near else others)
