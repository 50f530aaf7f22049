"""Human verdicts on passages in the run's review file, the only file that the explorer writes."""

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.review import VERDICTS, Verdict, read_review, write_review


class Marks:
    """The review file of a run; read on every access, since others may write it.

    Attributes:
        path: Of the file, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, threading.Lock()

    def all(self) -> list[Verdict]:
        """Return all verdicts, in the order of the file."""
        return read_review(self.path) if self.path.is_file() else []

    def of(self, query: str) -> dict[str, str]:
        """Return the verdicts on one query's passages, by passage id."""
        return {row.passage_id: row.verdict for row in self.all() if row.query_id == query}

    def counts(self) -> dict[str, int]:
        """Return the number of pairs by verdict."""
        pairs = {(row.query_id, row.passage_id): row.verdict for row in self.all()}
        found = Counter(pairs.values())
        return {verdict: found[verdict] for verdict in VERDICTS}

    def set(self, case: Mapping[str, Any], passage: str, verdict: str | None) -> None:
        """Set the verdict on a negative of a query, or remove it (None), and write the file.

        Raises:
            UserError: The passage is no negative of the query, or there is no such verdict.
        """
        row = next((row for row in case["negatives"] if row["id"] == passage), None)
        if row is None:
            raise UserError(f"'{passage[:80]}' is no negative of the query '{case['id']}'; reload the page.")
        if verdict is not None and verdict not in VERDICTS:
            raise UserError(f"The verdict is '{verdict[:40]}'; it must be one of {', '.join(VERDICTS)}.")
        with self._lock:
            before = self.all()
            rest = [other for other in before if (other.query_id, other.passage_id) != (case["id"], passage)]
            if verdict is not None:
                reasons, sources = ",".join(row["reasons"]), ",".join(one["source"] for one in row["sources"])
                rest.append(
                    Verdict(case["id"], passage, verdict, case["text"], row["title"], row["text"], reasons, sources)
                )
            if rest != before:
                write_review(self.path, rest)
