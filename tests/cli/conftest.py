"""Runs and refusals that several tests of the command line share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from steps import Refusal

from ance_tele.cli.main import main


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Run a command line that must fail; return its one sentence."""

    def run(*argv: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in argv]) == 2
        error = capsys.readouterr().err
        assert error.startswith("ance-tele: ") and error.endswith("\n")
        sentence = error.removeprefix("ance-tele: ").removesuffix("\n")
        assert sentence and "\n" not in sentence and "Traceback" not in sentence and sentence[-1] in ".?"
        return sentence

    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' own cache, for fixtures that live longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCE_TELE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(scope="module")
def lexical(toy: Path, tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """A finished run of the recipe bm25."""
    out = tmp_path_factory.mktemp("runs") / "bm25"
    assert main(["run", "bm25", "--data", str(toy), "--out", str(out), "--learning_rate", "1e-4"]) == 0
    return out


@pytest.fixture(scope="module")
def untrained(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory, cache: None) -> Path:
    """A finished run of the recipe zero-shot."""
    out = tmp_path_factory.mktemp("runs") / "zero-shot"
    argv = ["run", "zero-shot", f"--data={toy}", f"--model={tiny_model}", f"--out={out}", "--baselines=[zero-shot]"]
    assert main([*argv, "--query_prompt", "query: ", "--title_separator", "[SEP]", "--passage_max_len", "16"]) == 0
    return out
