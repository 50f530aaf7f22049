"""All cores at work: nothing is left out or done twice, errors end it soon, and vectors are those of one thread."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from pytest import MonkeyPatch

from ance_tele.data.tokens import TokenStore
from ance_tele.encode import threads
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import load_model
from ance_tele.encode.threads import side_by_side, workers


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_each_item_is_taken_once_and_threads_are_set_back(count: int) -> None:
    taken: list[tuple[int, int, int]] = []

    def work(items: Iterator[int]) -> None:
        for item in items:
            taken.append((item, threading.get_ident(), torch.get_num_threads()))
            time.sleep(0.001)

    side_by_side(work, range(count))
    assert sorted(item for item, _, _ in taken) == list(range(count))
    if count == 50:
        assert len({thread for _, thread, _ in taken}) == 3
        assert {computing for _, _, computing in taken} == {1}
    assert torch.get_num_threads() == 3


def test_the_first_error_ends_the_others_soon() -> None:
    taken = []

    def work(items: Iterator[int]) -> None:
        for item in items:
            taken.append(item)
            time.sleep(0.005)
            if item == 4:
                raise ValueError("the fifth")

    with pytest.raises(ValueError, match="the fifth"):
        side_by_side(work, range(1000))
    assert len(taken) < 50
    assert torch.get_num_threads() == 3


def test_with_more_cores_than_threads_each_gets_its_share(monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "THREADS", 1)
    with workers() as (pool, count):
        assert (count, pool.submit(torch.get_num_threads).result()) == (1, 3)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_vectors_are_those_of_one_thread(precision: Literal["float32", "bf16"], tiny_model: Path) -> None:
    rng = np.random.default_rng(0)
    tokens = TokenStore.from_lists([rng.integers(5, 90, length).tolist() for length in rng.integers(3, 90, 800)])
    config = EncoderConfig(precision=precision)
    model, rows, done = load_model(tiny_model, config, "cpu"), rng.permutation(800)[:600], list[float]()
    found = encode_texts(model, tokens, rows, "document", config, done.append)
    torch.set_num_threads(1)
    alone = encode_texts(model, tokens, rows, "document", config)
    assert np.abs(found - alone).max() < (1e-6 if precision == "float32" else 1e-2)
    assert sum(done) == 600
