"""Losses of a teacher against their formulas, computed by hand, and against sentence-transformers' own."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

from ance_tele.training.distillation import (
    adversarial_loss,
    list_kl,
    margin_mse,
    passage_loss,
)
from ance_tele.training.loss import distillation_loss
from ance_tele.training.teaching import TeachingConfig

LISTS = [[2, 0, 5], [1, 3], [4]]
"""The lists of three queries among six passages, the positive first; the last has no negative."""

TARGET = torch.tensor([2, 1, 4])


def scored(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the scores of a retriever, those of a teacher, and the lists."""
    rng = torch.Generator().manual_seed(seed)
    own = torch.zeros(3, 6, dtype=torch.bool)
    for query, passages in enumerate(LISTS):
        own[query, passages] = True
    return torch.randn(3, 6, generator=rng), 2 * torch.randn(3, 6, generator=rng), own


def softmax(values: list[float]) -> list[float]:
    total = sum(map(math.exp, values))
    return [math.exp(value) / total for value in values]


def in_lists(scores: torch.Tensor) -> list[list[float]]:
    return [[float(scores[query, passage]) for passage in passages] for query, passages in enumerate(LISTS)]


def kl_by_hand(ideal: torch.Tensor, actual: torch.Tensor) -> float:
    found = 0.0
    for one, other in zip(in_lists(ideal), in_lists(actual), strict=True):
        found += sum(p * math.log(p / q) for p, q in zip(softmax(one), softmax(other), strict=True))
    return found / len(LISTS)


@pytest.mark.parametrize("seed", range(3))
def test_kl_is_the_formula_in_both_directions(seed: int) -> None:
    """Fault of RocketQAv2's code: its "mean" also divides by the entries of a list."""
    scores, teacher, own = scored(seed)
    assert float(list_kl(teacher, scores, own)) == pytest.approx(kl_by_hand(teacher, scores), rel=1e-5)
    assert float(list_kl(scores, teacher, own)) == pytest.approx(kl_by_hand(scores, teacher), rel=1e-5)
    assert float(list_kl(scores, scores, own)) == 0


def test_kl_depends_on_neither_size_of_batch_nor_length_of_lists() -> None:
    """A batch twice over has the same loss, and so has one with passages that are in no list."""
    scores, teacher, own = scored()
    twice = [torch.cat([each, each]) for each in (teacher, scores, own)]
    wider = [F.pad(each, (0, 4)) for each in (teacher, scores, own)]
    found = float(list_kl(teacher, scores, own))
    assert float(list_kl(*twice)) == pytest.approx(found) == float(list_kl(*wider))


def test_kl_has_gradients_to_both_sides() -> None:
    """Fault of RocketQAv2's code: the target of its KL gets none, so that only the retriever learns."""
    scores, teacher, own = scored()
    for ideal, actual in ((teacher, scores), (scores, teacher)):
        both = ideal.clone().double().requires_grad_(), actual.clone().double().requires_grad_()
        assert torch.autograd.gradcheck(lambda one, other: list_kl(one, other, own), both)
        list_kl(*both, own).backward()
        for each in both:
            assert each.grad is not None and each.grad[0, LISTS[0]].abs().min() > 0
            assert each.grad[~own].abs().max() == 0 and torch.isfinite(each.grad).all()


def test_margins_by_hand() -> None:
    scores, teacher, own = scored()
    squares = []
    for ours, theirs in zip(in_lists(scores), in_lists(teacher), strict=True):
        squares += [((ours[0] - s) - (theirs[0] - t)) ** 2 for s, t in zip(ours[1:], theirs[1:], strict=True)]
    assert float(margin_mse(scores, teacher, own, TARGET)) == pytest.approx(sum(squares) / 3, rel=1e-5)
    assert float(margin_mse(scores[2:], teacher[2:], own[2:], TARGET[2:])) == 0  # no negative at all


def test_the_adversarial_term_by_hand() -> None:
    """Faults of AR2's code: summed over the batch, and the positive enters against itself, as the log of 1/2."""
    scores, teacher, own = scored()
    found = 0.0
    for ours, theirs in zip(in_lists(scores), in_lists(teacher), strict=True):
        for share, score in zip(softmax(ours[1:]), theirs[1:], strict=True):
            found += share * math.log(softmax([theirs[0], score])[0])
    assert float(adversarial_loss(scores, teacher, own, TARGET)) == pytest.approx(found / 3, rel=1e-5)
    twice = [torch.cat([each, each]) for each in (scores, teacher, own, TARGET)]
    assert float(adversarial_loss(*twice)) == pytest.approx(found / 3, rel=1e-5)
    both = scores.clone().requires_grad_(), teacher.clone().requires_grad_()
    adversarial_loss(*both, own, TARGET).backward()
    assert both[0].grad is not None and both[1].grad is None and torch.isfinite(both[0].grad).all()


def test_the_adversarial_term_never_lowers_the_positive() -> None:
    """Nor does a teacher that knows nothing move anything: a sum of r log p would push the positive below all."""
    own, target = torch.ones(1, 8, dtype=torch.bool), torch.tensor([0])
    for ahead in (0.0, 3.0):
        scores = torch.tensor([[ahead, *torch.linspace(-1, 1, 7).tolist()]], requires_grad=True)
        adversarial_loss(scores, torch.zeros(1, 8), own, target).backward()
        assert scores.grad is not None and scores.grad.abs().max() < 1e-6
        taught = scores.detach().clone().requires_grad_()
        adversarial_loss(taught, torch.randn(1, 8, generator=torch.Generator().manual_seed(1)), own, target).backward()
        assert taught.grad is not None and taught.grad[0, 0] == 0 and taught.grad.abs().max() > 1e-3


def test_the_adversarial_term_moves_towards_negatives_that_fool_the_teacher() -> None:
    own, target = torch.ones(1, 3, dtype=torch.bool), torch.tensor([0])
    teacher = torch.tensor([[2.0, 2.5, -4.0]])  # the second passage fools it
    scores = torch.zeros(1, 3, requires_grad=True)
    adversarial_loss(scores, teacher, own, target).backward()
    assert scores.grad is not None
    assert scores.grad[0, 1] < 0 < scores.grad[0, 2]  # a step raises the score of the one that fools it


def test_the_settings_name_the_losses() -> None:
    scores, teacher, own = scored()
    flat = torch.zeros(6)
    for passages in LISTS:
        flat[passages] = teacher[LISTS.index(passages), passages]

    def found(**settings: Any) -> float:
        return float(distillation_loss(scores, flat, own, TARGET, TeachingConfig(**settings)))

    kl, adversarial = list_kl(teacher / 2, scores, own), adversarial_loss(scores, teacher / 2, own, TARGET)
    assert found(distillation="kl", teacher_temperature=2.0) == pytest.approx(float(kl))
    mixed = found(distillation="kl", teacher_temperature=2.0, adversarial=0.3)
    assert mixed == pytest.approx(float(0.7 * kl + 0.3 * adversarial))
    assert found(distillation="margin_mse") == pytest.approx(float(margin_mse(scores, teacher, own, TARGET)))


# ---- sentence-transformers -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def vectors() -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
    """Vectors of five queries and, for each, of a positive and three negatives; scores of a teacher."""
    rng = torch.Generator().manual_seed(5)
    queries, columns = torch.randn(5, 4, generator=rng), [torch.randn(5, 4, generator=rng) for _ in range(4)]
    return queries, columns, torch.randn(5, 4, generator=rng)


def flattened(vectors: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return scores of all passages, the teacher's of the lists, the lists, the positives: as of a flat batch."""
    queries, columns, labels = vectors
    passages = torch.stack(columns, dim=1).reshape(-1, 4)
    own = torch.repeat_interleave(torch.eye(5), 4, dim=1).bool()
    return queries @ passages.T, labels.reshape(-1), own, torch.arange(5) * 4


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_kl_is_that_of_sentence_transformers(vectors: Any, temperature: float) -> None:
    from sentence_transformers.util import pairwise_dot_score

    theirs = DistillKLDivLoss(SentenceTransformer(modules=[Normalize()], device="cpu"), pairwise_dot_score, temperature)
    queries, columns, labels = vectors
    expected = float(theirs.compute_loss_from_embeddings([queries, *columns], labels))
    scores, flat, own, target = flattened(vectors)
    config = TeachingConfig(distillation="kl", teacher_temperature=temperature)
    found = float(distillation_loss(scores / temperature, flat, own, target, config))
    assert found * temperature**2 == pytest.approx(expected, rel=1e-5)


def test_margins_are_those_of_sentence_transformers(vectors: Any) -> None:
    from sentence_transformers.util import pairwise_dot_score

    theirs = MarginMSELoss(SentenceTransformer(modules=[Normalize()], device="cpu"), pairwise_dot_score)
    queries, columns, labels = vectors
    expected = float(theirs.compute_loss_from_embeddings([queries, *columns], labels))
    scores, flat, own, target = flattened(vectors)
    config = TeachingConfig(distillation="margin_mse")
    assert float(distillation_loss(scores, flat, own, target, config)) == pytest.approx(expected, rel=1e-5)


# ---- PAIR ----------------------------------------------------------------------------------------


def test_the_passage_centric_loss_by_hand() -> None:
    """s(p+, q) against s(p+, d) of the query's own negatives and the other queries' negatives."""
    rng = torch.Generator().manual_seed(2)
    queries, passages = torch.randn(2, 3, generator=rng), torch.randn(5, 3, generator=rng)
    target, negatives = torch.tensor([1, 3]), [0, 2, 4]
    excluded = torch.tensor([[False, True, False, True, False]] * 2)
    to_query = torch.stack([queries[0] @ passages[1], queries[1] @ passages[3]]) / 0.5
    found = 0.0
    for query, positive in enumerate(target.tolist()):
        own = float(to_query[query])
        others = [float(passages[positive] @ passages[d]) / 0.5 for d in negatives]
        found -= own - math.log(sum(map(math.exp, [own, *others])))
    ours = passage_loss(passages, to_query, target, excluded, temperature=0.5)
    assert float(ours) == pytest.approx(found / 2, rel=1e-5)
