"""A cross-encoder as the judge of pairs: it reads query and passage together, and is asked only while mining."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import owners
from ance_tele.data.text_format import TextFormat
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import separator_of
from ance_tele.encode.loading import quiet

PAIRS_PER_BATCH = 64

# What a cross-encoder's checkpoint declares itself to be; the head of any other would be drawn at random.
_HEADS = ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration")


def load_cross_encoder(name: str, config: EncoderConfig, device: str | None = None) -> CrossEncoder:
    """Load a cross-encoder of sentence-transformers, in float32, from safetensors.

    Args:
        name: Folder or hub name.
        config: Whether it may run code of its own.
        device: Where to put it; the best there is by default.

    Raises:
        UserError: Nothing that can be loaded is found there, or it is no cross-encoder with one score.
    """
    path = Path(name)
    if path.is_dir() and not any(path.rglob("*.safetensors")):
        raise UserError(f"The cross_encoder {name} holds no .safetensors file; only safetensors weights are read.")
    if not path.is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise UserError(f"The cross_encoder {name} is neither a folder nor a hub name (owner/name); check the path.")
    weights = {"use_safetensors": True, "dtype": torch.float32}
    try:
        # Seeded like the model itself: the same files give the same fingerprint.
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = CrossEncoder(
                name, device=device, trust_remote_code=config.trust_remote_code, model_kwargs=weights
            ).eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"The cross_encoder {name} cannot be loaded: {reason}") from None
    declared = getattr(model.config, "architectures", None) or []
    if not any(architecture.endswith(_HEADS) for architecture in declared):
        what = ", ".join(declared) or "of no declared architecture"
        raise UserError(
            f"{name} is no cross-encoder (it is {what}); give cross_encoder one that scores pairs of texts."
        )
    if model.num_labels != 1:
        raise UserError(f"The cross_encoder {name} gives {model.num_labels} scores for a pair; it must give one.")
    return model


def cross_scores(
    model: CrossEncoder, queries: list[str], offsets: np.ndarray, passages: np.ndarray, corpus: Texts, separator: str
) -> np.ndarray:
    """Return the score of each query with each passage of its own list, float32 [n].

    Args:
        model: As :func:`load_cross_encoder` returns it; scores go through its own activation.
        queries: Texts of the queries.
        offsets: int64 [q + 1]; the passages of query i are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int [n].
        corpus: The passages.
        separator: Between title and body, as :class:`TextFormat` has it.

    Raises:
        UserError: A score is no number.
    """
    distinct, place = np.unique(passages, return_inverse=True)
    form = TextFormat(title_separator=separator_of(model.tokenizer, separator))
    texts = [text for titles, bodies in corpus.batches(distinct) for text in form.render(titles, bodies)]
    asking = owners(offsets).tolist()
    pairs = [(queries[query], texts[one]) for query, one in zip(asking, place.tolist(), strict=True)]
    with quiet():
        scores = model.predict(pairs, batch_size=PAIRS_PER_BATCH, show_progress_bar=False)
    scores = np.asarray(scores, dtype=np.float32)
    if not np.isfinite(scores).all():
        raise UserError("The cross_encoder gives scores that are no numbers; take another, or leave it out.")
    return scores
