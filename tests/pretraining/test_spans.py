"""What of a passage is read: a window drawn once, or two spans that do not overlap."""

import numpy as np
import pytest
from pretraining_texts import plain_batches

from ance_tele.pretraining.batches import IGNORED


@pytest.mark.parametrize("objective", ["mlm", "cocondenser"])
def test_what_is_to_be_predicted_is_what_stood_there(objective: str) -> None:
    """Long texts are cut once: masks and tokens are of the same window (Condenser's own code cuts twice)."""
    batches = plain_batches([400, 90, 250, 33], objective=objective, max_tokens=32)
    windows = set()
    for epoch in range(6):
        feature = batches.collate(np.arange(4), epoch)
        assert feature["input_ids"].shape[1] <= 32 and max(feature["lengths"]) <= 32
        chosen = feature["labels"] != IGNORED
        assert (feature["labels"][chosen] == feature["original"][chosen]).all()
        seen = [set(), set(), set(), set()]
        for text, length in zip(feature["original"].numpy(), feature["lengths"], strict=True):
            assert text[0] == 2 and text[length - 1] == 3 and not text[length:].any()
            body = text[1 : length - 1].tolist()
            homes = [row for row in range(4) if _starts(batches.passages.store[row].tolist(), body)]
            assert homes, "a window is a run of tokens of its passage"
            seen[homes[0]].add(tuple(body))
            windows.add(tuple(body))
    assert len(windows) > 12, "other windows in other epochs"


def _starts(whole: list[int], part: list[int]) -> bool:
    return any(whole[place : place + len(part)] == part for place in range(len(whole) - len(part) + 1))


def test_two_spans_of_a_passage_are_partners_and_do_not_overlap() -> None:
    lengths = [16, 17, 40, 200, 64, 15, 3]
    batches = plain_batches(lengths, objective="cocondenser", max_tokens=64)
    assert batches.rows.tolist() == [0, 1, 2, 3, 4], "too short for two spans of eight"
    for epoch in range(20):
        found = batches.windows(batches.rows, epoch)
        starts, stops = found.starts.reshape(-1, 2), (found.starts + found.sizes).reshape(-1, 2)
        assert found.rows.reshape(-1, 2).tolist() == [[row, row] for row in range(5)]
        assert (stops[:, 0] <= starts[:, 1]).all() and (found.starts >= 0).all()
        assert (found.sizes >= 8).all() and (found.sizes <= 62).all()
        assert (stops[:, 1] <= np.array(lengths)[:5]).all()
        feature = batches.collate(batches.rows, epoch)
        partner, order = feature["partner"].numpy(), np.argsort(-found.sizes, kind="stable")
        assert (partner[partner] == np.arange(10)).all() and (partner != np.arange(10)).all()
        assert (found.rows[order][partner] == found.rows[order]).all()


def test_every_passage_once_an_epoch_in_another_order() -> None:
    batches = plain_batches([20] * 10, objective="mlm", batch_passages=4)
    assert batches.steps_per_epoch == 3
    orders = [batches.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(one) == list(range(10)) for one in orders) and len(set(map(tuple, orders))) == 3
    assert [len(batches(step)["lengths"]) for step in range(4)] == [4, 4, 2, 4]


def test_batches_are_padded_little() -> None:
    """Longest first: what a forward pass of at most so many tokens takes needs little padding."""
    from ance_tele.encode.encoder import chunks

    rng = np.random.default_rng(0)
    batches = plain_batches(rng.integers(10, 120, 512).tolist(), objective="mlm", batch_passages=512)
    lengths = batches(0)["lengths"]
    padded = sum(max(lengths[part]) * len(lengths[part]) for part in chunks(lengths, 1024))
    assert padded / sum(lengths) < 1.05
