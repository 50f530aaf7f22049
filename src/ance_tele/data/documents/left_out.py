"""What is left out of a collection, counted by reason, with the first examples of each."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

OTHER_KIND = "files of another kind: "
MOST_EXAMPLES = 3
_NOUNS = "files|folders|documents|passages|headings|sentences|titles|links|lines|queries|sections|ends"
_NOUN = re.compile(rf"\b({_NOUNS})\b")


class LeftOut(Counter[str]):
    """Counts by reason, which is a phrase in the plural.

    Attributes:
        examples: At most :data:`MOST_EXAMPLES` names of what was left out, by reason.

    Example:
        >>> left_out = LeftOut()
        >>> left_out.add("files: empty", "a.md")
        >>> dict(left_out), left_out.examples
        ({'files: empty': 1}, {'files: empty': ['a.md']})
    """

    def __init__(self) -> None:
        super().__init__()
        self.examples: dict[str, list[str]] = {}

    def add(self, reason: str, example: str) -> None:
        """Count one, and keep its name if it is among the first in their order."""
        self[reason] += 1
        self.examples[reason] = sorted([*self.examples.get(reason, []), example])[:MOST_EXAMPLES]


def amount(count: int, what: str) -> str:
    """Return a number with a phrase in the plural, whose first noun is made singular for one.

    >>> amount(1, "headings of more than 5 passages"), amount(1, "queries: made"), amount(2_000, "files: empty")
    ('1 heading of more than 5 passages', '1 query: made', '2,000 files: empty')
    """
    if count == 1:
        what = _NOUN.sub(lambda noun: "query" if noun[0] == "queries" else noun[0][:-1], what, count=1)
    return f"{count:,} {what}"


def reasons(counts: Mapping[str, int], examples: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """Return counts with their reasons and examples, those of files of other kinds together.

    >>> kinds = {"files of another kind: .png": 30, "files of another kind: .css": 7}
    >>> reasons({**kinds, "files: empty": 1}, {"files: empty": ["a.md"]})
    ['1 file: empty (a.md)', '37 files of other kinds (.png 30, .css 7)']
    """
    kinds = {key.removeprefix(OTHER_KIND): count for key, count in counts.items() if key.startswith(OTHER_KIND)}
    found = [
        amount(count, key) + _listed((examples or {}).get(key, ()), count)
        for key, count in sorted(counts.items())
        if count and not key.startswith(OTHER_KIND)
    ]
    if not kinds:
        return found
    most = sorted(kinds, key=lambda kind: (-kinds[kind], kind))[:6]
    shown = ", ".join(f"{kind} {kinds[kind]:,}" for kind in most) + (", ..." if len(kinds) > len(most) else "")
    total = sum(kinds.values())
    return [*found, f"{total:,} {'file of another kind' if total == 1 else 'files of other kinds'} ({shown})"]


def _listed(examples: Sequence[str], count: int) -> str:
    return f" ({', '.join([*examples, *(['...'] if count > len(examples) else [])])})" if examples else ""
