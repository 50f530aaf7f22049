"""What the tests share: a tiny encoder with random weights, and a toy collection whose words make sense."""

import atexit
import functools
import gc
import importlib.metadata
import json
import os
import signal

# Tiny models gain nothing from threads, and the tests may run in parallel.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The tests are offline: a name of the hub is not asked for again and again before it is given up.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from toy import write_model, write_toy

# Files that take longest begin first, so that no worker sits idle at the end.
LONG = (
    "test_golden",
    "test_zoo",
    "test_episode",
    "test_compare",
    "test_table1",
    "test_ranks",
    "test_faults",
    "test_page",
    "test_declared",
    "test_paper_recipes",
    "test_paper_scale",
    "test_explorer_browser",
    "test_packed",
)


def pytest_configure() -> None:
    """Read the metadata of a package once: every load of a model asks for some, which are parsed anew each time.

    Garbage is not looked for while tests are collected, which imports nearly everything, nor at the end.
    """
    # A shell that starts them in the background has them, and what they start, ignore the interrupts that some send.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    importlib.metadata.metadata = functools.cache(importlib.metadata.metadata)
    gc.disable()
    atexit.register(gc.freeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_collection_finish() -> None:
    """Leave what has been imported out of garbage collection, which would look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _no_power_cuts() -> Iterator[None]:
    """Files of tests need not outlive the machine: waiting for the disk is a tenth of a toy run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCE_TELE_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The lines that the package logs while a test runs."""
    from ance_tele.console.log import log_to

    lines: list[str] = []
    with log_to(lines.append):
        yield lines


@contextmanager
def _without_pictures() -> Iterator[None]:
    from ance_tele.analysis import analyse
    from ance_tele.report import page, write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analyse, "_project", lambda *given: None)
        patch.setattr(page, "panel_svg", lambda *panel: "<svg xmlns='http://www.w3.org/2000/svg'></svg>")
        patch.setattr(write, "curves", lambda run: b"")
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Runs without pictures, for modules that test something else in many runs: drawing is a third of a toy run."""
    with _without_pictures():
        yield


@pytest.fixture
def undrawn_here() -> Iterator[None]:
    """The same for one test; what its module has made for all tests is drawn."""
    with _without_pictures():
        yield


@pytest.fixture
def data_only(undrawn_here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures, but with the data of their figures."""
    from ance_tele.report.drawing import write_rows

    monkeypatch.setattr("ance_tele.report.write.save", write_rows)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection in BEIR layout: 144 passages, 72 / 24 / 48 queries, one relevant passage each."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_toy(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain Hugging Face BERT: two layers, 32 dimensions, random weights, one token per toy word."""
    gc.disable()
    import ance_tele.training.trainer  # noqa: F401 (what most tests with a model load)

    pytest_collection_finish()

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def explored(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two episodes, on the toy collection and a near-copy of the first positive that tries to be markup."""
    from ance_tele.cli.main import main

    folder = tmp_path_factory.mktemp("explored")
    write_toy(folder / "data")
    corpus = [json.loads(line) for line in (folder / "data" / "corpus.jsonl").read_text("utf-8").splitlines()]
    hostile = "<script>window.hacked=1</script><b>"
    # The markup stands where the length cuts most of it off, so that the model takes the passage for a copy.
    corpus.append({"_id": "x<i>", "title": f"{corpus[0]['title']} <b>", "text": f"{corpus[0]['text']} {hostile}"})
    (folder / "data" / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)) + "\n", "utf-8")
    command = (
        f"run ance-tele --data {folder / 'data'} --model {tiny_model} --out {folder / 'run'} --episodes 2 --depth 20"
    )
    settings = "--query_max_len 16 --passage_max_len 16 --pool_per_source 6 --negatives_per_query 4 --batch_queries 8"
    rates = "--epochs 2 --learning_rate 3e-3 --refresh_fraction 0.5 --precision float32 --train_precision float32"
    with _without_pictures():
        assert main([*f"{command} {settings} {rates}".split(), "--report_to", "[none]"]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real collections next to a checkout; tests that need one skip where it is absent."""
    folder = Path(os.environ.get("ANCE_TELE_SHARED", Path(__file__).parents[2] / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("no real collections on this machine")
    return folder


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must fail; return its one sentence."""
    from ance_tele.cli.main import main

    def run(*argv: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in argv]) == 2
        error = capsys.readouterr().err
        assert error.startswith("ance-tele: ") and error.endswith("\n")
        sentence = error.removeprefix("ance-tele: ").removesuffix("\n")
        assert sentence and "\n" not in sentence and "Traceback" not in sentence and sentence[-1] in ".?"
        return sentence

    return run


@pytest.fixture(scope="session")
def lexical(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the recipe bm25."""
    from ance_tele.cli.main import main

    out = tmp_path_factory.mktemp("runs") / "bm25"
    assert main(["run", "bm25", "--data", str(toy), "--out", str(out), "--learning_rate", "1e-4"]) == 0
    return out


@pytest.fixture(scope="session")
def untrained(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the recipe zero-shot."""
    from ance_tele.cli.main import main

    out = tmp_path_factory.mktemp("runs") / "zero-shot"
    argv = ["run", "zero-shot", f"--data={toy}", f"--model={tiny_model}", f"--out={out}", "--baselines=[zero-shot]"]
    assert main([*argv, "--query_prompt", "query: ", "--title_separator", "[SEP]", "--passage_max_len", "16"]) == 0
    return out
