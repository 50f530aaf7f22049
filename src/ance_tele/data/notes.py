"""Notes on queries that reports and model cards repeat, since figures depend on them."""

from collections.abc import Mapping

MADE = "queries are made, not asked by people"
"""The beginning of a note; how they were made follows in brackets."""

IN_PASSAGES = "queries stand in the passages that are relevant to them, so figures are too good"
"""The note on queries of whole passages."""


def how_made(notes: Mapping[str, int]) -> dict[str, int]:
    """Return those notes, with their counts, that say that queries are made."""
    return {note: count for note, count in notes.items() if note.startswith(MADE)}


def level_of(note: str) -> str:
    """Return whether a note is a note or a warning."""
    return "warning" if note == IN_PASSAGES else "note"
