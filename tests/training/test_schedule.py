"""Steps and learning rates of the episodes: as the paper's tables have them, and as the trainer applies them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_batches import plan_of

from ance_tele.cli.main import main
from ance_tele.data.load import load_collection
from ance_tele.recipes import at_scale, recipe
from ance_tele.settings import Recipe
from ance_tele.training.schedule import Schedule

pytestmark = pytest.mark.usefixtures("undrawn")

MARCO, NQ, TRIVIAQA = 502_939, 58_812, 60_413
"""Training queries (Table 4; for NQ and TriviaQA those with a positive)."""


def schedules(made: Recipe, queries: int) -> list[Schedule]:
    return [made.schedule(episode, queries) for episode in range(1, made.episode.episodes + 1)]


def small(**settings: Any) -> Recipe:
    """Return a recipe whose epochs make 10 steps of 8 of 80 queries: 30 in all, refreshed at 3, warmed up over 3."""
    return recipe("ance-tele").with_settings(learning_rate=1.0, **settings)


# ---- as the paper has them -------------------------------------------------------------------------------


def test_marco_by_table_5() -> None:
    """62,868 steps an epoch, 188,604 in three; refreshed at 20,000, warmed up over a tenth."""
    made = at_scale(recipe("ance-tele"), "marco")
    whole, peak = 3 * 62_868, 5e-6
    assert schedules(made, MARCO) == [
        Schedule(20_000, whole, 18_861, peak),
        Schedule(20_000, whole, 18_861, peak),
        Schedule(whole, whole, 18_861, peak),
    ]
    assert math.ceil(0.1 * whole) == 18_861 > 0.1 * whole, "rounded up"


@pytest.mark.parametrize(("benchmark", "queries"), [("nq", NQ), ("triviaqa", TRIVIAQA)])
def test_openqa_by_table_5(benchmark: str, queries: int) -> None:
    whole = math.ceil(queries / 128) * 40
    made = at_scale(recipe("ance-tele"), benchmark)
    assert [one.steps for one in schedules(made, queries)] == [2000, 2000, whole]
    assert {(one.total, one.peak, one.begin, one.first_step) for one in schedules(made, queries)} == {
        (whole, 5e-6, 0, 0)
    }


def test_ance_at_marco_scale_by_table_7() -> None:
    """All of the BM25 episode; then refreshes of 10,000 steps under one schedule: 5,000 steps of warm-up to 1e-6."""
    first, second, third = schedules(at_scale(recipe("ance"), "marco"), MARCO)
    whole = 3 * 62_868
    assert (first.steps, first.total, first.peak, first.begin, first.first_step) == (whole, whole, 5e-6, 0, 0)
    assert (second.steps, second.total, second.warmup, second.begin) == (10_000, 20_000, 5_000, 0)
    assert (third.steps, third.total, third.warmup, third.begin) == (10_000, 20_000, 5_000, 10_000)
    assert second.peak == third.peak == pytest.approx(1e-6)
    assert (second.first_step, third.first_step) == (whole, whole + 10_000)


def test_ance_with_cyclical_rates_at_marco_scale() -> None:
    """The same steps, but each refresh warms up again and decays to nothing."""
    first, second, third = schedules(at_scale(recipe("ance+cyclic-lr"), "marco"), MARCO)
    assert first == at_scale(recipe("ance"), "marco").schedule(1, MARCO)
    assert (second.steps, second.total, second.warmup, second.begin) == (10_000, 10_000, 5_000, 0)
    assert (third.steps, third.total, third.warmup, third.begin) == (10_000, 10_000, 5_000, 0)
    assert third.first_step == second.first_step + 10_000


# ---- setting by setting ----------------------------------------------------------------------------------


def test_scratch_begins_each_time_at_the_first_step() -> None:
    assert schedules(small(), 80) == [Schedule(3, 30, 3, 1.0), Schedule(3, 30, 3, 1.0), Schedule(30, 30, 3, 1.0)]


def test_the_first_episode_may_be_the_long_one() -> None:
    assert [one.steps for one in schedules(small(long_episode="first"), 80)] == [30, 3, 3]


def test_a_single_episode_is_long() -> None:
    for which in ("first", "last"):
        assert schedules(small(episodes=1, long_episode=which), 80) == [Schedule(30, 30, 3, 1.0)]


def test_who_goes_on_takes_the_next_batches_and_warms_up_again() -> None:
    assert schedules(small(restart="continue"), 80) == [
        Schedule(3, 30, 3, 1.0),
        Schedule(3, 30, 3, 1.0, 0, 3),
        Schedule(30, 30, 3, 1.0, 0, 6),
    ]


def test_one_schedule_for_the_whole_run() -> None:
    """3 + 3 + 30 steps, warmed up over a tenth of these."""
    assert schedules(small(restart="continue", rate_schedule="run"), 80) == [
        Schedule(3, 36, 4, 1.0),
        Schedule(3, 36, 4, 1.0, 3, 3),
        Schedule(30, 36, 4, 1.0, 6, 6),
    ]


def test_a_long_first_episode_is_a_training_of_its_own() -> None:
    """ANCE: what follows it shares a schedule, or each episode has one over its own steps."""
    shared = schedules(small(restart="continue", long_episode="first", rate_schedule="run", episodes=4), 80)
    assert shared == [
        Schedule(30, 30, 3, 1.0),
        Schedule(3, 9, 1, 1.0, 0, 30),
        Schedule(3, 9, 1, 1.0, 3, 33),
        Schedule(3, 9, 1, 1.0, 6, 36),
    ]
    again = schedules(small(restart="continue", long_episode="first", rate_schedule="episode", episodes=3), 80)
    assert again == [Schedule(30, 30, 3, 1.0), Schedule(3, 3, 1, 1.0, 0, 30), Schedule(3, 3, 1, 1.0, 0, 33)]


def test_refresh_in_steps_wins_over_the_share() -> None:
    assert [one.steps for one in schedules(small(refresh_step=7, refresh_fraction=0.9), 80)] == [7, 7, 30]
    assert [one.steps for one in schedules(small(refresh_fraction=0.55), 80)] == [16, 16, 30]
    assert [one.steps for one in schedules(small(refresh_step=31), 80)] == [30, 30, 30], "no more than there are"
    assert [one.steps for one in schedules(small(refresh_fraction=0.0), 80)] == [1, 1, 30], "no less than one"


def test_warm_up_in_steps_wins_over_the_ratio() -> None:
    assert {one.warmup for one in schedules(small(warmup_steps=5, warmup_ratio=0.9), 80)} == {5}
    assert {one.warmup for one in schedules(small(warmup_steps=0), 80)} == {0}
    assert {one.warmup for one in schedules(small(warmup_steps=99), 80)} == {30}, "no more than the schedule"
    assert {one.warmup for one in schedules(small(warmup_ratio=0.11), 80)} == {4}, "rounded up"


def test_the_later_rate_is_for_episodes_that_go_on() -> None:
    assert [one.peak for one in schedules(small(restart="continue", later_rate=0.2), 80)] == [1.0, 0.2, 0.2]
    assert [one.peak for one in schedules(small(restart="scratch", later_rate=0.2), 80)] == [1.0, 1.0, 1.0]


def test_a_batch_that_is_not_full_is_a_step() -> None:
    assert [small().schedule(3, queries).steps for queries in (1, 8, 9, 79, 80, 81)] == [3, 3, 6, 30, 30, 33]


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 500),
    st.integers(1, 6),
    st.sampled_from(["scratch", "continue"]),
    st.sampled_from(["last", "first"]),
    st.sampled_from(["episode", "run"]),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_whatever_the_settings(
    queries: int, episodes: int, restart: str, long: str, rates: str, fraction: float, warmup: float
) -> None:
    """No episode leaves its schedule; those that go on take each batch once; a shared schedule has no hole."""
    made = small(
        episodes=episodes,
        restart=restart,
        long_episode=long,
        rate_schedule=rates,
        refresh_fraction=fraction,
        warmup_ratio=warmup,
    )
    found = schedules(made, queries)
    whole = -(-queries // 8) * 3
    assert found[-1 if long == "last" else 0].steps == whole
    for one in found:
        assert one.steps >= 1 and one.begin + one.steps <= one.total and 0 <= one.warmup <= one.total
    taken = np.cumsum([0, *(one.steps for one in found[:-1])])
    assert [one.first_step for one in found] == (taken.tolist() if restart == "continue" else [0] * episodes)
    if restart == "continue" and rates == "run":
        shared = found if long == "last" else found[1:]
        assert [one.begin for one in shared] == np.cumsum([0, *(one.steps for one in shared)])[:-1].tolist()
        assert {one.total for one in shared} <= {sum(one.steps for one in shared)}


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.floats(0, 1))
def test_the_rate_is_that_of_transformers_but_for_the_first_step(total: int, ratio: float) -> None:
    import torch
    from transformers import get_linear_schedule_with_warmup

    warmup = math.ceil(ratio * total)
    made = Schedule(total, total, warmup, 1.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(optimizer, warmup, total).lr_lambdas[0]
    assert [made.share(step) for step in range(1, total + 1)] == [theirs(step) for step in range(1, total + 1)]
    assert made.share(0) == (0.5 / warmup if warmup else 1.0)
    assert all(made.share(step) > 0 for step in range(total)), "no step is taken in vain"


# ---- as the trainer applies them -------------------------------------------------------------------------

SMALL = {
    "query_max_len": 16, "passage_max_len": 16, "depth": 10, "pool_per_source": 4, "negatives_per_query": 2,
    "epochs": 1, "refresh_step": 4, "warmup_steps": 2, "learning_rate": "1e-3", "logging_steps": 1,
    "precision": "float32", "train_precision": "float32", "report_to": "[none]",
}  # fmt: skip
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "ance": ("ance", {}),
    "ance+cyclic-lr": ("ance+cyclic-lr", {}),
    "one schedule": ("q-neg", {"restart": "continue", "rate_schedule": "run", "later_rate": 0.5}),
}


@pytest.fixture(scope="module", params=RUNS)
def trained(
    request: pytest.FixtureRequest, toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A run of three episodes: its recipe, its learning rates by episode, and its batches as they were taken."""
    from ance_tele.training.batches import Collator

    name, settings = RUNS[request.param]
    out = tmp_path_factory.mktemp("runs") / "run"
    flags = [f"--{key}={value}" for key, value in {**SMALL, **settings}.items()]
    batches: list[int] = []
    whole = Collator.__call__

    def noting(self: Collator, step: int) -> Any:
        batches.append(step)
        return whole(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Collator, "__call__", noting)
        assert main(["run", name, f"--data={toy}", f"--model={tiny_model}", f"--out={out}", *flags]) == 0
    logs = [json.loads((out / f"episode-{number}" / "training_log.json").read_text()) for number in (1, 2, 3)]
    rates = [[rate for _, rate in log["learning_rate"]] for log in logs]
    return request.param, rates, batches, len(load_collection(toy).split("train"))


def line(steps: int, total: int, warmup: int, peak: float) -> list[float]:
    """Return the rates of the first steps of a linear schedule; the very first has half that of the second."""
    return [peak * min(max(step, 0.5) / warmup, (total - step) / (total - warmup)) for step in range(steps)]


def test_learning_rates_are_those_of_the_schedule(trained: Any) -> None:
    """72 queries in steps of 8: 9 of the long episode, 4 of each other one."""
    name, rates, _, _ = trained
    expected = {
        # Episodes 2 and 3 are one line of 8 steps, warmed up once, in the middle of which the third begins.
        "ance": [line(9, 9, 2, 1e-3), line(8, 8, 2, 2e-4)[:4], line(8, 8, 2, 2e-4)[4:]],
        "ance+cyclic-lr": [line(9, 9, 2, 1e-3), line(4, 4, 2, 2e-4), line(4, 4, 2, 2e-4)],
        "one schedule": [line(17, 17, 2, 1e-3)[:4], line(17, 17, 2, 5e-4)[4:8], line(17, 17, 2, 5e-4)[8:]],
    }[name]
    assert [len(one) for one in rates] == [len(one) for one in expected]
    for episode, (found, wanted) in enumerate(zip(rates, expected, strict=True), 1):
        assert np.allclose(found, wanted, rtol=1e-6, atol=1e-12), f"episode {episode}: {found}"
    if name == "ance":
        assert rates[2][0] < max(rates[1]) and all(np.diff(rates[2]) < 0), "warmed up once"


def test_batches_of_an_episode_that_goes_on_are_the_next_ones(trained: Any) -> None:
    """17 steps of 72 queries in steps of 8: the first epoch whole, then the second, in an order of its own."""
    _, _, batches, queries = trained
    assert batches == list(range(17)), "each once, also where the next is made ahead"
    plan = plan_of([6] * queries, batch=8)
    taken = [plan.step(step) for step in batches]
    flat = [epoch * queries + example for epoch, examples in taken for example in examples.tolist()]
    assert sorted(flat[:queries]) == list(range(queries)), "every query once"
    assert len(set(flat)) == len(flat) and {example // queries for example in flat[queries:]} == {1}
    assert [example - queries for example in flat[queries:]] != flat[: len(flat) - queries]
