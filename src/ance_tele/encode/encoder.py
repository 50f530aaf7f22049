"""The forward pass of any sentence-transformers model or plain Hugging Face encoder, from token ids to vectors."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.data.text_format import TextFormat
from ance_tele.data.tokens import TokenStore, tokenize
from ance_tele.encode.bert_layers import layers
from ance_tele.encode.bert_model import bert_of, changed
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import finished, separator_of
from ance_tele.encode.ensemble import members_of
from ance_tele.encode.in_use import LENGTHS, NO_LENGTH, TEXTS, Task, set_length
from ance_tele.encode.lengths import first_module, positions, route, text_length
from ance_tele.encode.packed import packed
from ance_tele.encode.recomputing import WITHOUT_CUDNN, contexts
from ance_tele.encode.several import FirstVectors
from ance_tele.encode.word_models import WholeTexts, features, reads_words

# Tokens of a forward pass on a CPU: small enough for its caches, large enough for efficient products.
CPU_TOKENS = 1024


def text_format(model: SentenceTransformer, config: EncoderConfig, task: Task) -> TextFormat:
    """Return prompt, separator and length for texts of this task."""
    tokenizer = tokenizer_of(model, task)
    length = text_length(model, config, task, tokenizer)
    separator = " " if task == "query" else separator_of(tokenizer, config.title_separator)
    grows = set_length(config, task) is not None
    most = (positions(first_module(model, task)) or NO_LENGTH) if grows else None
    return TextFormat((model.prompts or {}).get(task) or "", separator, length, most)


def tokenizer_of(model: SentenceTransformer, task: Task) -> Any:
    """Return the tokenizer of this task: of transformers, or compatible."""
    first = first_module(model, task)
    return WholeTexts(first) if reads_words(first) else first.tokenizer


def tokens_of(
    model: SentenceTransformer,
    config: EncoderConfig,
    task: Task,
    texts: Texts,
    cache: Path,
    source: str,
) -> TokenStore:
    """Tokenise queries or passages, with the fingerprint ``source``, as a model reads them.

    Raises:
        UserError: The prompt leaves no room for the text, or the model excludes prompts from pooling and queries have
            prompts of their own.
    """
    form, tokenizer = text_format(model, config, task), tokenizer_of(model, task)
    if getattr(texts, "prompts", None) is not None and not includes_prompt(model):
        raise UserError(
            "The queries have instructions of their own, and the model leaves its prompt out of the pooling "
            "(include_prompt false), which is one prompt for all; take another model, or data without instructions."
        )
    return tokenize(texts, tokenizer, form, cache, source, TEXTS[task])


def includes_prompt(model: SentenceTransformer) -> bool:
    """Return whether all poolings of a model include the prompt's tokens."""
    return all(module.include_prompt for module in model.modules() if isinstance(module, Pooling))


def weights_fingerprint(model: SentenceTransformer) -> str:
    """Return the sha-256 (hex) of all weights and module settings."""
    digest = hashlib.sha256()
    if getattr(model, "truncate_dim", None) is not None:  # cross-encoders have none
        digest.update(f"{model.truncate_dim} of {model.similarity_fn_name}".encode())
    for module in model.modules():
        settings: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        settings = {key: value for key, value in settings.items() if key not in LENGTHS}
        digest.update(f"{type(module).__name__}{json.dumps(settings, sort_keys=True, default=str)}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.view(torch.uint8).numpy().data if array.numel() else b"")
    return digest.hexdigest()


def batch_budget(tokens: int, device: torch.device) -> int:
    """Return the tokens per forward pass: ``tokens``, less on a CPU."""
    return min(tokens, CPU_TOKENS) if device.type == "cpu" else tokens


def chunks(lengths: Sequence[int] | Tensor, budget: int) -> Iterator[slice]:
    """Split texts, sorted longest first, into runs of at most ``budget`` tokens with padding."""
    start = 0
    while start < len(lengths):
        stop = start + max(1, budget // max(1, int(lengths[start])))
        yield slice(start, stop)
        start = stop


class Forward:
    """The forward pass from token ids to vectors, for encoding and training.

    Texts are padded on the right, whatever the tokenizer declares, so that positions count from a text's first token.

    Attributes:
        packs: Texts go through the model without padding; see :meth:`pack`.
        flat: Texts need no padding, so that batches can be large: static embeddings.
        bert: The encoder as functions of its tensors, where it is a BERT; None otherwise.
        members: The forward passes of an ensemble's members, which take the place of its own.
        recomputes: Layers are computed again in the backward pass (:mod:`ance_tele.encode.recomputing`).
    """

    def __init__(self, model: SentenceTransformer, task: Task, recomputes: bool = False) -> None:
        self.model, self.task, self.packs, self.recomputes = model, task, False, recomputes
        self.first, tokenizer = first_module(model, task), tokenizer_of(model, task)
        self.flat, self.words = isinstance(self.first, StaticEmbedding), reads_words(self.first)
        self.pad = tokenizer.pad_token_id or 0
        self.types: dict[int, int] | None = None
        if "token_type_ids" in getattr(tokenizer, "model_input_names", ()):
            framed = tokenizer("a", return_token_type_ids=True)  # XLNet's last token has a type of its own
            self.types = {
                i: kind for i, kind in zip(framed["input_ids"], framed["token_type_ids"], strict=True) if kind
            }
        prompt = (model.prompts or {}).get(task)
        self.prompt_length: int | None = None
        if prompt and not self.words and not includes_prompt(model):
            ids = tokenizer(prompt)["input_ids"]
            self.prompt_length = len(ids) - (ids[-1] in tokenizer.all_special_ids)  # as sentence-transformers counts
        self.members = [Forward(member, task) for member in members_of(model)]
        head = model[0]
        modules = [*(route(head, task) if isinstance(head, Router) else [head]), *list(model.children())[1:]]
        self.rest, self.bert = modules[1:], None if self.types or changed(model) else bert_of(modules)
        if self.bert is not None and self.prompt_length is not None:
            self.bert = replace(self.bert, first=False)
        if self.bert is not None and recomputes:
            self.bert = replace(self.bert, again=contexts(model.device))

    def inputs(
        self, ids: Tensor, mask: Tensor, lengths: Sequence[int], kernels: AbstractContextManager[Any] | None = None
    ) -> tuple[dict[str, Any], AbstractContextManager[Any]]:
        """Return the input of the model, and the context to call it in.

        Args:
            ids: Padded on the right, int64 [rows, length].
            mask: 1 where a token is real, int64 [rows, length].
            lengths: Tokens of each text.
            kernels: Context with faster kernels for a CPU.
        """
        if not ids.shape[1]:  # no text has a known token
            ids, mask = (F.pad(each, (0, 1), value=fill) for each, fill in ((ids, self.pad), (mask, 0)))
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        context: AbstractContextManager[Any] = kernels or nullcontext()
        if self.words:
            given = features(self.first, ids, mask, lengths)
        elif self.packs:
            given, context = packed(ids, lengths)
        elif ids.device.type == "cuda":
            context = sdpa_kernel(WITHOUT_CUDNN)
        given |= {"task": self.task, "modality": "text"}
        if self.types is not None:
            kinds = given["token_type_ids"] = torch.zeros_like(given["input_ids"])
            for number, kind in self.types.items():
                kinds[given["input_ids"] == number] = kind
        if self.prompt_length is not None:
            given["prompt_length"] = self.prompt_length
        return given, context

    def half(self, bf16: bool = True) -> dict[str, Tensor] | None:
        """Return copies of a BERT's weights in bf16 as they are now, to be given to several calls; None of others."""
        return self.bert.half() if bf16 and self.bert is not None else None

    def __call__(
        self,
        ids: Tensor,
        mask: Tensor,
        lengths: Sequence[int],
        kernels: AbstractContextManager[Any] | None = None,
        bf16: bool = False,
        half: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the vectors of texts, [rows, dimension]; arguments as of :meth:`inputs`.

        With ``bf16`` the model computes in it, and the vectors are float32; ``half`` is as of :meth:`half`.
        """
        if self.members:
            return torch.cat([member(ids, mask, lengths, kernels, bf16) for member in self.members], dim=1)
        half = self.half(bf16) if half is None else half
        autocast = torch.autocast(self.model.device.type, torch.bfloat16) if bf16 else nullcontext()
        if self.bert is None or not ids.shape[1]:
            given, context = self.inputs(ids, mask, lengths, kernels)
            with context, autocast:
                vectors: Tensor = self.model(given)["sentence_embedding"]
        else:
            context = kernels or (sdpa_kernel(WITHOUT_CUDNN) if ids.device.type == "cuda" else nullcontext())
            with context, autocast:
                given = self.bert.flat(ids, lengths, half) if self.packs else self.bert.padded(ids, mask, lengths, half)
                given["task"] = self.task
                if self.prompt_length is not None:
                    given["prompt_length"] = self.prompt_length
                for module in self.rest:
                    given = module(given)
                vectors = given["sentence_embedding"]
        return finished(self.model, vectors.float() if bf16 else vectors)

    def pack(self, bf16: bool = False) -> None:
        """From now on omit padding, if the model gives the same vectors without, tried on texts of three lengths.

        Not all do: some count positions otherwise, have causal attention, or a window; the trial is longer than
        windows. ``bf16`` tries the kernel for bf16.
        """
        for member in self.members:
            member.pack(bf16)
        # Recomputing a model other than a BERT would find another attention the second time.
        if self.words or self.members or (self.recomputes and self.bert is None):
            return
        lengths, device = (3, 9, 6) * 256, self.model.device
        mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
        words = 1 + torch.arange(mask.numel()).view(mask.shape) % 64
        ids = torch.where(mask > 0, words + (words == self.pad), self.pad)
        was_training = self.model.training
        self.model.eval()
        found = []
        try:
            for self.packs, half in ((False, False), (True, False), *([(True, True)] if bf16 else [])):
                with torch.no_grad():
                    found.append(self(ids.to(device), mask.to(device), lengths, bf16=half).float())
            apart = [float((one - found[0]).norm() / found[0].norm()) for one in found[1:]]
            self.packs = all(one <= most for one, most in zip(apart, (1e-3, 0.05), strict=False))
        except Exception:  # any error of a model or of a module after it
            self.packs = False
        finally:
            self.model.train(was_training)

    def compile(self, mode: str) -> bool:
        """From now on compile a BERT's layers for texts without padding; return whether that can be done.

        ``mode`` is torch.compile's. Batches are filled up to few sizes, since each is compiled anew.
        """
        if not self.packs or self.bert is None:
            return False
        self.bert = replace(self.bert, encode=torch.compile(layers, dynamic=False, mode=mode))
        return True

    def same_encoder(self, other: "Forward") -> bool:
        """Return whether texts of another task go through the same BERT."""
        return self.bert is not None and other.bert is not None and self.bert.module is other.bert.module

    def alike(self, other: "Forward") -> bool:
        """Return whether texts of another task go through the same modules, so that one pass can encode both."""
        routed = any(isinstance(module, (Router, FirstVectors)) for module in self.model.modules())
        return self.model is other.model and not routed and self.prompt_length is other.prompt_length is None
