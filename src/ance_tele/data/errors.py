"""The one exception for what a user can get wrong."""


class UserError(ValueError):
    """One clear sentence: what was found, where, and what to do.

    The command line prints it without a traceback and exits with code 2; as a ``ValueError`` it can be
    caught by code that uses the package as a library.
    """
