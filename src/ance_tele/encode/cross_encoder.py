"""Scores of (query, passage) pairs by a cross-encoder; used in mining only."""

from pathlib import Path

import numpy as np
from sentence_transformers import CrossEncoder

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import owners
from ance_tele.data.text_format import TextFormat
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import separator_of
from ance_tele.encode.loading import WEIGHTS, quiet, seeded
from ance_tele.encode.refusals import cannot_load, check_executed

PAIRS_PER_BATCH = 64

# Architectures of cross-encoders; any other would get a randomly initialised head.
_HEADS = ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration")


def load_cross_encoder(name: str, config: EncoderConfig) -> CrossEncoder:
    """Load a cross-encoder with one output, in float32, from safetensors."""
    path = Path(name)
    if path.is_dir() and not any(path.rglob("*.safetensors")):
        raise UserError(f"The cross_encoder {name} holds no .safetensors file; only safetensors weights are read.")
    if not path.is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise UserError(f"The cross_encoder {name} is neither a folder nor a hub name (owner/name); check the path.")
    check_executed(name, config.trust_remote_code)
    try:
        with seeded():
            model = CrossEncoder(name, trust_remote_code=config.trust_remote_code, model_kwargs=WEIGHTS).eval()
    except MemoryError:
        raise
    except Exception as error:  # of files that are missing or wrong the libraries raise whatever they run into
        raise cannot_load(name, error, "The cross_encoder") from None
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
    """Return the score of each query with each passage of its own list, float32 [n], by the model's own activation.

    Args:
        model: The cross-encoder.
        queries: Texts of the queries.
        offsets: int64 [q + 1]; the passages of query i are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int [n].
        corpus: The passages.
        separator: Between title and body.
    """
    distinct, place = np.unique(passages, return_inverse=True)
    form = TextFormat(title_separator=separator_of(model.tokenizer, separator))
    texts = [text for titles, bodies in corpus.batches(distinct) for text in form.render(titles, bodies)]
    positions = owners(offsets).tolist()
    pairs = [(queries[query], texts[one]) for query, one in zip(positions, place.tolist(), strict=True)]
    with quiet():
        scores = model.predict(pairs, batch_size=PAIRS_PER_BATCH, show_progress_bar=False)
    scores = np.asarray(scores, dtype=np.float32)
    if not np.isfinite(scores).all():
        raise UserError("The cross_encoder gives scores that are no numbers; take another, or leave it out.")
    return scores
