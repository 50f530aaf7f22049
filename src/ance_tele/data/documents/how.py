"""How a folder of documents becomes a collection; imports nothing heavy, for --help."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_type_hints

from ance_tele.console.errors import UserError
from ance_tele.console.values import check

Make: TypeAlias = Literal["headings", "sentences", "both", "none"]
Size: TypeAlias = Annotated[int, (16, 1 << 20)]
Share: TypeAlias = Annotated[float, (0, 0.9)]


@dataclass(frozen=True)
class FromFolder:
    """How a folder becomes a collection.

    Attributes:
        size: The most that title and text of a passage have together, in words or in tokens of a model.
        make: What queries are made of: headings, sentences (the first one of a section), both (a sentence where the
            heading is none), none.
        queries: JSON lines of ``passage_id`` and ``query``: queries that a language model has generated.
        whole: Leave in passages what was made a query: to search in, not to measure on.
        dev: Share of the documents whose queries are dev.
        test: Share of those whose queries are test.

    Example:
        >>> FromFolder(size=128, make="both").check()
    """

    size: Size = 200
    make: Make = "headings"
    queries: Path | None = None
    whole: bool = False
    dev: Share = 0.1
    test: Share = 0.1

    def check(self) -> None:
        """Check types and ranges.

        Raises:
            UserError: States the value and what is allowed.
        """
        hints = get_type_hints(type(self), include_extras=True)
        for name in ("size", "make", "whole", "dev", "test"):
            check(name, getattr(self, name), hints[name])
        check_shares(self.dev, self.test, "documents")


def check_shares(dev: float, test: float, what: str) -> None:
    """Refuse shares that leave nothing to train on."""
    if dev + test >= 1:
        raise UserError(f"dev is {dev:g} and test {test:g}, which leaves no {what} to train on; make them smaller.")
