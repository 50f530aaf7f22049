"""Reasons why a negative is suspect, as in suspects.parquet, review files and ``--reasons``."""

REASONS = ("near_duplicate", "above_positive", "persistently_top")

# Former names.
_FORMER = {"copy": "near_duplicate", "outscores": "above_positive", "kept": "persistently_top"}


def current_reasons(text: str) -> str:
    """Replace former names in a comma-separated list of reasons.

    >>> current_reasons("copy,persistently_top")
    'near_duplicate,persistently_top'
    """
    return ",".join(_FORMER.get(name, name) for name in text.split(","))
