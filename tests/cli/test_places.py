"""A place that cannot be written is refused before the work begins, with its cause."""

from pathlib import Path

import pytest

from ance_tele.cli.main import main

COMMANDS = {
    "from-folder": ["data", "from-folder", "nowhere", "--out"],
    "convert": ["data", "convert", "nowhere"],
    "run": ["run", "bm25", "--data=nowhere", "--out"],
    "compare": ["compare", "--recipes=dpr", "--data=nowhere", "--model=m", "--out"],
    "encode": ["encode", "m", "--data=nowhere", "--out"],
    "pretrain": ["pretrain", "--data=nowhere", "--model=m", "--out"],
    "teach": ["teach", "nowhere", "--model=m", "--out"],
    "distil": ["distil", "nowhere", "--model=m", "--out"],
    "report": ["report", "nowhere", "--out"],
    "suspects": ["suspects", "nowhere", "--to"],
    "demo": ["demo", "--out"],
}


def refusal(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    assert main(words) == 2
    return capsys.readouterr().err.removeprefix("ance-tele: ").strip()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_is_no_folder(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.md").touch()
    place, words = tmp_path / "file.md" / "a" / "b", COMMANDS[name]
    flag = f"{words[-1]} " if words[-1].startswith("--") else ""
    found = refusal(capsys, [*words, str(place)])
    assert found == (
        f"{flag}{place} cannot be written: {tmp_path / 'file.md'} is a file, not a folder; give another place."
    )


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder there that nobody can write")
def test_the_system_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = refusal(capsys, ["data", "from-folder", str(tmp_path), "--out", "/proc/nope"])
    assert found.startswith("--out /proc/nope cannot be written: the system refuses files in /proc (")
    assert found.endswith("); give another place.")


def test_nothing_is_made_and_a_dry_run_does_not_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refusal(capsys, ["data", "from-folder", "nowhere", "--out", str(tmp_path / "a" / "b")])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert main(["demo", "--dry_run", "--out", str(tmp_path / "file" / "x")]) == 0
