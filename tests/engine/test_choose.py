"""Which executor a command gets."""

import re
from typing import Any

import pytest

from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.engine import choose
from ance_tele.engine.choose import executor_for
from ance_tele.engine.executor import InProcess
from ance_tele.engine.launched import Place
from ance_tele.engine.processes import Processes
from ance_tele.engine.rank import meeting

LAUNCHED = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("asked", "gpus", "kind", "workers"),
    [
        ("auto", 0, InProcess, 1),
        ("auto", 1, InProcess, 1),
        ("auto", 8, Processes, 8),
        (3, 0, Processes, 3),
    ],
)
def test_auto_is_a_process_a_gpu(
    asked: Any, gpus: int, kind: type, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "gpus", lambda: gpus)
    with executor_for(asked) as executor:
        assert isinstance(executor, kind)
        assert (executor.workers, executor.ranks) == (workers, workers)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"processes": 0}, "processes is 0; it must be at least 1, or auto"),
        ({"address": "auto"}, "--address is of a Ray cluster; it goes with --engine ray"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence), executor_for(**options):
        pass


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape(install("ray"))), executor_for(engine="ray"):
        pass


def test_a_launcher_says_where_a_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place.of_environment() is None
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    assert Place.of_environment() == Place(3, 8, 1, 2)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Place.of_environment() is None, "torchrun with one process"


def test_a_launcher_without_a_port_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchrun --master_port 0 gives ranks that 0 to meet at."""
    for name, value in {**LAUNCHED, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:0 .*--standalone"):
        meeting(3)
