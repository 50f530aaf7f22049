"""What an encoder's work costs, by counting: operations, bytes, and the hardware that carries them out."""

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
        layers: Number of layers.
        hidden: Width, which is also the length of a vector.
        intermediate: Width inside the feed-forward part.
        vocabulary: Rows of the token embeddings.
        positions: Rows of the position embeddings.
        name: What the model is called.
    """

    layers: int = 12
    hidden: int = 768
    intermediate: int = 3072
    vocabulary: int = 30522
    positions: int = 512
    name: str = "BERT-base"

    @property
    def body(self) -> int:
        """Weights that every token meets: four projections of attention, two of the feed-forward part."""
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
        """Return the bytes that the backward pass needs of ``tokens`` tokens, with numbers of ``width`` bytes.

        Korthikanti et al. 2022, Section 4.1, without the term of the attention weights, which fused attention
        computes again: attention 11 x hidden, norms 4 x hidden, feed-forward 3 x hidden + 4 x intermediate for a layer
        and token at two bytes a number.
        """
        return tokens * self.layers * (18 * self.hidden + 4 * self.intermediate) * width / 2


@dataclass(frozen=True)
class GPU:
    """A GPU by its data sheet.

    Attributes:
        name: What it is called here.
        tflops: Peak in 16 bits (bf16; fp16 where there is no bf16), dense, TFLOP/s.
        tflops_float32: Peak in float32, without TF32.
        memory: GiB.
        bandwidth: Of that memory, GB/s.
        bf16: Whether it computes in bf16; where not, runs take float32.
    """

    name: str
    tflops: float
    tflops_float32: float
    memory: float
    bandwidth: float
    bf16: bool = True

    def peak(self, precision: str) -> float:
        """Return the FLOP/s at a precision as settings name it: "auto", "bf16" or "float32"."""
        return 1e12 * (self.tflops if self.bf16 and precision != "float32" else self.tflops_float32)


GPUS: Mapping[str, GPU] = {
    gpu.name: gpu
    for gpu in (
        GPU("A100-40G", 312, 19.5, 40, 1555),
        GPU("A100-80G", 312, 19.5, 80, 2039),
        GPU("V100-32G", 125, 15.7, 32, 900, bf16=False),
        GPU("H100", 989, 67, 80, 3350),
        GPU("H200", 989, 67, 140, 4800),
    )
}


def gpu_of(name: str) -> GPU:
    """Return a GPU by name, in any case.

    Raises:
        UserError: It is not in the table.
    """
    found = {key.lower(): gpu for key, gpu in GPUS.items()}
    if name.lower() not in found:
        raise UserError(f"There is no GPU '{name}' to plan for; there are: {', '.join(GPUS)}.")
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
