"""The collector waits while libraries are imported, and passes over them from then on."""

import gc
import subprocess
import sys

import pytest

from ance_tele.console.garbage import importing


def test_the_collector_waits_and_goes_on() -> None:
    with pytest.raises(ImportError), importing():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_where_it_is_switched_off_it_stays_so() -> None:
    gc.disable()
    try:
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_only_what_the_import_of_torch_makes_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(True))
    monkeypatch.setitem(sys.modules, "torch", gc)
    with importing():
        pass
    assert not frozen
    monkeypatch.delitem(sys.modules, "torch")
    with importing():
        pass
    assert not frozen
    with importing():
        monkeypatch.setitem(sys.modules, "torch", gc)
    assert frozen


def test_what_is_to_be_done_at_the_end_is_done() -> None:
    code = (
        "import atexit\natexit.register(print, 'registered')\n"
        "from ance_tele.console.garbage import skip_last_collection\nskip_last_collection()\nprint('written', end=' ')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "written registered\n"
