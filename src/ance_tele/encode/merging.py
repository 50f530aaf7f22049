"""Merging of two models of one kind: a model between them, by a weight from 0 (the base) to 1 (the trained one)."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from ance_tele.console.errors import UserError

MergeMethod: TypeAlias = Literal["linear", "spherical"]

# Directions nearer than this (radians) are interpolated linearly, which then is the same.
NEAR = 1e-4


def interpolated(base: Tensor, trained: Tensor, weight: float, method: MergeMethod = "linear") -> Tensor:
    """Return a tensor between two of the same shape.

    Linear: (1 - w) base + w trained. Spherical (Shoemake 1985): the direction moves along the arc between the two at
    constant speed, and the length linearly. Both give exactly the ends at 0 and 1.

    Args:
        base: Weight 0.
        trained: Weight 1.
        weight: From 0 to 1.
        method: "linear" or "spherical".

    Example:
        >>> ends = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 3.0])
        >>> [[round(value, 3) for value in interpolated(*ends, 0.5, how).tolist()] for how in ("linear", "spherical")]
        [[0.5, 1.5], [1.414, 1.414]]
    """
    if weight in (0, 1):
        return (trained if weight else base).clone()
    first, second = base.double(), trained.double()
    if method == "spherical":
        lengths = first.norm(), second.norm()
        if min(lengths) > 0:
            starts, ends = first / lengths[0], second / lengths[1]
            # Not the arc cosine of the product, which knows angles near 0 to half of the digits only.
            angle = 2 * torch.atan2((starts - ends).norm(), (starts + ends).norm())
            if NEAR < angle < torch.pi - NEAR:
                arc = torch.sin((1 - weight) * angle) * starts + torch.sin(weight * angle) * ends
                return (arc / torch.sin(angle) * torch.lerp(*lengths, weight)).to(base.dtype)
    return torch.lerp(first, second, weight).to(base.dtype)


class Merge:
    """The models between a base and a trained model.

    One copy of the trained model takes the weights of each; what is no floating-point number stays that model's.

    Args:
        base: Weight 0; a model of the same modules and shapes.
        trained: Weight 1; modules, tokenizer, prompts and lengths are its.
        method: "linear" or "spherical", tensor by tensor.

    Raises:
        UserError: The two are not of one kind, or have adapters, whose product is not that of merged factors.
    """

    def __init__(self, base: SentenceTransformer, trained: SentenceTransformer, method: MergeMethod = "linear") -> None:
        self.model, self.method = trained, method
        self._base, self._trained = _weights(base), {name: one.clone() for name, one in _weights(trained).items()}
        if any(getattr(module, "peft_config", None) for model in (base, trained) for module in model.modules()):
            raise UserError(
                "The model has an adapter (LoRA), whose two factors cannot be merged each for itself; join the adapter "
                "with its base model first, and begin with that."
            )
        if trouble := _difference(self._base, self._trained):
            raise UserError(f"The two models are not of one kind: {trouble}; merge a model with what it started from.")

    def at(self, weight: float) -> SentenceTransformer:
        """Return the model at a weight; the one of the weight before changes with it."""
        merged = {
            name: interpolated(self._base[name], one, weight, self.method) if one.is_floating_point() else one
            for name, one in self._trained.items()
        }
        self.model.load_state_dict({name: one.to(self.model.device) for name, one in merged.items()})
        return self.model.eval()


def _weights(model: SentenceTransformer) -> dict[str, Tensor]:
    return {name: one.detach().cpu() for name, one in model.state_dict().items()}


def _difference(base: Mapping[str, Tensor], trained: Mapping[str, Tensor]) -> str:
    """Return in what the weights of two models differ other than in numbers; "" where in nothing."""
    for name in [*trained, *base]:
        if (name in base) != (name in trained):
            return f"only the {'base' if name in base else 'trained model'} has the tensor '{name}'"
        if base[name].shape != trained[name].shape:
            shapes = (" x ".join(map(str, one[name].shape)) or "a number" for one in (base, trained))
            return "'{}' is {} in the base and {} in the trained model".format(name, *shapes)
    return ""
