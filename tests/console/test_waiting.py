"""How threads wait is chosen by what the machine is doing, and never over what the user has chosen."""

import sys
from pathlib import Path

import pytest

from ance_tele.console import waiting


@pytest.mark.parametrize(
    ("share", "chosen"),
    [(0.02, {"GOMP_SPINCOUNT": "10000"}), (0.5, {"OMP_WAIT_POLICY": "passive"})],
)
def test_it_is_chosen_by_the_machine(share: float, chosen: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(waiting, "used_share", lambda: share)
    environment = dict[str, str]()
    waiting.wait_well(environment)
    assert environment == chosen


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_user_has_chosen_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    environment = {name: "x"}
    waiting.wait_well(environment)
    assert environment == {name: "x"}


def test_once_torch_is_loaded_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", waiting)
    environment = dict[str, str]()
    waiting.wait_well(environment)
    assert not environment


def test_the_share_is_what_is_not_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 200 ticks 120 were idle and 20 waited for the disk; guests are counted in "user" already."""
    times = tmp_path / "stat"
    times.write_text("cpu  100 0 50 1000 10 0 0 0 7 0\ncpu0 1 1 1 1\n")
    later = "cpu  150 0 60 1120 30 0 0 0 7 0\n"
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: times.write_text(later))
    assert waiting.used_share(times) == pytest.approx(0.3)
    assert waiting.used_share(tmp_path / "none") == 0.0
