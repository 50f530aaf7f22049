"""Vectors with NaN or infinite values from a model as it was given: which tensor causes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from ance_tele.console.errors import NotFiniteError, UserError


@contextmanager
def as_given(model: SentenceTransformer, name: str | Path | None) -> Iterator[None]:
    """Explain what fails for vectors that are no numbers; the weights are looked at only then.

    Args:
        model: The model, as it was given.
        name: Its folder or hub name.

    Raises:
        UserError: Vectors are no numbers: the sentence names the tensor that holds NaN or infinite values, or says that
            none does.
    """
    try:
        yield
    except NotFiniteError as error:
        which = f"The model {name}" if name else "The model"
        wrong = [(key, one) for key, one in model.named_parameters() if not torch.isfinite(one).all()]
        if not wrong:
            raise UserError(
                f"{error.found}, although {which[0].lower()}{which[1:]} holds none in its weights: numbers overflow on "
                "their way through it; set precision to float32."
            ) from None
        (key, tensor), *others = wrong
        holds = "NaN" if torch.isnan(tensor).any() else "infinite values"
        more = f" and in {len(others):,} more" if others else ""
        raise UserError(
            f"{which} holds {holds} as it was given, in its tensor '{key}'{more}: the file is damaged, or its own "
            "training diverged; take another copy or checkpoint of it."
        ) from None
