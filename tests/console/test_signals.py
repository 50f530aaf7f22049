"""Signals: a command ends cleanly, soon, and training holds them back."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from ance_tele.console.signals import STOPPED, Terminated, exit_code, held_signals, stoppable


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "kind", "code"), [(signal.SIGINT, KeyboardInterrupt, 130), (15, Terminated, 143)])
def test_a_signal_ends_the_block_and_handlers_are_put_back(number: int, kind: type, code: int) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt) as stop, stoppable():
        send(number)
    assert type(stop.value) is kind and exit_code(stop.value) == code
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_held_signals_come_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(Terminated), stoppable():
        with held_signals() as stopping:
            assert not stopping()
            send(signal.SIGTERM)
            assert stopping()
            done.append("step")
        done.append("not reached")
    assert done == ["step"]


def test_a_second_interrupt_is_not_held() -> None:
    with pytest.raises(KeyboardInterrupt), stoppable(), held_signals():
        send(signal.SIGINT)
        send(signal.SIGTERM)  # asked already
        send(signal.SIGINT)
        pytest.fail("it was held")


def test_what_is_ignored_stays_so_and_other_threads_change_nothing() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with stoppable(), held_signals() as stopping:
            send(signal.SIGTERM)
            assert not stopping()
    finally:
        signal.signal(signal.SIGTERM, before)
    found = []

    def run() -> None:
        with stoppable(), held_signals() as stopping:
            found.append(stopping())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]


DEAF = """
import os, signal, sys, time
from ance_tele.console import signals
signals.GRACE_SECONDS = 0.2
with signals.stoppable():
    for number in map(int, sys.argv[1:]):
        try:
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        except KeyboardInterrupt:
            pass  # as some libraries do
    time.sleep(60)
"""


@pytest.mark.parametrize(("numbers", "code"), [((15,), 143), ((2,), 130), ((15, 2), 143), ((2, 2), 130)])
def test_one_that_hears_no_signal_ends_in_time(numbers: tuple[int, ...], code: int) -> None:
    command = [sys.executable, "-c", DEAF, *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (code, f"ance-tele: {STOPPED}\n")
