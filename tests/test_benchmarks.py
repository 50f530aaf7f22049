"""The benchmarks' rows and the one table, on made-up figures; nothing is measured here."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
sys.path.append(str(FOLDER))  # its scripts import each other by name

import bench  # noqa: E402
import phases  # noqa: E402
from common import Row, read_rows, record, this_command, times_faster  # noqa: E402

from ance_tele.console.errors import UserError  # noqa: E402
from ance_tele.store.manifests import Manifest  # noqa: E402

COMPARED = Row("a step", "bf16", 2.381, "a | b", 6.59, 2.77, 2.7, 2.801, 0.482, 2.16, 5.04, "python benchmarks/step.py")
ALONE = Row("mixing", "episode 1", 1234.4, peak=0.219, command="python benchmarks/mix.py 5")
SCRIPTS = {path.stem: ast.parse(path.read_text("utf-8")) for path in FOLDER.glob("*.py")}


def test_rows_come_back_as_they_were_recorded(tmp_path: Path) -> None:
    record(tmp_path / "rows.json", [COMPARED, ALONE])
    assert read_rows(tmp_path / "rows.json") == [COMPARED, ALONE]
    record(None, [COMPARED])  # nobody asked for them


def test_a_row_knows_its_command_without_where_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/step.py", "--shape", "8", "31", "--json", "x.json", "--data", "a b"])
    assert this_command() == "python benchmarks/step.py --shape 8 31 --data 'a b'"
    assert Row("a step", "bf16", 1.0).command == this_command()


def test_the_table_has_all_figures_of_a_row() -> None:
    header, _, compared, alone = bench.table([COMPARED, ALONE]).splitlines()
    assert [cell.strip() for cell in header.strip("|").split(" | ")] == list(bench.HEADER)
    cells = [cell.strip() for cell in compared[2:-2].split(" | ")]
    assert cells == ["a step", "2.38 s (bf16)", r"a \| b", "6.59 s", "2.77 (2.70 to 2.80)", "48%", "2.16 (5.04)"]
    cells = [cell.strip() for cell in alone[2:-2].split(" | ")]
    assert cells == ["mixing", "1,234 s (episode 1)", "none", "", "", "", "0.22"]
    assert {len(line) for line in (header, compared, alone)} == {len(header)}


def test_ratios_are_taken_round_by_round() -> None:
    assert times_faster([1.0, 2.0, 4.0], [3.0, 4.0, 4.0]) == (2.0, 1.0, 3.0)


def test_a_section_repeats_each_command_once_and_names_no_folder() -> None:
    here = Row(
        "step", "failed: /home/me/data/x is missing", None, command="python benchmarks/step.py --data /home/me/data"
    )
    hidden = bench.nameless(here, {"/home/me/data": "DATA"})
    assert (hidden.ours, hidden.command) == ("failed: DATA/x is missing", "python benchmarks/step.py --data DATA")
    text = bench.section("10:00, quick", ["a machine"], [COMPARED, COMPARED, ALONE, hidden])
    assert text.count("    python benchmarks/step.py\n") == 1 and text.count("    python benchmarks/mix.py 5\n") == 1
    assert "a machine" in text and "failed: DATA/x" in text and "/home" not in text


def test_data_and_model_go_only_to_scripts_that_take_them() -> None:
    given = {"data": "D", "model": None}
    assert [name for name, arguments in bench.calls(bench.QUESTIONS, False, given) if "--data" in arguments] == [
        name for name, question in bench.QUESTIONS.items() if "data" in question.takes
    ]
    assert all("--model" not in arguments for _, arguments in bench.calls(bench.QUESTIONS, True, given))
    assert [a[:3] for _, a in bench.calls(["step"], True, given)] == [
        ["--shape", "8", "31"],
        ["--shape", "32", "7"],
        ["--shape", "128", "11"],
    ]


def test_a_script_that_fails_is_a_row(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        options["stderr"].write("Traceback\nValueError: no such shape\n")  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(bench.subprocess, "run", fail)
    (row,) = bench.ask("step", ["--shape", "0", "0"])
    assert (row.seconds, row.ours) == (None, "failed, exit 1: ValueError: no such shape")
    assert row.command == "python benchmarks/step.py --shape 0 0"
    assert "failed, exit 1" in bench.table([row]) and "Traceback" in capfd.readouterr().err


def test_phases_of_a_run_are_added_up_over_episodes(tmp_path: Path) -> None:
    def stands(name: str, seconds: float, **facts: float) -> None:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Manifest("made up", {}, {}, facts, seconds).save(path)

    with pytest.raises(UserError, match="no finished phase"):
        phases.phases(tmp_path)
    for episode in (0, 1, 2):
        stands(f"episode-{episode}/evaluation", 99, encode_seconds=5, search_seconds=2)
        stands(f"episode-{episode}/training_lists", 3)
    for episode in (1, 2):
        stands(f"episode-{episode}/candidates.parquet", 1)
        stands(f"episode-{episode}/pool.parquet", 0.5)
        stands(f"episode-{episode}/model", 10 * episode)
    stands("analysis", 7)
    found = phases.phases(tmp_path)
    assert found == {
        "encode": 15, "search": 9, "mine + mix": 3, "train": 30, "evaluate": 6, "BM25": 0, "look back": 7, "all": 70
    }  # fmt: skip
    faster = {name: value / 2 for name, value in found.items()}
    lines = phases.side_by_side(["before", "after"], [found, faster]).splitlines()
    train = next(line for line in lines if line.startswith("| train"))
    assert [cell.strip() for cell in train[2:-2].split(" | ")] == ["train", "30.0 s", "15.0 s (2.00)", "43%"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_file_says_what_it_is_and_every_script_how_to_call_it(name: str) -> None:
    tree = SCRIPTS[name]
    docstring = ast.get_docstring(tree)
    assert docstring
    if any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree.body):
        assert f"    python benchmarks/{name}.py" in docstring
        assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)
    else:
        assert name in ("common", "limit", "texts") or name.startswith("fuzz_")


@pytest.mark.parametrize("name", bench.QUESTIONS)
def test_every_script_of_the_table_records_rows(name: str) -> None:
    called = {ast.unparse(node.func) for node in ast.walk(SCRIPTS[name]) if isinstance(node, ast.Call)}
    assert {"add_json", "record"} <= called


def test_no_script_hides_a_module_of_python() -> None:
    assert not SCRIPTS.keys() & sys.stdlib_module_names
