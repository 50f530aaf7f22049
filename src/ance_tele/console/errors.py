"""The one exception for what a user can get wrong, and the sentence for a model that training has ruined."""


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


class NotFiniteError(UserError):
    """Vectors that are no numbers: training has diverged, unless the model was not trained here.

    Args:
        what: Which vectors, as a sentence begins.
    """

    def __init__(self, what: str) -> None:
        self.found = f"{what} hold NaN or infinite values"
        super().__init__(f"{self.found}: the model has diverged; lower the learning rate.")


def diverged(what: str) -> NotFiniteError:
    """Return the refusal of vectors that are no numbers.

    Args:
        what: Which vectors, as a sentence begins.
    """
    return NotFiniteError(what)
