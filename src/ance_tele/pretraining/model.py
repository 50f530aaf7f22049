"""What is pretrained: an encoder and, for the time of it, heads that predict words from its vectors."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ance_tele.encode.bert_layers import Padded, embedded, halved
from ance_tele.encode.bert_model import Bert
from ance_tele.encode.encoder import batch_budget, chunks
from ance_tele.encode.kernels import Kernels
from ance_tele.encode.precision import resolve_precision
from ance_tele.encode.recomputing import WITHOUT_CUDNN
from ance_tele.pretraining.batches import IGNORED
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.objectives import condensed, contrast, decoder_input, predicted, through, weak_mask
from ance_tele.training.batches import Feature


@dataclass(frozen=True)
class Step:
    """What all chunks of a step share.

    Attributes:
        body: Weights of the encoder by name.
        heads: Those of the layers of head and decoder, by name of the head.
        half: bf16 copies of all of them, by the same names, of the encoder under "body"; None in float32.
        kernels: Context for the device.
    """

    body: Mapping[str, Tensor]
    heads: Mapping[str, Mapping[str, Tensor]]
    half: Mapping[str, Mapping[str, Tensor]] | None
    kernels: AbstractContextManager[Any]

    def copies(self, name: str) -> Mapping[str, Tensor] | None:
        """Return the bf16 copies of the encoder ("body") or of a head."""
        return None if self.half is None else self.half[name]


class Pretrained(nn.Module):
    """An encoder with the heads of an objective.

    Its parameters are ``body`` (the encoder itself), ``mlm`` (the head that predicts masked words, tied to the word
    embeddings), and ``head`` (Condenser's layers) or ``decoder`` (SEED's layers) with ``decoder_bias``.

    Args:
        bert: The encoder, as functions of its tensors.
        config: Objective and sizes.
        skip_from: Layer whose tokens go to Condenser's head.
    """

    def __init__(self, bert: Bert, config: PretrainingConfig, skip_from: int) -> None:
        super().__init__()
        self.bert, self.skip_from = bert, skip_from
        self.settings = config  # not ``config``: of that trackers expect the methods of transformers'
        self.body = bert.module
        words, width = self.table.shape
        self.mlm = nn.ModuleDict({"dense": nn.Linear(width, width), "norm": nn.LayerNorm(width, bert.shape.epsilon)})
        self.mlm.register_parameter("bias", nn.Parameter(torch.zeros(words)))
        self.head = stack(bert, config.head_layers) if "head" in config.terms else None
        self.decoder = stack(bert, config.decoder_layers) if "decoder" in config.terms else None
        if self.decoder is not None:
            self.decoder_bias = nn.Parameter(torch.zeros(words))
        for layer in self.mlm.children():
            initialise(layer, bert.module.config.initializer_range)

    @property
    def table(self) -> Tensor:
        """The word embeddings, [ids, width]."""
        found: Tensor = self.body.embeddings.word_embeddings.weight
        return found

    def forward(self, feature: Feature) -> Tensor:
        """Return the loss of a batch, a scalar."""
        terms = self.terms(feature)
        return torch.stack([weight * terms[name] for name, weight in self.settings.terms.items()]).sum()

    def terms(self, feature: Feature) -> dict[str, Tensor]:
        """Return the terms of the loss of a batch (:class:`~ance_tele.pretraining.batches.PassageBatches`), by name.

        Those that predict words are means over the words to be predicted of the whole batch; chunks change nothing.
        """
        ids, config = feature["input_ids"], self.settings
        step = self._step(feature)
        cached = ids.numel() > config.grad_cache_tokens if config.grad_cache is None else config.grad_cache
        sums, vectors = list[Tensor](), list[Tensor]()
        for part in chunks(feature["lengths"], batch_budget(config.chunk_tokens, ids.device)):
            lengths = feature["lengths"][part]
            width = max(lengths)
            inputs = (feature[name][part, :width] for name in ("input_ids", "attention_mask", "labels", "original"))
            given = (*inputs, lengths, step)
            if cached and torch.is_grad_enabled():
                found, first = checkpoint(self._chunk, *given, use_reentrant=False)
            else:
                found, first = self._chunk(*given)
            sums.append(found)
            vectors.append(first)
        mlm, head, decoder = torch.stack(sums).sum(0)
        most = max(1, feature["masked"])
        terms = {"mlm": mlm / most, "head": head / most, "decoder": decoder / max(1, feature["real"])}
        if "contrast" in config.terms:
            terms["contrast"] = contrast(torch.cat(vectors), feature["partner"])
        return {name: terms[name] for name in config.terms}

    def _step(self, feature: Feature) -> Step:
        ids, body = feature["input_ids"], self.bert.weights
        heads = {
            name: {f"encoder.{key}": weight for key, weight in one.named_parameters()}
            for name, one in (("head", self.head), ("decoder", self.decoder))
            if one is not None
        }
        bf16 = resolve_precision(self.settings.train_precision, ids.device) == "bf16"
        half = {name: halved(one) for name, one in {"body": body, **heads}.items()} if bf16 else None
        kernels: AbstractContextManager[Any] = nullcontext()
        if ids.device.type == "cpu":
            kernels = Kernels(torch.cat([ids, feature["original"]]) if torch.is_grad_enabled() else None)
        elif ids.device.type == "cuda":
            kernels = sdpa_kernel(WITHOUT_CUDNN)
        return Step(body, heads, half, kernels)

    def _chunk(
        self, ids: Tensor, mask: Tensor, labels: Tensor, original: Tensor, lengths: Sequence[int], step: Step
    ) -> tuple[Tensor, Tensor]:
        """Return the sums of the cross-entropies of mlm, head and decoder, [3], and the vectors of the texts."""
        shape, places, (at_first, *after) = self.bert.shape, self.bert.places(ids), self.bert.dropout()
        rates = after[0], after[1]
        layout = Padded(None if min(lengths) == ids.shape[1] else mask.bool()[:, None, None])
        sums = dict.fromkeys(("mlm", "head", "decoder"), ids.new_zeros((), dtype=torch.float32))
        with step.kernels, torch.autocast(ids.device.type, enabled=False):
            x = embedded(step.body, shape, ids, places, at_first)
            whole = step.body, step.copies("body"), shape
            early = through(*whole, x, layout, rates, 0, self.skip_from)
            late = through(*whole, early, layout, rates, self.skip_from, shape.layers)
            sums["mlm"] = self._words(late, labels, step)
            if self.head is not None:
                own = step.heads["head"], step.copies("head"), shape
                x = through(*own, condensed(late, early), layout, rates, 0, self.settings.head_layers)
                sums["head"] = self._words(x, labels, step)
            if self.decoder is not None:
                sums["decoder"] = self._decoded(late[:, :1], original, places, mask, step, at_first, rates)
        return torch.stack(list(sums.values())), late[:, 0]

    def _words(self, x: Tensor, labels: Tensor, step: Step) -> Tensor:
        chosen = labels != IGNORED
        head = dict(self.mlm.named_parameters())
        return predicted(x[chosen], labels[chosen], self.table, head, self.bert.shape.epsilon, step.half is not None)

    def _decoded(
        self,
        first: Tensor,
        original: Tensor,
        places: Tensor,
        mask: Tensor,
        step: Step,
        dropout: float,
        rates: tuple[float, float],
    ) -> Tensor:
        """Return the sum of the cross-entropies of every token of the texts, each from what is before it."""
        shape, length = self.bert.shape, original.shape[1]
        layout = Padded(weak_mask(length, self.settings.decoder_span, original.device))
        x = decoder_input(step.body, shape, original, places, first, dropout)
        own = step.heads["decoder"], step.copies("decoder"), shape
        x = through(*own, x, layout, rates, 0, self.settings.decoder_layers)
        # The last real token is the frame's, as the first is; nothing predicts either.
        wanted = mask[:, 1:].bool()
        wanted = wanted & torch.cat([wanted[:, 1:], torch.zeros_like(wanted[:, :1])], 1)
        head = {"bias": self.decoder_bias}
        return predicted(x[:, :-1][wanted], original[:, 1:][wanted], self.table, head, 0.0, step.half is not None)


def stack(bert: Bert, layers: int) -> nn.Module:
    """Return new layers of an encoder's sizes, with random weights; they are named as in a BERT's ``encoder``."""
    from transformers import BertConfig, BertModel

    names = ("hidden_size", "intermediate_size", "num_attention_heads", "initializer_range", "layer_norm_eps")
    sizes = {name: getattr(bert.module.config, name) for name in names}
    config = BertConfig(vocab_size=1, max_position_embeddings=1, num_hidden_layers=layers, **sizes)
    made = BertModel(config, add_pooling_layer=False).encoder
    for module in made.modules():
        initialise(module, config.initializer_range)
    return made.to(bert.module.device)


def initialise(module: nn.Module, spread: float) -> None:
    """Draw the weights of a linear layer as BERT's were; its bias is zero."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=spread)
        nn.init.zeros_(module.bias)
