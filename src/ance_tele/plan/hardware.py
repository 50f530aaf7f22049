"""Cost of an encoder: FLOPs and bytes by its shape, and data of GPUs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError


@dataclass(frozen=True)
class ModelShape:
    """Shape of a transformer encoder; BERT-base by default.

    Attributes:
        hidden: Width, which is also the length of a vector.
        intermediate: Width inside the feed-forward part.
        vocabulary: Rows of the token embeddings.
        positions: Rows of the position embeddings.
    """

    layers: int = 12
    hidden: int = 768
    intermediate: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    name: str = "BERT-base"

    @property
    def body(self) -> int:
        """Weights multiplied with every token: four attention projections, two feed-forward layers."""
        return self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)

    @property
    def parameters(self) -> int:
        """All parameters of a BERT of this shape: embeddings, layers with biases and two norms, the pooler."""
        embeddings = (self.vocabulary + self.positions + 2 + 2) * self.hidden
        biases = self.layers * (9 * self.hidden + self.intermediate)
        return embeddings + self.body + biases + self.hidden**2 + self.hidden

    def forward(self, length: float) -> float:
        """Return the FLOPs of one text of ``length`` tokens.

        Each weight of the body is multiplied and added once a token: 2 x body x length. Attention multiplies queries by
        keys and its weights by values, length x length x hidden each: 4 x layers x hidden x length^2. Embeddings are
        looked up, and norms are small.
        """
        return 2 * self.body * length + 4 * self.layers * self.hidden * length**2

    def activations(self, tokens: float, width: int = 2) -> float:
        """Return the bytes of activations kept for the backward pass, with numbers of ``width`` bytes.

        Korthikanti et al. 2022, Section 4.1, without the term of the attention weights, which fused attention
        computes again: attention 11 x hidden, norms 4 x hidden, feed-forward 3 x hidden + 4 x intermediate for a layer
        and token at two bytes a number.
        """
        return tokens * self.layers * (18 * self.hidden + 4 * self.intermediate) * width / 2


BERT_BASE = ModelShape()


@dataclass(frozen=True)
class Measured:
    """Shares of a device's peak that a model has reached, BERT-base in bf16 on a GPU, as a plan counts operations.

    Attributes:
        training: In training.
        encoding: In encoding, by the tokens of a batch, ascending.
        source: What was measured.
    """

    training: float
    encoding: tuple[tuple[int, float], ...]
    source: str


@dataclass(frozen=True)
class GPU:
    """A GPU by its data sheet.

    Attributes:
        tflops: Peak in 16 bits (bf16; fp16 where there is no bf16), dense, TFLOP/s.
        tflops_float32: Peak in float32, without TF32.
        memory: GiB.
        bandwidth: Of that memory, GB/s.
        bf16: Whether it supports bf16; else runs use float32.
        measured: What was measured on it, if anything.
        kind: "CPU" for the one of this machine (:mod:`ance_tele.plan.this_cpu`).
    """

    name: str
    tflops: float
    tflops_float32: float
    memory: float
    bandwidth: float
    bf16: bool = True
    measured: Measured | None = None
    kind: str = "GPU"

    def peak(self, precision: str) -> float:
        """Return the peak FLOP/s at a precision: "auto", "bf16" or "float32"."""
        return 1e12 * (self.tflops if self.bf16 and precision != "float32" else self.tflops_float32)


# docs/decisions.md, "On a GPU". Of the H100: a step of 8 x (1 + 31) texts, 19,700 tokens, took 132 ms, through the
# whole loop; 5,800, 17,500 and 20,800 passages of 77 tokens a second were encoded in batches of 8,192, 32,768 and
# 131,072 tokens. Its best product in bf16 was 783 TFLOP/s: 10% of that in training, 35% in the largest batches.
_H100 = Measured(0.079, ((8192, 0.078), (32768, 0.235), (131072, 0.280)), "on an H100, with BERT-base")
_H200 = Measured(0.21, ((32768, 0.30),), "on an H200, with BERT-base")

GPUS: Mapping[str, GPU] = {
    gpu.name: gpu
    for gpu in (
        GPU("A100-40G", 312, 19.5, 40, 1555),
        GPU("A100-80G", 312, 19.5, 80, 2039),
        GPU("V100-32G", 125, 15.7, 32, 900, bf16=False),
        GPU("H100", 989, 67, 80, 3350, measured=_H100),
        GPU("H200", 989, 67, 140, 4800, measured=_H200),
    )
}


def gpu_of(name: str) -> GPU:
    """Return a GPU by name, in any case.

    Raises:
        UserError: It is not in the table.
    """
    found = {key.lower(): gpu for key, gpu in GPUS.items()}
    if name.lower() not in found:
        raise UserError(f"There is no GPU '{name}' to plan for; there are: {', '.join(GPUS)}, and cpu with --data.")
    return found[name.lower()]


# Fields of the shape, and their keys in config.json (BERT and its kin; DistilBERT).
_KEYS: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layers"),
    "hidden": ("hidden_size", "dim"),
    "intermediate": ("intermediate_size", "hidden_dim"),
    "vocabulary": ("vocab_size",),
    "positions": ("max_position_embeddings",),
}


def model_shape(model: str | Path | None) -> ModelShape:
    """Return the shape of a model by the ``config.json`` of its folder; BERT-base's where there is no folder.

    Raises:
        UserError: The file cannot be read or does not declare the shape.
    """
    folder = Path(model) if model is not None else None
    if folder is None or not folder.is_dir():
        return ModelShape()
    for path in (folder / "config.json", *sorted(folder.glob("*/config.json"))):
        if not path.exists():
            continue
        try:
            facts = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path} is no JSON: {error}.") from None
        if not isinstance(facts, dict):
            continue
        found: dict[str, Any] = {
            name: next((facts[key] for key in keys if key in facts), None) for name, keys in _KEYS.items()
        }
        if all(isinstance(value, int) and value > 0 for value in found.values()):
            return ModelShape(**found, name=folder.resolve().name)
    needed = ", ".join(keys[0] for keys in _KEYS.values())
    raise UserError(
        f"{folder} holds no config.json that declares a model's shape ({needed}); take the folder of an encoder."
    )
