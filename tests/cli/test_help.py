"""What the command line says of itself."""

import re
import resource
import subprocess
import sys

import pytest

from ance_tele import __version__
from ance_tele.cli.main import main
from ance_tele.cli.verbs import VERBS
from ance_tele.paper.settings import OFFICIAL
from ance_tele.recipes import RECIPES, recipe


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_help_is_instant_and_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; from ance_tele.cli.main import main\ntry: main({words!r})\n"
        "finally: print('heavy:', sorted({'torch', 'numpy', 'yaml', 'pyarrow', 'rich'} & sys.modules.keys()))"
    )
    spent = []
    for _ in range(3):  # of CPU time, the best of three: others use this machine too
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "heavy: []" in done.stdout and not done.stderr
    assert min(spent) < 0.3


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: ance-tele {verb}") and VERBS[verb].help[:40] in shown


def test_the_help_of_run_shows_every_setting_with_the_recipes_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for argv in (["run", "--help"], ["run", "dpr", "--help"], ["run", "--data", "x", "dpr", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        shown.append(" ".join(capsys.readouterr().out.split()))
    for name in recipe("ance-tele").settings():
        assert (f"--{name} " in shown[0]) == (name not in OFFICIAL), name
    assert "0 turns momentum off. (default: 0.5)" in shown[0]
    assert "0 turns momentum off. (default: 0.0)" in shown[1]
    assert shown[2] == shown[1]


def test_alone_it_shows_its_help_and_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "Train dense retrievers" in shown and all(f"    {verb} " in shown for verb in VERBS)
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_recipes_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    for line, make in zip(lines, RECIPES.values(), strict=True):
        assert line.endswith((make.__doc__ or "").strip())


@pytest.mark.parametrize("verb", ["run", "compare", "reproduce", "evaluate"])
def test_what_people_need_first_comes_first(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    shown = capsys.readouterr().out
    headings = re.findall(r"^(\w[\w ]*):$", shown, re.MULTILINE)
    rooms = ["Episodes", "Negatives", "Training", "Teacher", "Encoding", "Evaluation"]
    assert headings == ["Most used", "More", *(["Encoding"] if verb == "evaluate" else rooms)]
    first = shown[shown.index("Most used:") : shown.index("More:")]
    flags = re.findall(r"^  (--\w+|[a-z]+)", first, re.MULTILINE)
    assert len(flags) <= 11 and "--data" in flags
    assert len(re.findall(r"^  --data", shown, re.MULTILINE)) == 1


def test_defaults_that_depend_on_what_is_at_hand_are_no_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    rates = []
    for recipe_name in ("dpr", "marco/dpr"):
        with pytest.raises(SystemExit):
            main(["run", recipe_name, "--help"])
        rates += re.findall(r"schedule\. \(default: ([^)]+)\)", " ".join(capsys.readouterr().out.split()))
    assert rates == ["by what is at hand", "5e-06"]
