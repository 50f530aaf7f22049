"""Problems found while a collection is read: refused in strict mode, else counted."""

from ance_tele.console.errors import UserError


class Check:
    """Counts problems; in strict mode the first kind found is refused in one sentence."""

    def __init__(self, strict: bool) -> None:
        self.strict, self.counts = strict, dict[str, int]()

    def report(self, kind: str, where: str, count: int, example: str) -> None:
        """Count what is left out.

        Raises:
            UserError: In strict mode, if there is any.
        """
        if not count:
            return
        if self.strict:
            raise UserError(
                f"{where} holds {kind} ({count:,}; first {example}); mend it, or pass --lenient (strict=False) to "
                "leave them out."
            )
        self.counts[f"{where}: {kind}"] = count

    def none_left(self, where: str) -> None:
        """Count a split without judgements.

        Raises:
            UserError: In strict mode.
        """
        if self.strict:
            raise UserError(f"{where} holds no judgements; delete it, or pass --lenient (strict=False) to ignore it.")
        self.counts[f"{where}: no judgements left, so no such split"] = 1
