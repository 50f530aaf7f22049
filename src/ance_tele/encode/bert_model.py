"""The BERT of a loaded model, computed by functions of its tensors (:mod:`ance_tele.encode.bert_layers`).

It takes the place of the first module of a sentence-transformers model where that is a BERT, RoBERTa or XLM-RoBERTa as
transformers makes it. Everything else (adapters, other activations, hooks, subclasses) goes through the module itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from ance_tele.encode.bert import Shape
from ance_tele.encode.bert_layers import Contexts, Flat, Layout, Padded, embedded, halved, layers
from ance_tele.encode.packed import packed

# Families whose layers are BERT's, and whether their positions count from the one after the padding token's.
FAMILIES = {"bert": ("BertModel", False), "roberta": ("RobertaModel", True), "xlm_roberta": ("XLMRobertaModel", True)}

_PLAIN = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.Dropout, nn.ModuleList)

Encode = Callable[..., Tensor]


@dataclass(frozen=True)
class Bert:
    """A module of transformers, and what is computed with its tensors.

    Attributes:
        module: The encoder, of transformers; its parameters are those that are trained.
        shape: Sizes.
        first: The pooling reads the first token of each text only.
        encode: :func:`ance_tele.encode.bert_layers.layers`, or the same compiled.
        again: Contexts in which layers are computed again in the backward pass; None for not at all.
    """

    module: Any
    shape: Shape
    first: bool
    encode: Encode = layers
    again: Contexts | None = None

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The tensors by name."""
        return dict(self.module.named_parameters())

    def half(self) -> dict[str, Tensor]:
        """Return bf16 copies of the weights as they are now."""
        return halved(self.weights)

    def padded(
        self, ids: Tensor, mask: Tensor, lengths: Sequence[int], half: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """Return the features after the encoder, of texts padded on the right (:meth:`Forward.inputs`)."""
        whole = min(lengths) == ids.shape[1]
        layout = Padded(None if whole else mask.bool()[:, None, None])
        tokens = self._tokens(ids, self.places(ids), layout, half)
        return {"token_embeddings": tokens, "attention_mask": mask[:, : tokens.shape[1]]}

    def flat(self, ids: Tensor, lengths: Sequence[int], half: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Return the same without padding; once compiled, filled up to one of few sizes (:func:`rounded`)."""
        texts, fixed = len(lengths), self.encode is not layers
        if fixed:
            lengths, ids = filled(ids, lengths)
        given, _ = packed(ids, lengths)
        ends, row, place = given["cu_seq_lens_q"], given["seq_idx"][0], given["position_ids"][0]
        places = self.places(ids)
        places = places[place] if places.ndim == 1 else places[row, place]
        longest = -(-max(lengths) // 128) * 128 if fixed else max(lengths)
        layout = Flat(ends, longest, torch.arange(len(ends), dtype=torch.int32, device=ids.device))
        tokens = self._tokens(given["input_ids"][0], places, layout, half)
        if self.first:
            tokens = tokens[:texts, None]
            return {"token_embeddings": tokens, "attention_mask": torch.ones(tokens.shape[:2], device=ids.device)}
        real = sum(lengths[:texts])
        return {
            "token_embeddings": tokens[None, :real],
            "cu_seq_lens_q": ends[: texts + 1],
            "seq_idx": row[None, :real],
        }

    def dropout(self) -> tuple[float, float, float]:
        """Return the rates of dropout now: of embeddings, after products, of attention's weights."""
        if not self.module.training:
            return 0.0, 0.0, 0.0
        layer = self.module.encoder.layer[0]
        return self.module.embeddings.dropout.p, layer.output.dropout.p, layer.attention.self.dropout.p

    def places(self, ids: Tensor) -> Tensor:
        """Return rows of the table of positions: int64 [length] for all texts, or [texts, length]."""
        last = self.shape.skipped + self.shape.positions - 1  # what a batch is filled up with may be longer
        if not self.shape.skipped:
            return torch.arange(ids.shape[1], device=ids.device).clamp(max=last)
        # As in RoBERTa: padding tokens count for nothing, wherever they stand.
        padding = self.shape.skipped - 1
        real = ids != padding
        return (real.cumsum(1) * real + padding).clamp(max=last)

    def _tokens(self, ids: Tensor, places: Tensor, layout: Layout, half: Mapping[str, Tensor] | None) -> Tensor:
        weights, (at_first, after, attention) = self.weights, self.dropout()
        with torch.autocast(ids.device.type, enabled=False):
            x = embedded(weights, self.shape, ids, places, at_first)
            return self.encode(weights, self.shape, x, layout, half, after, attention, self.first, self.again)


def bert_of(modules: Sequence[nn.Module]) -> Bert | None:
    """Return the BERT of the modules that texts go through one after the other; None where it is anything else."""
    transformer: Any = modules[0]
    if type(transformer) is not Transformer or transformer.module_output_name != "token_embeddings":
        return None
    if changed(transformer):
        return None
    text = transformer.modality_config.get("text")
    module: Any = transformer.auto_model
    if text != {"method": "forward", "method_output_name": "last_hidden_state"} or not _plain(module):
        return None
    config, table = module.config, module.embeddings.word_embeddings
    skipped = config.pad_token_id + 1 if FAMILIES[config.model_type.replace("-", "_")][1] else 0
    sizes = config.num_hidden_layers, config.num_attention_heads, config.max_position_embeddings - skipped
    shape = Shape(*sizes, config.layer_norm_eps, table.padding_idx, skipped)
    return Bert(module, shape, len(modules) > 1 and _reads_first(modules[1]))


def _plain(module: Any) -> bool:
    """Return whether a module is a BERT as transformers makes it, and computes what its config's defaults say."""
    family = type(module).__module__.rpartition(".modeling_")[2]
    if not type(module).__module__.startswith("transformers.models.") or family not in FAMILIES:
        return False
    config: Any = module.config
    parts = [module, *module.embeddings.modules(), *module.encoder.modules()]
    own = all(type(each) in _PLAIN or type(each).__module__.startswith("transformers.") for each in parts)
    return (
        type(module).__name__ == FAMILIES[family][0]
        and own
        and not any(map(changed, parts))
        and config.hidden_act == "gelu"
        and config._attn_implementation in ("sdpa", "eager")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "add_cross_attention", False)
        and not getattr(config, "output_hidden_states", False)
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and (not FAMILIES[family][1] or config.pad_token_id is not None)
        and all(one.dtype == torch.float32 for one in module.parameters())
    )


def changed(module: nn.Module) -> bool:
    """Return whether calling a module does more than its class says: hooks, or a forward pass of its own."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return "forward" in vars(module) or any(getattr(module, name) for name in hooks)


def _reads_first(module: nn.Module) -> bool:
    """Return whether a pooling takes the first token of each text and nothing else."""
    return type(module) is Pooling and module.pooling_mode == "cls" and bool(module.include_prompt)


def rounded(texts: int, tokens: int) -> tuple[int, int]:
    """Return how many texts and tokens a batch is filled up to: few sizes, so that kernels are planned few times.

    Example:
        >>> rounded(264, 19700), rounded(260, 19200)
        ((320, 20480), (320, 20480))
    """
    more = -(-(texts + 17) // 64) * 64
    return more, -(-(tokens + more - texts) // 2048) * 2048


def filled(ids: Tensor, lengths: Sequence[int]) -> tuple[list[int], Tensor]:
    """Add texts of token 0, each of at least one token; return all lengths, and ids padded on the right."""
    texts, tokens = rounded(len(lengths), sum(lengths))
    added, missing = texts - len(lengths), tokens - sum(lengths)
    more = [missing // added + (number < missing % added) for number in range(added)]
    short = max(0, max(more) - ids.shape[1])
    return [*lengths, *more], F.pad(ids, (0, short, 0, added))
