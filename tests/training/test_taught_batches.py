"""How a teacher's scores reach the loss: with the flat batch, through plans on disk, for every rank."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_batches import PlainForward, plan_of

from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import Forward
from ance_tele.encode.loading import load_model
from ance_tele.mining.teacher_scores import TeacherScores
from ance_tele.training.batches import BatchPlan, Collator
from ance_tele.training.distillation import list_kl, passage_loss
from ance_tele.training.loss import TeleportationLoss, known_positives, positive_loss, scaled_scores
from ance_tele.training.ranks import read_plan, write_plan
from ance_tele.training.teaching import TeachingConfig


def taught_plan(sizes: list[int], **given: Any) -> BatchPlan:
    """Return a plan with scores that tell query and passage: row of the passage and a thousandth of the position."""
    plan = plan_of(sizes, **given)
    scored = TeacherScores.unscored(plan.positives.queries, plan.positives, plan.pool)
    scored.scores[:] = scored.passages + scored.positions / 1000
    return replace(plan, teacher=scored)


@pytest.fixture(scope="module")
def stores() -> tuple[TokenStore, TokenStore]:
    rng = np.random.default_rng(0)
    queries, passages = (
        [[2, *rng.integers(5, 90, rng.integers(2, 9)).tolist(), 3] for _ in range(count)] for count in (40, 1100)
    )
    return TokenStore.from_lists(queries), TokenStore.from_lists(passages)


@pytest.mark.parametrize("ranks", [1, 2])
def test_each_passage_has_the_score_with_the_query_it_was_drawn_for(
    ranks: int, stores: tuple[TokenStore, TokenStore]
) -> None:
    plan = taught_plan([6, 2, 0, 9, 4], batch=3)
    for rank in range(ranks):
        collate = Collator(plan, *stores, PlainForward(), PlainForward(), rank, ranks)  # type: ignore[arg-type]
        for step in range(4):
            query, passage = collate(step)
            _, examples = plan.step(step)
            positions = examples[passage["query"].numpy()]
            assert np.allclose(passage["teacher"], passage["row"].numpy() + positions / 1000, atol=1e-3)
            assert len(passage["teacher"]) == len(passage["row"])
            assert (passage["row"][query["target"]].numpy() == examples * 100).all()


def test_a_plan_on_disk_keeps_the_scores(tmp_path: Path) -> None:
    plan = taught_plan([3, 2])
    write_plan(tmp_path / "plan.npz", plan)
    again = read_plan(tmp_path / "plan.npz")
    assert again.teacher is not None and plan.teacher is not None
    assert all(
        np.array_equal(getattr(plan.teacher, name), getattr(again.teacher, name)) for name in vars(again.teacher)
    )
    write_plan(tmp_path / "plain.npz", plan_of([3, 2]))
    assert read_plan(tmp_path / "plain.npz").teacher is None


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("in_batch", [False, True])
def test_the_loss_is_the_mixture(
    cached: bool, in_batch: bool, tiny_model: Path, stores: tuple[TokenStore, TokenStore]
) -> None:
    """Contrastive and passage-centric loss, and KL to the teacher, by their shares; also through gradient caching."""
    model = load_model(tiny_model, EncoderConfig(query_max_len=16, passage_max_len=16), "cpu").eval()
    forwards = Forward(model, "query"), Forward(model, "document")
    query, passage = Collator(taught_plan([6, 2, 0, 9, 4]), *stores, *forwards)(1)
    passage["teacher"] = passage["teacher"] / 100
    teaching = TeachingConfig(distillation="kl", distillation_weight=0.3, teacher_temperature=2.0)

    def loss_of(**given: Any) -> TeleportationLoss:
        return TeleportationLoss(
            model, *forwards, 0.5, in_batch_negatives=in_batch, chunk_tokens=40, grad_cache=cached, **given
        )

    queries = loss_of().encode(query, forwards[0], False)
    passages = loss_of().encode(passage, forwards[1], False)[passage["place"]]
    scores = scaled_scores(queries, passages, 0.5)
    own = passage["query"][None] == torch.arange(len(queries))[:, None]
    excluded = known_positives(passage["row"], query["positives"]) | (own & False if in_batch else ~own)
    contrastive = positive_loss(scores, query["target"], excluded)
    kl = list_kl((passage["teacher"] / 2).expand_as(scores), scores, own)
    positives = torch.isin(passage["row"], passage["row"][query["target"]])
    to_query = scores[torch.arange(len(queries)), query["target"]]
    between = passage_loss(passages, to_query, query["target"], excluded | positives[None], 0.5)

    assert torch.allclose(loss_of()(query, passage), contrastive)
    assert torch.allclose(loss_of(teaching=TeachingConfig())(query, passage), contrastive)
    assert torch.allclose(loss_of(teaching=teaching)(query, passage), 0.7 * contrastive + 0.3 * kl)
    assert torch.allclose(loss_of(passage_share=0.1)(query, passage), 0.9 * contrastive + 0.1 * between)
    both = loss_of(passage_share=0.1, teaching=teaching)
    expected = 0.7 * (0.9 * contrastive + 0.1 * between) + 0.3 * kl
    names = [name for name, one in model.named_parameters() if one.requires_grad]
    wanted = torch.autograd.grad(expected, [dict(model.named_parameters())[name] for name in names], allow_unused=True)
    model.zero_grad()
    found = both(query, passage)
    found.backward()
    assert torch.allclose(found, expected)
    for name, gradient in zip(names, wanted, strict=True):
        ours = dict(model.named_parameters())[name].grad
        assert (gradient is None) == (ours is None) and (gradient is None or torch.allclose(gradient, ours, atol=1e-5))
    model.zero_grad()
