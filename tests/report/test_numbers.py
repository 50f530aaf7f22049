"""How numbers are written."""

import pytest

from ance_tele.console.numbers import duration, p_value, signed


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0s"),
        (0.01, "<0.1s"),
        (3.1, "3.1s"),
        (59.94, "59.9s"),
        (59.97, "1m00s"),
        (101.7, "1m42s"),
        (119.6, "2m00s"),
        (3599.4, "59m59s"),
        (3599.6, "1h00m"),
        (7525, "2h05m"),
        (360000, "4d04h"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown
    assert len(shown) <= 6


@pytest.mark.parametrize(
    ("p", "shown"),
    [
        (0.0, "p < 0.001"),
        (0.00099, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0312, "p = 0.031"),
        (0.0496, "p = 0.0496"),
        (0.05, "p = 0.050"),
        (0.0504, "p = 0.0504"),
        (0.050001, "p just above 0.05"),
        (0.0996, "p = 0.10"),
        (0.31, "p = 0.31"),
        (1.0, "p = 1.00"),
    ],
)
def test_p_value(p, shown):
    assert p_value(p) == shown


def test_differences_have_signs_and_do_not_vanish():
    assert [signed(d) for d in (0.05, -0.0044, 0.0, 0.0003, -0.00002)] == [
        "+0.050",
        "-0.004",
        "0.000",
        "+0.0003",
        "-0.00002",
    ]
