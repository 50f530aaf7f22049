"""Notes on queries that reports and model cards repeat, since figures depend on them."""

MADE = "queries are made, not asked by people"
"""The beginning of a note; how they were made follows in brackets."""

IN_PASSAGES = "queries stand in the passages that are relevant to them, so figures are too good"
"""The note on queries of whole passages."""
