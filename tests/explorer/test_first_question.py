"""Questions without the libraries that load models: imports, equal answers, and when they are loaded after all."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from ance_tele.console.errors import UserError
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.explorer.asking import Asker
from ance_tele.explorer.background import EncodeCheckpoints, encoding
from ance_tele.explorer.examples import COUNT, examples
from ance_tele.explorer.kept import KnownCheckpoint
from ance_tele.explorer.search import search_run
from ance_tele.runs.folder import OpenedRun, open_run

# pandas is not among them: pyarrow imports it, where it is installed.
HEAVY = {"sentence_transformers", "transformers", "datasets", "sklearn", "scipy", "matplotlib", "accelerate"}


def imported(statements: str) -> set[str]:
    """Return which of these libraries a fresh Python has imported after some statements."""
    code = f"import sys\n{statements}\nprint('loaded', *({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def copied(run: Path, folder: Path) -> Path:
    """Return a copy of a run whose initial model is a copy too."""
    identity = json.loads((run / "run.json").read_text("utf-8"))
    shutil.copytree(run, folder / "run")
    shutil.copytree((run / identity["model"]).resolve(), folder / "start")
    (folder / "run" / "run.json").write_text(json.dumps({**identity, "model": "../start"}), "utf-8")
    return folder / "run"


@pytest.fixture
def data(explored: Path) -> Path:
    return explored.parent / "data"


def awaited(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def known(run: Path, data: Path, number: int) -> tuple[OpenedRun, KnownCheckpoint | None]:
    opened = open_run(run, data)
    return opened, KnownCheckpoint.of(opened, number)


def test_search_and_serve_import_no_library_that_loads_models(explored: Path, data: Path) -> None:
    search = (
        f"from ance_tele.cli.main import main\nassert main(['search', {str(explored)!r}, 't3 u18', '-k', '2']) == 0"
    )
    assert imported(search) == set()
    serve = (
        "from ance_tele.explorer.serve import open_explorer\nfrom fastapi.testclient import TestClient\n"
        f"client = TestClient(open_explorer({str(explored)!r}, {str(data)!r}, episodes='kept'), "
        "base_url='http://127.0.0.1:8000', headers={'Origin': 'http://127.0.0.1:8000'})\n"
        "found = client.post('/api/search', json={'words': 't3', 'checkpoint': 2}).json()\n"
        "assert len(found['hits']) == 10"
    )
    assert imported(serve) == set()
    assert "scipy" in imported("import scipy")  # the test sees what is imported


def test_the_ranking_is_that_of_the_loaded_model(explored: Path, data: Path) -> None:
    opened, checkpoint = known(explored, data, 2)
    quick, usual = checkpoint and checkpoint.over(opened, 2), opened.retriever(2)
    assert quick is not None
    for words in opened.collection.queries.table["text"].to_pylist()[:20]:
        ours, theirs = quick.ask(words, 20), usual.ask(words, 20)
        assert np.array_equal(ours.rows, theirs.rows) and np.allclose(ours.scores, theirs.scores, atol=1e-5)


def test_the_initial_model_is_known_by_its_files(explored: Path, data: Path, tmp_path: Path) -> None:
    run = copied(explored, tmp_path)
    opened, checkpoint = known(run, data, 0)
    assert checkpoint is not None and checkpoint.weights == opened.retriever(0).checkpoint.weights
    weights = tmp_path / "start" / "model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, weights, {"format": "pt"})
    assert known(run, data, 0)[1] is None
    identity = json.loads((run / "run.json").read_text("utf-8"))
    del identity["fingerprints"]["model_files"]  # as runs of before
    (run / "run.json").write_text(json.dumps(identity), "utf-8")
    assert known(run, data, 0)[1] is None
    assert known(run, data, 2)[1] is not None


def test_vectors_of_other_weights_or_tokens_answer_nothing(explored: Path, data: Path, tmp_path: Path) -> None:
    run = copied(explored, tmp_path)
    opened, checkpoint = known(run, data, 1)
    assert checkpoint is not None and checkpoint.over(opened, 1) is None  # the run kept those of the last alone
    assert checkpoint.over(opened, 2) is None
    assert checkpoint.over(opened, 1, lambda *what: run / "episode-2" / "vectors") is None
    config = (run / "config.yaml").read_text("utf-8")
    (run / "config.yaml").write_text(config.replace("passage_max_len: 16", "passage_max_len: 15"), "utf-8")
    opened, checkpoint = known(run, data, 2)
    assert checkpoint is not None and checkpoint.over(opened, 2) is None


def test_a_damaged_model_is_refused(explored: Path, data: Path, tmp_path: Path) -> None:
    run = copied(explored, tmp_path)
    path = run / "episode-2" / "model" / "model.safetensors"
    held = bytearray(path.read_bytes())
    held[-1] ^= 1
    path.write_bytes(held)
    with pytest.raises(UserError, match=r"model.safetensors is damaged"):
        search_run(run, "t1", data=data)


def test_an_explorer_of_both_kinds(explored: Path, data: Path, tmp_path: Path) -> None:
    """The initial model is not as it was, and left to loading; the last checkpoint answers all the same."""
    run = copied(explored, tmp_path)
    (tmp_path / "start" / "added.json").write_text("{}", "utf-8")
    opened = open_run(run, data)
    kept = Asker(opened, tmp_path / "cache", only_kept=True)
    assert [*kept.retrievers] == [2]
    every = Asker(opened, tmp_path / "cache")
    assert [*every.retrievers] == [2] and every.waiting == [0, 1]
    job = EncodeCheckpoints(str(run), str(data), str(tmp_path / "cache"))
    with encoding(job, every):
        awaited(lambda: len(every.retrievers) == 3)
    kinds = [type(one).__name__ for one in every.retrievers.values()]
    assert kinds == ["DenseRetriever", "KeptRetriever", "KeptRetriever"]
    again = Asker(opened, tmp_path / "cache")
    assert [*again.retrievers] == [1, 2] and again.waiting == [0]  # of which weights: its model has to be loaded
    with encoding(job, again):
        awaited(lambda: len(again.retrievers) == 3)
    for number in (0, 1, 2):
        before, after = (asker.ask(number, "t3 u18", 5) for asker in (every, again))
        assert [hit["id"] for hit in before] == [hit["id"] for hit in after]


# ---- example questions ---------------------------------------------------------------------------


def test_examples_are_queries_of_the_split(toy: Path) -> None:
    collection = load_collection(toy)
    texts = collection.queries.table["text"].take(collection.qrels["dev"].queries).to_pylist()
    found = examples(collection, "dev")
    assert len(found) == COUNT == len(set(found)) and set(found) <= set(texts)
    assert found == examples(collection, "dev") and found != texts[:COUNT]
    assert examples(collection, "nowhere") == []


def test_examples_pass_over_what_nobody_would_ask() -> None:
    texts = {"q1": "<b>bold</b>", "q2": "x" * 161, "q3": " <b>bold</b> ", "q4": "plain"}
    qrels = {"dev": {query: {"p1": 1} for query in texts}}
    collection = collection_from_dicts({"p1": "a", "p2": "b"}, texts, qrels)
    assert examples(collection, "dev") == ["<b>bold</b>", "plain"]
