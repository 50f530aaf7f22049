"""The paper's tables and figures as comparisons: their systems. Table 1 is :mod:`ance_tele.experiments.table1`."""

from collections.abc import Sequence

from ance_tele.console.errors import UserError, unknown

_ABLATION = ("ance", "q-neg", "q-neg+momentum", "q-neg+lookahead", "ance-tele")

TABLES: dict[str, tuple[str, ...]] = {
    "table2": (
        "ance-tele",
        "ance-tele alpha=0.3",
        "ance-tele alpha=0.7",
        "ance-tele beta=0.3",
        "ance-tele beta=0.7",
        "ance-tele negatives_per_query={fewer}",
        "ance-tele negatives_per_query={more}",
    ),
    "table3": ("zero-shot", "dpr", *_ABLATION),
    "table8": ("ance-tele", "ance-tele+continue", "ance-tele+bm25", "ance-tele-overlap"),
    "table9": ("ance-tele", "ance-tele+continue"),
    "figure4": ("ance episodes=5", "ance+cyclic-lr episodes=5", "ance-tele episodes=5"),
    "figure8": _ABLATION,
}


def systems_of(table: str, negatives: int = 31) -> Sequence[str]:
    """Return the systems of a table of the paper, in its order.

    Table 2 has 23 and 47 negatives next to 31; with another number, as many in proportion.

    Raises:
        UserError: There is no such table.
    """
    if table not in TABLES:
        raise UserError(unknown("table", table, ("table1", *TABLES)))
    numbers = {"fewer": max(1, round(negatives * 23 / 31)), "more": max(2, round(negatives * 47 / 31))}
    return tuple(name.format(**numbers) for name in TABLES[table])
