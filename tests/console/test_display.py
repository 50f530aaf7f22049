"""What a command shows while it works: one region in a terminal, a line after a silence anywhere else."""

import io
import time

import pytest
from rich.console import Console

from ance_tele.console.display import Display
from ance_tele.console.events import Bar, Finished, ToCome, announce
from ance_tele.console.progress import progress

PHASES = [("zero-shot", ["evaluate"])] + [
    (f"episode {number}", ["mine", "mix", "teach", "train", "evaluate"]) for number in range(1, 4)
]


def drawn(display: Display, width: int, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=file, width=width, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(display.region(console))
    return captured.get().splitlines()


def in_training() -> Display:
    """Return the display of a run in the training of its second episode."""
    display, lines = Display(print, terminal=False), PHASES[0][0]
    with display.shown():
        announce("", phases=PHASES)
        announce("", finished=Finished(lines, "evaluate", 1.0, {"MRR@10": 0.36}))
        for phase in PHASES[1][1]:
            announce("", finished=Finished("episode 1", phase, 1.0, {"MRR@10": 0.41} if phase == "evaluate" else {}))
        for phase in ("mine", "mix", "teach"):
            announce("", finished=Finished("episode 2", phase, None))
        announce("", to_come=ToCome(900.0, 310.0))
        announce("", bar=Bar("training", 500, "steps", 120, begun=time.monotonic() - 60))
    return display


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_region_shows_all_episodes_and_fits(width: int) -> None:
    rows = drawn(in_training(), width)
    assert len(rows) == 6 and max(map(len, rows)) <= width
    assert rows[0].split() == ["zero-shot", "✓", "evaluate"]
    assert rows[1].count("✓") == 5
    assert "✓ teach" in rows[2] and "▸ train" in rows[2] and "✓ train" not in rows[2]
    assert rows[3].count("·") >= 4
    assert rows[4].startswith("  training") and "120/500 steps" in rows[4] and "2.0/s" in rows[4]
    assert "3m10s left" in rows[4]
    assert rows[5].strip() == "about 8m20s left of the run, MRR@10 0.360 > 0.410"


def test_a_terminal_of_ascii_gets_ascii() -> None:
    assert all(row.isascii() for row in drawn(in_training(), 80, "ascii"))


def test_time_left_goes_by_what_training_takes_and_ends_with_the_episodes() -> None:
    display = Display(print, terminal=False)
    with display.shown():
        announce("", phases=[("episode 1", ["train", "evaluate"]), ("run", ["analyse", "report"])])
        announce("", to_come=ToCome(900.0, 310.0))
        assert display.status().endswith("about 15m00s left of the run")
        announce("", finished=Finished("episode 1", "train", 2.0))
        assert display.status().endswith("about 5m10s left of the run")
        announce("", finished=Finished("episode 1", "evaluate", 2.0))
        assert display.status().split() == ["run", "analyse", "...", "at", "work"]


def test_many_episodes_are_shown_around_the_running_one() -> None:
    display = Display(print, terminal=False)
    with display.shown():
        announce("", phases=[(f"episode {number}", ["train"]) for number in range(1, 31)])
        announce("", finished=Finished("episode 9", "train", 1.0))
    rows = drawn(display, 80)[:5]
    assert [row.split()[1] for row in rows] == ["8", "9", "10", "11", "12"]
    assert ["✓" in row for row in rows] == [True, True, False, False, False] and "▸" in rows[2]


def test_without_a_terminal_a_line_comes_after_a_silence_and_says_how_far_it_is() -> None:
    lines: list[str] = []
    with Display(lines.append, silence=0.3, terminal=False).shown():
        announce("", phases=PHASES)
        with progress("training", 500, "steps", done=100) as advance:
            time.sleep(0.15)
            assert not lines
            advance(20)
            time.sleep(0.4)
        assert lines == ["zero-shot   evaluate      ...   training 120 of 500 steps"]
        announce("", phases=[])
        time.sleep(0.5)
    assert len(lines) == 1  # nothing is known to run


def test_lines_put_the_next_one_off() -> None:
    lines: list[str] = []
    display = Display(lines.append, silence=0.4, terminal=False)
    with display.shown(), progress("encoding", 10, "passages"):
        for _ in range(4):
            time.sleep(0.15)
            display.line("a line")
    assert lines == ["a line"] * 4


def test_what_was_done_before_says_nothing_about_the_pace() -> None:
    bar = Bar("training", 1000, "steps", 520, 500, begun=time.monotonic() - 10)
    assert bar.rate == pytest.approx(2, rel=0.01)
    assert bar.line() == "training 520 of 1,000 steps, 4m00s left"
