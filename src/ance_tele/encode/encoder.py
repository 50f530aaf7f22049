"""The encoder: any sentence-transformers model or plain Hugging Face encoder, fed from the token store."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ance_tele.data.errors import diverged
from ance_tele.data.progress import Advance
from ance_tele.data.tokens import TextFormat, TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.kernels import Kernels
from ance_tele.encode.packed import packed

Task = Literal["query", "document"]

# Tokens of a forward pass on a CPU: activations stay in its caches, products are still large enough.
CPU_TOKENS = 1024

# Attention on a GPU, where there is padding. cuDNN plans anew for every shape, some 40 ms each, and hardly two batches
# are of the same.
WITHOUT_CUDNN = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

# With fewer texts, finding out whether padding can be left out costs more than it saves.
FEW_TEXTS = 64


def text_format(model: SentenceTransformer, config: EncoderConfig, task: Task) -> TextFormat:
    """Return how a text of this task becomes tokens: prompt, separator, length."""
    prompt = (model.prompts or {}).get(task) or ""
    if task == "query":
        return TextFormat(prompt, " ", config.query_max_len)
    return TextFormat(prompt, config.title_separator, config.passage_max_len)


def tokenizer_of(model: SentenceTransformer, task: Task) -> Any:
    """Return the tokenizer that texts of this task go through."""
    first = model[0]
    return first.sub_modules[task][0].tokenizer if isinstance(first, Router) else model.tokenizer


def weights_fingerprint(model: SentenceTransformer) -> str:
    """Return the sha-256 (hex) of all weights and of the modules' settings: it changes when any weight does."""
    digest = hashlib.sha256()
    for module in model.modules():
        settings: dict[str, Any] = getattr(module, "get_config_dict", dict)()
        settings = {key: value for key, value in settings.items() if key != "max_seq_length"}
        digest.update(f"{type(module).__name__}{json.dumps(settings, sort_keys=True, default=str)}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        array = tensor.detach().cpu().contiguous()
        digest.update(f"{name}{tuple(array.shape)}{array.dtype}".encode())
        digest.update(array.view(torch.uint8).numpy().data if array.numel() else b"")
    return digest.hexdigest()


def has_fast_bf16(device: torch.device) -> bool:
    """Say whether a device multiplies bf16 faster than float32: a recent GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


def resolve_precision(precision: str, device: torch.device) -> Literal["float32", "bf16"]:
    """Settle "auto": bf16 where the device is faster with it, float32 otherwise."""
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


def token_batches(lengths: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """Cut texts into batches of like length, longest first, of at most ``budget`` tokens with padding.

    Args:
        lengths: Tokens of each text, int64 [n].
        budget: Most tokens in a batch; a longer text is a batch alone.

    Yields:
        Positions of the texts of a batch, int64.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, int(lengths[order[start]])))
        yield order[start : start + size]
        start += size


class Forward:
    """The forward pass from token ids to vectors, the same for encoding and for training.

    Attributes:
        packs: Texts go through the model without padding; see :meth:`pack`.
    """

    def __init__(self, model: SentenceTransformer, task: Task) -> None:
        self.model, self.task, self.packs = model, task, False
        tokenizer = tokenizer_of(model, task)
        self.pad = tokenizer.pad_token_id or 0
        self.left = getattr(tokenizer, "padding_side", "right") == "left"
        self.types = "token_type_ids" in getattr(tokenizer, "model_input_names", ())
        poolings = [module for module in model.modules() if isinstance(module, Pooling)]
        prompt = (model.prompts or {}).get(task)
        self.prompt_length: int | None = None
        if prompt and any(not pooling.include_prompt for pooling in poolings):
            self.prompt_length = len(tokenizer(prompt, add_special_tokens=True)["input_ids"]) - 1

    def inputs(
        self, ids: Tensor, mask: Tensor, lengths: Sequence[int], kernels: AbstractContextManager[Any] | None = None
    ) -> tuple[dict[str, Any], AbstractContextManager[Any]]:
        """Return what the model takes, and the context to call it in.

        Args:
            ids: Padded, int64 [rows, length].
            mask: 1 where a token is real, int64 [rows, length].
            lengths: Tokens of each text.
            kernels: For a CPU: what answers some calls faster.
        """
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        context: AbstractContextManager[Any] = kernels or nullcontext()
        if self.packs:
            features, context = packed(ids, mask, lengths)
        elif ids.device.type == "cuda":
            context = sdpa_kernel(WITHOUT_CUDNN)
        features |= {"task": self.task, "modality": "text"}
        if self.types:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        if self.prompt_length is not None:
            features["prompt_length"] = self.prompt_length
        return features, context

    def __call__(self, *texts: Any, model: Any = None) -> Tensor:
        """Return the vectors of texts, given as :meth:`inputs` takes them, [rows, dimension].

        Args:
            texts: See :meth:`inputs`.
            model: The same model as a trainer has wrapped it, to be called instead.
        """
        features, context = self.inputs(*texts)
        with context:
            vectors: Tensor = (self.model if model is None else model)(features)["sentence_embedding"]
        return vectors

    def pack(self, bf16: bool = False) -> None:
        """Leave padding out from now on, if the model gives the same vectors without; texts of three lengths are tried.

        Not every model does: some count positions otherwise, or read what comes before only; some look at a window, so
        that the row of texts is longer here than windows are.

        Args:
            bf16: Texts will go through the model in bf16, which has a kernel of its own.
        """
        lengths, device = (3, 9, 6) * 256, self.model.device
        mask = (torch.arange(9) < torch.tensor(lengths)[:, None]).long()
        if self.left:
            mask = mask.flip(1)
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
        """Say whether another task's texts go through the model in the same way, so that one pass can read both."""
        routed = any(isinstance(module, Router) for module in self.model.modules())
        return self.model is other.model and not routed and self.prompt_length is other.prompt_length is None


def encode_rows(
    model: SentenceTransformer,
    tokens: TokenStore,
    rows: np.ndarray,
    task: Task,
    config: EncoderConfig,
    advance: Advance = lambda units: None,
) -> np.ndarray:
    """Encode texts of the token store.

    Args:
        model: The encoder; its training mode is left as it was found.
        tokens: Where the texts' token ids are.
        rows: Which texts, int64 [n].
        task: "query" or "document".
        config: Precision and batch size.
        advance: Gets the number of texts done.

    Returns:
        Vectors, float32 [n, dimension].
    """
    forward, device = Forward(model, task), model.device
    bf16 = resolve_precision(config.precision, device) == "bf16"
    vectors: np.ndarray | None = None
    was_training = model.training
    model.eval()
    if device.type == "cuda" and len(rows) > FEW_TEXTS:
        forward.pack(bf16)

    def keep(batch: np.ndarray, arrive: Callable[[], np.ndarray]) -> None:
        nonlocal vectors
        out = arrive()
        if not np.isfinite(out).all():
            raise diverged(f"The vectors of text {rows[batch[0]]} and of others")
        if vectors is None:
            vectors = np.empty((len(rows), out.shape[1]), dtype=np.float32)
        vectors[batch] = out
        advance(len(batch))

    try:
        kernels, before = Kernels(), None
        # One context for all batches, and no inference mode: so autocast casts each weight once.
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for batch in token_batches(tokens.lengths(rows), batch_budget(config.encode_tokens, device)):
                ids, mask = (sent(each, device) for each in tokens.padded(rows[batch], forward.pad, forward.left))
                out = forward(ids, mask, tokens.lengths(rows[batch]).tolist(), kernels)
                coming = batch, _leaving(out.float())
                if before is not None:  # kept while a GPU works on the next batch
                    keep(*before)
                before = coming
            if before is not None:
                keep(*before)
    finally:
        model.train(was_training)
    return vectors if vectors is not None else np.empty((0, model.get_embedding_dimension() or 0), np.float32)


def sent(array: np.ndarray, device: torch.device) -> Tensor:
    """Send an array to a device; nobody waits for a GPU."""
    here = torch.from_numpy(array)
    return here.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else here.to(device)


def _leaving(vectors: Tensor) -> Callable[[], np.ndarray]:
    """Send vectors to the CPU; what is returned waits until they are there."""
    if vectors.device.type != "cuda":
        return vectors.cpu().numpy
    here, event = vectors.to("cpu", non_blocking=True), torch.cuda.Event()
    event.record()

    def arrive() -> np.ndarray:
        event.synchronize()
        return here.numpy()

    return arrive
