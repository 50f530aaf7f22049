"""A BERT encoder as functions of its tensors: a question is encoded without the libraries that load any model.

Importing those takes several times as long as encoding a question and searching for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, float32

# What a config.json may say of each of these, where it says anything: the BERT of the functions below.
PLAIN: dict[str, tuple[Any, ...]] = {
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "quantization_config": (None,),
    "auto_map": (None,),
}

# Classes that BERTs are saved from, whose encoder alone is read.
CLASSES = ("BertModel", "BertForMaskedLM", "BertForPreTraining")

# Of a config.json that says more, the names of the tensors alone would fill the memory.
MOST_LAYERS = 1000

_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a BERT.

    Attributes:
        layers: Number of layers.
        heads: Attention heads of a layer.
        positions: Most tokens of a text.
        epsilon: Of layer normalisation.
        padding: Token whose embedding is not trained; None without.
        skipped: Rows of the table of positions before the one of the first token: of RoBERTa's, one after its padding.
    """

    layers: int
    heads: int
    positions: int
    epsilon: float
    padding: int | None = None
    skipped: int = 0


def bert_shape(config: Mapping[str, Any]) -> Shape | None:
    """Return the sizes of a BERT by its config.json; None for any other architecture, or where sizes are missing."""
    given = config.get("architectures")
    classes = given if isinstance(given, list) else [None]
    plain = all(config.get(name, allowed[0]) in allowed for name, allowed in PLAIN.items())
    if "model_type" not in config or not plain or any(one not in CLASSES for one in classes):
        return None
    sizes: list[Any] = [config.get(name) for name in _SIZES]
    epsilon = config.get("layer_norm_eps", 1e-12)
    if any(type(size) is not int or size < 1 for size in sizes) or not isinstance(epsilon, float):
        return None
    _, width, layers, heads, _, positions = sizes
    return None if width % heads or layers > MOST_LAYERS else Shape(layers, heads, positions, epsilon)


def read_bert(path: Path, config: Mapping[str, Any], shape: Shape) -> dict[str, Tensor] | None:
    """Read the encoder's tensors in float32, by name, from a safetensors file; None where it lacks any of its shape.

    The pooler and the heads that a BERT was trained with are left out.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError):
        return None
    found = {_name(name): tensor for name, tensor in stored.items()}
    expected = _shapes(config, shape)
    if any(name not in found or list(found[name].shape) != size for name, size in expected.items()):
        return None
    # Copied: the file, which is mapped, may be overwritten while a server answers from it.
    return {name: found[name].to(float32, copy=True) for name in expected}


def _name(stored: str) -> str:
    """Return the name of a tensor in the encoder itself; old checkpoints have other names for scale and shift."""
    name = stored.removeprefix("bert.")
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _shapes(config: Mapping[str, Any], shape: Shape) -> dict[str, list[int]]:
    """Return names and shapes of the tensors of a BERT."""
    words, width, inner = (config[name] for name in ("vocab_size", "hidden_size", "intermediate_size"))
    tables = {"word": words, "position": shape.positions, "token_type": config.get("type_vocab_size", 2)}
    found = {f"embeddings.{name}_embeddings.weight": [rows, width] for name, rows in tables.items()}
    linear = {f"attention.{name}": (width, width) for name in ("self.query", "self.key", "self.value", "output.dense")}
    linear |= {"intermediate.dense": (inner, width), "output.dense": (width, inner)}
    layers = [f"encoder.layer.{number}" for number in range(shape.layers)]
    for layer in layers:
        found |= {f"{layer}.{name}.weight": list(size) for name, size in linear.items()}
        found |= {f"{layer}.{name}.bias": [size[0]] for name, size in linear.items()}
    norms = [f"{layer}.{name}" for layer in layers for name in ("attention.output.LayerNorm", "output.LayerNorm")]
    norms.append("embeddings.LayerNorm")
    return found | {f"{name}.{part}": [width] for name in norms for part in ("weight", "bias")}
