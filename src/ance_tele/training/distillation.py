"""Losses of a retriever that learns from a teacher, as functions of their scores.

A query's list is the passages that were drawn for it, its positive among them. Scores are matrices of queries and all
passages of a batch; ``own``, bool [b, p], is True where a passage is of the query's list. Everything is a mean over
queries, so that no weight depends on the size of a batch.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def list_log_softmax(scores: Tensor, own: Tensor) -> Tensor:
    """Return the log-probabilities of each query's list, [b, p]; 0 outside of it, where nothing is ever added.

    Example:
        >>> list_log_softmax(torch.zeros(1, 3), torch.tensor([[True, True, False]])).exp().tolist()
        [[0.5, 0.5, 1.0]]
    """
    return F.log_softmax(scores.masked_fill(~own, -torch.inf), dim=1).masked_fill(~own, 0.0)


def list_kl(ideal: Tensor, actual: Tensor, own: Tensor) -> Tensor:
    """Return KL(ideal || actual) of two scorers' lists, a mean over queries; gradients flow to both.

    Divided by queries alone: a mean over entries would weigh it by one over the length of a list.

    Args:
        ideal: Scores, [b, p].
        actual: Scores, [b, p].
        own: The lists, bool [b, p].

    Example:
        >>> one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> round(float(list_kl(one, other, torch.ones(1, 2, dtype=torch.bool))), 4)
        0.1109
    """
    first, second = list_log_softmax(ideal, own), list_log_softmax(actual, own)
    return ((first.exp() * (first - second)).masked_fill(~own, 0.0)).sum(1).mean()


def margin_mse(scores: Tensor, teacher: Tensor, own: Tensor, target: Tensor) -> Tensor:
    """Return the squared difference of the margins between positive and negative, a mean over all pairs of these.

    The margin of sentence-transformers' MarginMSELoss; 0 where no query has a negative.

    Args:
        scores: The retriever's, [b, p].
        teacher: The teacher's, [b, p].
        own: The lists, bool [b, p].
        target: Index of each query's positive, int64 [b].
    """
    negatives = _negatives(own, target)
    apart = (_at(scores, target)[:, None] - scores) - (_at(teacher, target)[:, None] - teacher)
    return apart.masked_fill(~negatives, 0.0).square().sum() / negatives.sum().clamp(min=1)


def adversarial_loss(scores: Tensor, teacher: Tensor, own: Tensor, target: Tensor) -> Tensor:
    """Return AR2's adversarial term for the retriever (Zhang et al. 2022): the mean of r_d over its negatives d.

    r_d is the log-probability that the teacher prefers the positive to d, and d is drawn by the retriever's softmax
    over the negatives of the list; the mean is exact. A step raises the negatives that the teacher takes for relevant,
    at the cost of the other negatives: the positive has no part in it, and a teacher that finds all alike changes
    nothing.
    0 for a query without a negative. Arguments as of :func:`margin_mse`; the teacher gets no gradient.

    Example:
        >>> own, target = torch.ones(1, 3, dtype=torch.bool), torch.tensor([0])
        >>> found = adversarial_loss(torch.zeros(1, 3), torch.tensor([[2.0, 2.0, -90.0]]), own, target)
        >>> round(float(found), 4)  # half the logarithm of a half
        -0.3466
    """
    negatives = _negatives(own, target)
    reward = F.logsigmoid(_at(teacher, target)[:, None] - teacher).detach()
    drawn = list_log_softmax(scores, negatives).exp()
    return (drawn * reward).masked_fill(~negatives, 0.0).sum(1).mean()


def passage_loss(
    passages: Tensor, to_query: Tensor, target: Tensor, excluded: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return PAIR's passage-centric loss: each positive is nearer to its query than to the negatives of the batch.

    Args:
        passages: Vectors, [p, d].
        to_query: Score of each query and its positive, divided by the temperature, [b].
        target: Index of each query's positive, int64 [b].
        excluded: Passages that are no negatives of a query, bool [b, p]; all positives should be among them.
        temperature: Scores are divided by it.
    """
    between = passages[target].float() @ passages.float().T / temperature
    scores = torch.cat([to_query[:, None].float(), between.masked_fill(excluded, -torch.inf)], dim=1)
    return -F.log_softmax(scores, dim=1)[:, 0].mean()


def _at(scores: Tensor, target: Tensor) -> Tensor:
    """Return the value of each query's positive, [b]."""
    return scores.gather(1, target[:, None]).squeeze(1)


def _negatives(own: Tensor, target: Tensor) -> Tensor:
    """Return the lists without the positives, bool [b, p]."""
    return own.scatter(1, target[:, None], False)
