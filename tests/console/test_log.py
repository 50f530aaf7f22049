"""Log lines: printed where somebody asks for them, and nowhere else."""

import logging

import pytest

from ance_tele.console.log import LOGGER, log_to, muted

log = logging.getLogger("ance_tele.somewhere")


def test_lines_are_written_as_they_are_while_the_block_runs() -> None:
    lines: list[str] = []
    for number in range(2):  # a handler that stayed would write the second line twice
        with log_to(lines.append):
            log.info(f"line {number} of 100%")
            log.debug("unasked")
        log.info("too late")
    assert lines == ["line 0 of 100%", "line 1 of 100%"]
    assert LOGGER.level == logging.NOTSET and LOGGER.propagate


def test_a_library_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log.info("a line")
    logging.getLogger("ance_tele").warning("a warning")
    assert capfd.readouterr() == ("", "")


def test_a_muted_block_passes_warnings_on(logged: list[str]) -> None:
    with muted():
        log.info("left out")
        log.warning("a warning")
    with muted(False):
        log.info("a line")
    assert logged == ["a warning", "a line"]
