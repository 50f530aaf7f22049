"""The contrastive loss over all passages of a batch."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ance_tele.console.errors import UserError
from ance_tele.encode.declared import truncated
from ance_tele.encode.encoder import Forward, batch_budget, chunks
from ance_tele.encode.kernels import Kernels
from ance_tele.encode.packed import drops_alike
from ance_tele.encode.several import vectors_each
from ance_tele.training.batches import Feature
from ance_tele.training.distillation import adversarial_loss, list_kl, margin_mse, passage_loss
from ance_tele.training.teaching import TeachingConfig
from ance_tele.training.together import gathered

log = logging.getLogger(__name__)


def contrastive_loss(
    queries: Tensor,
    passages: Tensor,
    target: Tensor,
    excluded: Tensor | None = None,
    temperature: float = 1.0,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy of each query's positive against every other passage (paper, Eq. 2).

    Args:
        queries: [b, d].
        passages: [p, d], or [p, m * d] of m vectors each.
        target: Index of each query's positive among the passages, int64 [b].
        excluded: Passages that are no negatives of a query, bool [b, p]; the positive always counts.
        temperature: Scores are divided by it.
        bias: Added to these, [b, p]: the logarithm of a weight lets a negative count as that share of one.

    Returns:
        The mean over the queries, a scalar.
    """
    return positive_loss(scaled_scores(queries, passages, temperature), target, excluded, bias)


def scaled_scores(queries: Tensor, passages: Tensor, temperature: float) -> Tensor:
    """Return the dot products of queries and passages divided by the temperature, in float32, [b, p].

    Where passages have several vectors, [p, m * d], it is the largest of their products.
    """
    with torch.autocast(queries.device.type, enabled=False):  # scores divided by 0.05 need float32
        if queries.shape[1] == passages.shape[1]:
            return queries.float() @ passages.float().T / temperature
        single = passages.float().reshape(-1, queries.shape[1])
        return (queries.float() @ single.T).unflatten(1, (len(passages), -1)).amax(2) / temperature


def positive_loss(scores: Tensor, target: Tensor, excluded: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return the contrastive loss of scores, [b, p]; other arguments as of :func:`contrastive_loss`."""
    if bias is not None:
        scores = scores + bias
    if excluded is not None:
        own = target[:, None] == torch.arange(scores.shape[1], device=target.device)  # one_hot would wait for a GPU
        scores = scores.masked_fill(excluded & ~own, -torch.inf)
    return F.cross_entropy(scores, target)


def distillation_loss(scores: Tensor, teacher: Tensor, own: Tensor, target: Tensor, config: TeachingConfig) -> Tensor:
    """Return the loss by a teacher's scores.

    Args:
        scores: The retriever's, divided by its temperature, [b, p].
        teacher: The teacher's score of each passage with the query that it was drawn for, [p].
        own: Which passages were drawn for which query, bool [b, p].
        target: Index of each query's positive, int64 [b].
        config: Settings.
    """
    ideal = (teacher.float() / config.teacher_temperature).expand(len(scores), -1)
    if config.distillation == "margin_mse":
        return margin_mse(scores, ideal, own, target)
    found = list_kl(ideal, scores, own)
    if not config.adversarial:
        return found
    share = config.adversarial
    return (1 - share) * found + share * adversarial_loss(scores, ideal, own, target)


def known_positives(passage_rows: Tensor, positives: Tensor) -> Tensor:
    """Return which passages are known to be relevant to which query, bool [b, p].

    Args:
        passage_rows: Rows of the corpus, int64 [p].
        positives: Relevant rows of each query, padded with -1, int64 [b, m].
    """
    return (passage_rows[None, None, :] == positives[:, :, None]).any(dim=1)


def joined(one: Feature, other: Feature, pad: int) -> Feature:
    """Concatenate the texts of two features, padded on the right."""
    pairs = ((one["input_ids"], other["input_ids"], pad), (one["attention_mask"], other["attention_mask"], 0))
    width = max(one["input_ids"].shape[1], other["input_ids"].shape[1])
    ids, mask = (
        torch.cat([F.pad(each, (0, width - each.shape[1]), value=fill) for each in (first, second)])
        for first, second, fill in pairs
    )
    return {"input_ids": ids, "attention_mask": mask, "lengths": one["lengths"] + other["lengths"]}


def check_sizes(model: SentenceTransformer, sizes: Sequence[int]) -> str:
    """Return a line where the whole vectors are none of the ``sizes`` that a model is trained for; "" else.

    Raises:
        UserError: The model's vectors are shorter than one of them, or a passage has several.
    """
    whole = model.get_embedding_dimension()
    if not sizes or whole is None:
        return ""
    if (each := vectors_each(model)) > 1:
        raise UserError(
            f"matryoshka_dims is {list(sizes)}, but a passage has {each} vectors; leave one of matryoshka_dims and "
            "passage_vectors out."
        )
    if max(sizes) > whole:
        raise UserError(f"matryoshka_dims names {max(sizes)}, and the vectors have {whole} numbers.")
    if whole in sizes:
        return ""
    return f"matryoshka_dims leaves the whole vectors of {whole} numbers out, which are what is searched"


class TeleportationLoss(nn.Module):
    """Encodes the two features of a batch and returns the contrastive loss.

    With ``bf16``, on a GPU, texts are encoded without padding and, by a shared encoder, queries and passages in one
    pass, if the model supports it.

    With gradient caching (Gao et al. 2021) activations of a chunk are recomputed in the backward pass, with the same
    dropout; loss and gradients are unchanged.

    Args:
        model: The encoder.
        query_forward: How queries enter the model.
        passage_forward: How passages enter it.
        bf16: The model computes in bf16 (autocast); vectors and loss are float32.
        rank: Of this process among those that train together.
        ranks: How many these are; each encodes a share of the texts (:mod:`ance_tele.training.together`).
        compile_mode: The setting ``compile``.
        passage_share: The setting ``passage_loss``.
        teaching: What is learned from a teacher, whose scores batches then have.
        sizes: The setting ``matryoshka_dims``.
        weights: The setting ``matryoshka_weights``.

    The others are settings of :class:`~ance_tele.training.config.TrainingConfig`.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        query_forward: Forward,
        passage_forward: Forward,
        temperature: float = 1.0,
        in_batch_negatives: bool = True,
        mask_known_positives: bool = True,
        chunk_tokens: int = 32768,
        grad_cache: bool | None = None,
        grad_cache_tokens: int = 65536,
        bf16: bool = False,
        rank: int = 0,
        ranks: int = 1,
        compile_mode: str = "off",
        passage_share: float = 0.0,
        teaching: TeachingConfig | None = None,
        sizes: Sequence[int] = (),
        weights: Sequence[float] = (),
    ) -> None:
        super().__init__()
        if passage_share and vectors_each(model) > 1:
            raise UserError(
                f"passage_loss compares passages by one vector each, and the model has {vectors_each(model)}; set "
                "passage_loss to 0, or passage_vectors to 1."
            )
        check_sizes(model, sizes)
        self.sizes = tuple(zip(sizes, weights or (1.0,) * len(sizes), strict=True))
        self.passage_share, self.teaching = passage_share, teaching if teaching and teaching.distils else None
        self.rank, self.ranks, self.bf16 = rank, ranks, bf16
        self.model = model
        self.query_forward, self.passage_forward = query_forward, passage_forward
        self.temperature = temperature
        self.in_batch_negatives, self.mask_known_positives = in_batch_negatives, mask_known_positives
        self.chunk_tokens, self.grad_cache, self.grad_cache_tokens = chunk_tokens, grad_cache, grad_cache_tokens
        self.one_pass = False
        if bf16 and model.device.type == "cuda":
            forwards = query_forward, passage_forward
            for forward in forwards:
                forward.pack(bf16=True)
            if any(forward.packs for forward in forwards) and not drops_alike(model.device):
                query_forward.packs = passage_forward.packs = False
            self.one_pass = passage_forward.packs and query_forward.alike(passage_forward)
        compiled = [compile_mode == "off" or each.compile(compile_mode) for each in (query_forward, passage_forward)]
        if not all(compiled):
            log.info(
                f"compile {compile_mode} does nothing here: it is for BERT and RoBERTa in bf16, on a GPU with flash "
                "attention"
            )

    def forward(self, query: Feature, passage: Feature) -> Tensor:
        """Return the loss of a batch, a scalar, given its queries and its flat passages."""
        tokens = passage["input_ids"].numel()
        cached = self.grad_cache if self.grad_cache is not None else tokens > self.grad_cache_tokens
        half = self.passage_forward.half(self.bf16)
        if self.one_pass:
            both = joined(passage, query, self.passage_forward.pad)
            vectors = self.encode(both, self.passage_forward, cached, half)
            passages, queries = vectors.split([len(passage["input_ids"]), len(query["input_ids"])])
        else:
            shared = half if self.query_forward.same_encoder(self.passage_forward) else None
            queries = self.encode(query, self.query_forward, False, shared)
            passages = self.encode(passage, self.passage_forward, cached, half)
        if self.ranks > 1:
            queries = gathered(queries, query["sizes"], self.rank)
            passages = gathered(passages, passage["sizes"], self.rank)
        if "place" in passage:  # repeated passages are encoded once
            passages = passages[passage["place"]]
        rows, drawn_for = passage["row"], passage["query"]
        excluded = torch.zeros(len(queries), len(passages), dtype=torch.bool, device=queries.device)
        own = drawn_for[None, :] == torch.arange(len(queries), device=rows.device)[:, None]
        if self.mask_known_positives:
            excluded |= known_positives(rows, query["positives"])
        if not self.in_batch_negatives:
            excluded |= ~own
        bias = query["log_weight"] * known_positives(rows, query["doubtful"]) if "doubtful" in query else None
        loss = partial(self.of_vectors, query=query, passage=passage, excluded=excluded, own=own, bias=bias)
        if not self.sizes:
            return loss(queries, passages)
        cut = partial(truncated, self.model)
        losses = [weight * loss(cut(queries, size), cut(passages, size)) for size, weight in self.sizes]
        return torch.stack(losses).sum()

    def of_vectors(
        self,
        queries: Tensor,
        passages: Tensor,
        query: Feature,
        passage: Feature,
        excluded: Tensor,
        own: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """Return the loss of vectors, a scalar.

        Args:
            queries: Their vectors, [b, d].
            passages: Vectors of all passages of the batch, [p, d].
            query: The feature of the queries.
            passage: The feature of the passages.
            excluded: Passages that are no negatives of a query, bool [b, p].
            own: Passages that were drawn for a query, bool [b, p].
            bias: Added to the scores, [b, p].
        """
        target, rows = query["target"], passage["row"]
        scores = scaled_scores(queries, passages, self.temperature)
        loss = positive_loss(scores, target, excluded, bias)
        if self.passage_share:
            # No query's positive is a negative of another's, nor is the positive's own text.
            apart = excluded | (rows[None, :, None] == rows[target]).any(2)
            to_query = scores.gather(1, target[:, None]).squeeze(1)
            between = passage_loss(passages, to_query, target, apart, self.temperature)
            loss = (1 - self.passage_share) * loss + self.passage_share * between
        if self.teaching is not None:
            share = self.teaching.distillation_weight
            taught = distillation_loss(scores, passage["teacher"], own, target, self.teaching)
            loss = (1 - share) * loss + share * taught
        return loss

    def encode(
        self, feature: Feature, forward: Forward, cached: bool, half: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Encode the texts of a feature chunk by chunk, [n, d]; with ``cached``, one chunk in memory at a time.

        ``half`` is as of :meth:`ance_tele.encode.encoder.Forward.half`; where it is None, it is made.
        """
        half = forward.half(self.bf16) if half is None else half
        ids, mask, lengths = feature["input_ids"], feature["attention_mask"], feature["lengths"]
        budget = batch_budget(self.chunk_tokens, ids.device)
        # Passages come longest first. Queries (short) and static embeddings (a gradient as large as the table for every
        # piece) are encoded in one piece; so are texts without padding unless gradients are cached.
        whole = forward is not self.passage_forward or forward.flat or (forward.packs and not cached)
        parts = [slice(None)] if whole else chunks(lengths, budget)
        kernels = Kernels(ids if torch.is_grad_enabled() else None) if ids.device.type == "cpu" else None
        embed = partial(forward, bf16=self.bf16, half=half)
        vectors = []
        for part in parts:
            width = max(lengths[part])
            inputs = ids[part, :width], mask[part, :width], lengths[part], kernels
            if cached and torch.is_grad_enabled():
                vectors.append(checkpoint(embed, *inputs, use_reentrant=False))
            else:
                vectors.append(embed(*inputs))
        return torch.cat(vectors)
