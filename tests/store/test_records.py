"""Records: what is written is read back, and whatever else a file holds is survived."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ance_tele.store.records import decode, decode_list, encode


@dataclass(frozen=True)
class Part:
    number: int
    share: float | None = None


@dataclass(frozen=True)
class Whole:
    name: str | None
    parts: tuple[Part, ...]
    amounts: Mapping[str, float]
    part: Part | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    use: str | None = field(metadata={"key": "as"}, default=None)


def test_what_is_written_is_read_back() -> None:
    whole = Whole("a", (Part(1, 0.5), Part(2)), {"x": 1.0}, Part(3), {"y": [1, None]}, "positives")
    written = encode(whole)
    assert written == {
        "name": "a",
        "parts": [{"number": 1, "share": 0.5}, {"number": 2}],
        "amounts": {"x": 1.0},
        "part": {"number": 3},
        "extra": {"y": [1, None]},
        "as": "positives",
    }
    assert decode(Whole, written) == whole


def test_a_default_is_left_out_and_any_other_field_is_written() -> None:
    assert encode(Whole(None, (), {})) == {"name": None, "parts": [], "amounts": {}}


@pytest.mark.parametrize("found", [{}, [], None, "x", {"name": {}, "parts": 3, "amounts": [], "part": {}, "later": 1}])
def test_whatever_lacks_or_does_not_fit_is_empty(found: Any) -> None:
    assert decode(Whole, found) == Whole(None, (), {})


def test_entries_that_cannot_be_read_are_dropped() -> None:
    found = {"parts": [{"number": 1}, {"share": 0.5}, 7, {"number": float("nan")}, {"number": True}, {"number": 2}]}
    assert decode(Whole, found).parts == (Part(1), Part(2))
    assert decode(Whole, {"amounts": {"a": 1, "b": None, "c": "x", "d": float("inf")}}).amounts == {"a": 1.0}
    assert decode_list(Part, [{"number": 1}, {}]) == (Part(1),) and decode_list(Part, None) == ()


def test_a_record_that_cannot_be_empty_is_refused() -> None:
    with pytest.raises(ValueError, match="is no Part"):
        decode(Part, {})
