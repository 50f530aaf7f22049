"""The encoder: any sentence-transformers model or plain Hugging Face encoder, fed from the token store."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.data.text_format import TextFormat
from ance_tele.data.tokens import TokenStore, tokenize
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import finished, separator_of
from ance_tele.encode.lengths import LENGTHS, NO_LENGTH, TEXTS, Task, first_module, positions, set_length, text_length
from ance_tele.encode.packed import packed
from ance_tele.encode.word_models import WholeTexts, features, reads_words

# Tokens of a forward pass on a CPU: activations stay in its caches, products are still large enough.
CPU_TOKENS = 1024

# Attention on a GPU, where there is padding. cuDNN plans anew for every shape, some 40 ms each, and hardly two batches
# are of the same.
WITHOUT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def text_format(model: SentenceTransformer, config: EncoderConfig, task: Task) -> TextFormat:
    """Return how a text of this task becomes tokens: prompt, separator, length."""
    tokenizer = tokenizer_of(model, task)
    length = text_length(model, config, task, tokenizer)
    separator = " " if task == "query" else separator_of(tokenizer, config.title_separator)
    grows = set_length(config, task) is not None
    most = (positions(first_module(model, task)) or NO_LENGTH) if grows else None
    return TextFormat((model.prompts or {}).get(task) or "", separator, length, most)


def tokenizer_of(model: SentenceTransformer, task: Task) -> Any:
    """Return the tokenizer that texts of this task go through: transformers', or one in its manner."""
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
    """Tokenise the queries or the passages of a collection, of this fingerprint, as a model reads them.

    Raises:
        UserError: The prompt leaves no room for the text, or queries have prompts of their own that the model is to
            leave out of its pooling.
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
    """Return the sha-256 (hex) of all weights and of the modules' settings: it changes when any weight does."""
    digest = hashlib.sha256()
    if getattr(model, "truncate_dim", None) is not None:  # a cross-encoder, whose weights are asked for too, has none
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


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether a device multiplies bf16 faster than float32: a recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def resolve_precision(precision: str, device: torch.device) -> Literal["float32", "bf16"]:
    """Resolve "auto": bf16 where the device is faster with it, float32 otherwise."""
    if precision == "auto":
        precision = "bf16" if has_fast_bf16(device) else "float32"
    return "bf16" if precision == "bf16" else "float32"


def emulated_bf16(device: torch.device) -> str:
    """Return a warning where a device has no instructions for bf16, for whoever asks for it; empty where it has."""
    if has_fast_bf16(device):
        return ""
    return (
        f"bf16 is asked for, but this {device.type.upper()} has no instructions for it and emulates them, up to "
        "hundreds of times slower than float32; leave the precision at auto."
    )


def batch_budget(tokens: int, device: torch.device) -> int:
    """Return how many tokens go through a model at a time: on a CPU what its caches hold, elsewhere ``tokens``."""
    return min(tokens, CPU_TOKENS) if device.type == "cpu" else tokens


def chunks(lengths: Sequence[int] | Tensor, budget: int) -> Iterator[slice]:
    """Cut texts, sorted longest first, into runs of at most ``budget`` tokens with padding."""
    start = 0
    while start < len(lengths):
        stop = start + max(1, budget // max(1, int(lengths[start])))
        yield slice(start, stop)
        start = stop


class Forward:
    """The forward pass from token ids to vectors, the same for encoding and for training.

    Texts are padded on the right, whatever their tokenizer declares: positions then count from a text's first token,
    whoever shares its batch, and no pooling minds.

    Attributes:
        packs: Texts go through the model without padding; see :meth:`pack`.
        flat: Texts need no padding and hardly any time, so that they go through in large batches: static embeddings.
    """

    def __init__(self, model: SentenceTransformer, task: Task) -> None:
        self.model, self.task, self.packs = model, task, False
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

    def inputs(
        self, ids: Tensor, mask: Tensor, lengths: Sequence[int], kernels: AbstractContextManager[Any] | None = None
    ) -> tuple[dict[str, Any], AbstractContextManager[Any]]:
        """Return what the model takes, and the context to call it in.

        Args:
            ids: Padded on the right, int64 [rows, length].
            mask: 1 where a token is real, int64 [rows, length].
            lengths: Tokens of each text.
            kernels: For a CPU: what answers some calls faster.
        """
        if not ids.shape[1]:  # no text has a token that its model knows
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

    def __call__(self, *texts: Any, model: Any = None) -> Tensor:
        """Return the vectors of texts, given as :meth:`inputs` takes them, [rows, dimension].

        Where a trainer has wrapped the model, ``model`` is called instead.
        """
        given, context = self.inputs(*texts)
        with context:
            vectors: Tensor = (self.model if model is None else model)(given)["sentence_embedding"]
        return finished(self.model, vectors)

    def pack(self, bf16: bool = False) -> None:
        """Leave padding out from now on, if the model gives the same vectors without; texts of three lengths are tried.

        Not every model does: some count positions otherwise, or read what comes before only; some look at a window, so
        that the row of texts is longer here than windows are.

        Args:
            bf16: Texts will go through the model in bf16, which has a kernel of its own.
        """
        if self.words:
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
                with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
                    found.append(self(ids.to(device), mask.to(device), lengths).float())
            apart = [float((one - found[0]).norm() / found[0].norm()) for one in found[1:]]
            self.packs = all(one <= most for one, most in zip(apart, (1e-3, 0.05), strict=False))
        except Exception:  # whatever a model, or a module behind it, has against it
            self.packs = False
        finally:
            self.model.train(was_training)

    def alike(self, other: "Forward") -> bool:
        """Return whether another task's texts go through the model in the same way, so that one pass can read both."""
        routed = any(isinstance(module, Router) for module in self.model.modules())
        return self.model is other.model and not routed and self.prompt_length is other.prompt_length is None
