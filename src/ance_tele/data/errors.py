"""The one exception for what a user can get wrong, and the sentence for a model that training has ruined."""


class UserError(ValueError):
    """One clear sentence: what was found, where, and what to do.

    The command line prints it without a traceback and exits with code 2; as a ``ValueError`` it can be
    caught by code that uses the package as a library.
    """


def diverged(what: str) -> UserError:
    """Return the refusal of vectors that are no numbers.

    Args:
        what: Which vectors, as a sentence begins.
    """
    return UserError(f"{what} hold NaN or infinite values: the model has diverged; lower the learning rate.")
