"""Ray: the same results as in process, whatever is lost on the way. Several minutes on two cores."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ance_tele.console.errors import UserError
from ance_tele.encode.vectors import Vectors
from ance_tele.engine.executor import IN_PROCESS, Done, Executor
from ance_tele.engine.work import Job, Unit, describe
from ance_tele.search import grid
from ance_tele.search.topk import exact_topk

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow

from ray.cluster_utils import Cluster  # noqa: E402

from ance_tele.engine import ray_cluster, ray_connect  # noqa: E402
from ance_tele.engine.ray_cluster import RayCluster  # noqa: E402


class Disturbed:
    """An executor in which something happens once so many units are done, while others still run."""

    ranks = 1

    def __init__(self, inner: Executor, after: int, act: Callable[[], object], workers: int = 8) -> None:
        self.inner, self.after, self.act, self.workers = inner, after, act, workers
        self.finished: list[Unit] = []

    def run(self, job: Job, units: Sequence[Unit], done: Done = lambda unit, facts: None) -> None:
        def noted(unit: Unit, facts: Any) -> None:
            assert set(facts) == {"seconds"}, "nothing else passes through Ray"
            self.finished.append(unit)
            if len(self.finished) == self.after:
                self.act()
            done(unit, facts)

        assert len(describe(job)) < 3000, "names of files, and no vectors"
        self.inner.run(job, units, noted)
        assert sorted(self.finished) == sorted(units)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of two nodes with a core each, besides the one of the driver, which has none."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def both(nodes: Cluster) -> Iterator[RayCluster]:
    executor = RayCluster(nodes.address)
    assert executor.workers == 2
    yield executor
    executor.end()


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vectors:
    monkeypatch.setattr(grid, "FEW_SCORES", 0)
    rng = np.random.default_rng(3)
    for number in range(4):
        np.save(tmp_path / f"passages-{number}.npy", rng.standard_normal((5000, 64)).astype(np.float32))
    return Vectors(tuple(np.load(tmp_path / f"passages-{n}.npy", mmap_mode="r") for n in range(4)), "key")


def actors(state: bytes = b"ray::Unitary") -> list[int]:
    """Return the processes of actors that were started by this test session and are in a state."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = os.environ["ANCE_TELE_CACHE"].encode() in (process / "environ").read_bytes()
            if ours and (process / "cmdline").read_bytes().startswith(state):
                found.append(int(process.name))
        except OSError:
            continue
    return found


def kill_one(state: bytes = b"ray::Unitary.do") -> None:
    """Kill an actor that is at work."""
    while not (busy := actors(state)):
        time.sleep(0.01)
    os.kill(busy[0], signal.SIGKILL)


def searched(vectors: Vectors, executor: Executor, folder: Path) -> None:
    """Search wherever the executor does; the lists must be those of this process."""
    asked, rank = np.random.default_rng(4).standard_normal((300, 64)).astype(np.float32), np.arange(len(vectors))
    found = grid.grid_topk(asked, vectors, 40, rank, "cpu", "searching", executor, folder)
    alone = exact_topk(asked, vectors, 40, id_rank=rank)
    assert (found.rows == alone.rows).all()
    np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-6)


def test_a_node_lost_in_the_middle_of_a_search_and_another_that_comes(
    nodes: Cluster, both: RayCluster, on_disk: Vectors, tmp_path: Path, logged: list[str]
) -> None:
    gone = Disturbed(both, 3, lambda: nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False))
    searched(on_disk, gone, tmp_path)
    assert len(gone.finished) == 8
    nodes.add_node(num_cpus=1)
    while both._places() != 2:  # Ray takes some 20 s to believe that a node is gone
        time.sleep(0.2)
    came = Disturbed(both, 1, lambda: None)
    searched(on_disk, came, tmp_path)
    assert both.workers == 2
    assert [line for line in logged if "Ray has lost an actor" in line]


def test_an_actor_killed_in_the_middle_of_a_search(
    both: RayCluster, on_disk: Vectors, tmp_path: Path, logged: list[str]
) -> None:
    searched(on_disk, Disturbed(both, 2, kill_one), tmp_path)
    assert [line for line in logged if "Ray has lost an actor" in line]


@pytest.fixture
def encoding(toy: Path, tiny_model: Path, tmp_path: Path) -> Callable[[Path, Executor], np.ndarray]:
    """Encodes the toy collection into 15 shards."""
    from ance_tele.data.load import load_collection
    from ance_tele.encode.config import EncoderConfig
    from ance_tele.encode.corpus import encode_corpus
    from ance_tele.encode.encoder import tokens_of, weights_fingerprint
    from ance_tele.encode.loading import load_model

    config = EncoderConfig(query_max_len=16, passage_max_len=16, shard_passages=10, precision="float32")
    model, collection = load_model(tiny_model, config, "cpu"), load_collection(toy)
    tokens = tokens_of(model, config, "document", collection.corpus, tmp_path / "cache", collection.texts)
    what = "document", config

    def encode(folder: Path, executor: Executor) -> np.ndarray:
        weights = weights_fingerprint(model)
        found = encode_corpus(model, tokens, *what, folder, weights, name=tiny_model, executor=executor)
        return np.concatenate(found.shards)

    return encode


def test_a_node_lost_in_the_middle_of_encoding(
    nodes: Cluster, both: RayCluster, encoding: Callable[..., np.ndarray], tmp_path: Path, logged: list[str]
) -> None:
    gone = Disturbed(both, 4, lambda: nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False))
    found = encoding(tmp_path / "ray", gone)
    np.testing.assert_array_equal(found, encoding(tmp_path / "alone", IN_PROCESS))
    assert len(gone.finished) == 15
    assert [line for line in logged if "Ray has lost an actor" in line]


def test_more_actors_than_places(nodes: Cluster, on_disk: Vectors, tmp_path: Path) -> None:
    executor = RayCluster(nodes.address, actors=5)
    searched(on_disk, Disturbed(executor, 1, lambda: None), tmp_path)
    executor.end()


def test_no_place_at_all_ends_in_a_sentence(
    nodes: Cluster, on_disk: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    for node in list(nodes.worker_nodes):
        nodes.remove_node(node)
    monkeypatch.setattr(ray_cluster, "QUIET", 1.0)
    monkeypatch.setattr(ray_cluster, "PATIENCE", 2.0)
    executor = RayCluster(nodes.address, actors=2)
    with pytest.raises(UserError, match="no place for an actor: 0 cores in the cluster, none of them free for 2 s"):
        searched(on_disk, executor, tmp_path)
    executor.end()
    assert [line for line in logged if line.endswith("waiting")]


class Broken:
    """An actor that cannot start."""

    def __init__(self) -> None:
        raise ImportError("no such module here")


def test_an_actor_that_cannot_start_ends_in_a_sentence(
    both: RayCluster, on_disk: Vectors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Broken, "ready", ray_cluster.Unitary.ready, raising=False)
    monkeypatch.setattr(ray_cluster, "Unitary", Broken)
    with pytest.raises(UserError, match=r"Ray cannot start an actor \(ImportError: no such module here\)"):
        searched(on_disk, both, tmp_path)


def test_signals_are_handled_as_before(nodes: Cluster) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        executor = RayCluster(nodes.address)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        executor.end()
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nonsense"])
def test_an_address_where_nothing_answers(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where, start = address.format(port=free.getsockname()[1]), time.monotonic()
        with pytest.raises(UserError, match=f"^No Ray cluster answers at {where} \\(.*\\)\\.$"):
            ray_connect.connect(where)
    assert time.monotonic() - start < 20
