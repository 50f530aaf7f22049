"""The type of sources of negatives, and the decorator that declares one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ance_tele.console.errors import UserError

if TYPE_CHECKING:
    from ance_tele.mining.candidates import CandidateLists
    from ance_tele.mining.context import MiningContext


@dataclass(frozen=True)
class Source:
    """A source of negatives: it ranks passages that may be hard negatives of each training query.

    Attributes:
        name: The name of its function; files, settings and log lines use it.
        title: For tables and legends.
        colour: For figures, such as "#0072B2"; None takes one of the palette.
        function: Gets the context, returns a candidate list for each training query, positives included.
    """

    name: str
    title: str
    colour: str | None
    function: Callable[["MiningContext"], "CandidateLists"]

    def __call__(self, context: "MiningContext") -> "CandidateLists":
        """Return a candidate list for each training query, positives included."""
        return self.function(context)


def source(title: str, colour: str | None = None) -> Callable[[Callable[["MiningContext"], "CandidateLists"]], Source]:
    """Decorate a function as a source of negatives with its name.

    Args:
        title: For tables and legends.
        colour: For figures, such as "#0072B2"; None takes one of the palette.

    Raises:
        UserError: The colour has another form.

    Example:
        >>> @source("same category", "#117733")
        ... def same_category(context):
        ...     ...
        >>> same_category.name, same_category.title
        ('same_category', 'same category')
    """
    if colour is not None and not re.fullmatch("#[0-9A-Fa-f]{6}", colour):
        raise UserError(f"The colour of the source '{title}' is '{colour}'; it must be written like #0072B2.")
    return lambda function: Source(function.__name__, title, colour, function)
