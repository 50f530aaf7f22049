"""Why a negative is suspect: the names in suspects.parquet, in review files and of ``--reasons``."""

REASONS = ("near_duplicate", "above_positive", "persistently_top")

# What they were called before.
_FORMER = {"copy": "near_duplicate", "outscores": "above_positive", "kept": "persistently_top"}


def current_reasons(text: str) -> str:
    """Return reasons, divided by commas, by their names of today; older files and commands have others.

    >>> current_reasons("copy,persistently_top")
    'near_duplicate,persistently_top'
    """
    return ",".join(_FORMER.get(name, name) for name in text.split(","))
