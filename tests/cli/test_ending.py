"""How the command line ends: errors, interrupts, closed pipes."""

import subprocess
import sys
from pathlib import Path

import pytest
from steps import COMMAND, Refusal

from ance_tele.cli.main import main


def test_no_refusal_waits_for_torch(toy: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    argvs = [
        ["run", "dpr", f"--data={toy}", "--out", out],
        ["run", "dpr", f"--data={toy}", "--out", out, "--model=m", "--alpha=2"],
        ["run", "bm25", f"--data={tmp_path}", "--out", out],
        ["evaluate", "m"],
        ["evaluate", "m", f"--data={tmp_path}"],
        ["search", str(tmp_path), "x"],
        ["report", str(tmp_path)],
        ["data", str(tmp_path)],
    ]
    code = (
        "import sys; from ance_tele.cli.main import main\n"
        f"print([main(argv) for argv in {argvs!r}], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{[2] * len(argvs)} False\n", done.stderr


def test_what_the_system_refuses_is_one_sentence(
    toy: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ANCE_TELE_CACHE", str(tmp_path / "file" / "cache"))
    assert refusal("data", toy).startswith("Not a directory (")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANCE_TELE_DEBUG", "1")
    with pytest.raises(ValueError, match="is not a folder"):
        main(["data", str(tmp_path / "nowhere")])


def test_interrupted_it_says_how_to_go_on(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ance_tele.data.load.load_collection", interrupt)
    assert main(["data", str(toy)]) == 130
    assert capsys.readouterr().err == "ance-tele: stopped; nothing was kept, and the same command starts again.\n"
    monkeypatch.setattr("ance_tele.runs.identity.collection_for", interrupt)
    run = ["run", "bm25", f"--data={toy}", f"--out={tmp_path / 'run'}"]
    assert main(run) == 130
    kept = "the same command goes on from what is finished, such as a checkpoint or a shard of vectors."
    assert capsys.readouterr().err == f"ance-tele: stopped; {kept}\n"


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen([*COMMAND, "recipes"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
