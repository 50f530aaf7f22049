"""Scores of (query, passage) pairs by a cross-encoder, for filters and as a teacher."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from torch import nn

from ance_tele.console.errors import UserError
from ance_tele.console.progress import Advance
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import owners, spans
from ance_tele.data.text_format import TextFormat
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import separator_of
from ance_tele.encode.loading import WEIGHTS, seeded
from ance_tele.encode.pairs import pair_logits
from ance_tele.encode.refusals import cannot_load, check_executed
from ance_tele.store.files import json_or_none

# Pairs tokenised and sorted by length at a time: bounds the memory of texts.
PAIRS_AT_A_TIME = 1 << 15

# Architectures of cross-encoders; any other would get a randomly initialised head.
_HEADS = ("ForSequenceClassification", "ForCausalLM", "ForConditionalGeneration")


def load_cross_encoder(name: str, config: EncoderConfig) -> CrossEncoder:
    """Load a cross-encoder with one output, in float32, from safetensors."""
    if (Path(name) / "run.json").exists():
        raise UserError(
            f"{name} is a run folder, not a cross-encoder; `ance-tele teach {name} --model MODEL --out FOLDER` trains "
            "one on what it has mined."
        )
    declares = json_or_none(Path(name) / "config_sentence_transformers.json", dict) or {}
    if declares.get("model_type") == "SentenceTransformer":
        raise UserError(
            f"{name} is no cross-encoder (it encodes queries and passages apart); give cross_encoder one that scores "
            "pairs of texts, such as `ance-tele teach` trains."
        )
    model = _load(name, config).eval()
    declared = getattr(model.config, "architectures", None) or []
    if not any(architecture.endswith(_HEADS) for architecture in declared):
        what = ", ".join(declared) or "of no declared architecture"
        raise UserError(
            f"{name} is no cross-encoder (it is {what}); give cross_encoder one that scores pairs of texts."
        )
    if model.num_labels != 1:
        raise UserError(f"The cross_encoder {name} gives {model.num_labels} scores for a pair; it must give one.")
    return model


def new_cross_encoder(name: str, config: EncoderConfig, seed: int) -> CrossEncoder:
    """Load an encoder (or a cross-encoder) to be trained as a cross-encoder with one output, whose head is random.

    It reads as many tokens as a query and a passage have by the settings, where these are given and it can.

    Raises:
        UserError: It cannot be loaded, or it is a decoder, which has no head for pairs.
    """
    model = _load(name, config, seed, num_labels=1)
    if model.num_labels != 1 or not getattr(model[0], "transformer_task", "") == "sequence-classification":
        raise UserError(f"{name} cannot be trained as a cross-encoder; give --model an encoder, such as a BERT.")
    if config.query_max_len and config.passage_max_len:
        both = config.query_max_len + config.passage_max_len
        model.max_seq_length = min(both, model.max_seq_length or both)
    model.activation_fn = nn.Sigmoid()
    return model


def _load(name: str, config: EncoderConfig, seed: int = 0, **options: Any) -> CrossEncoder:
    path = Path(name)
    if path.is_dir() and not any(path.rglob("*.safetensors")):
        raise UserError(f"The cross_encoder {name} holds no .safetensors file; only safetensors weights are read.")
    if not path.is_dir() and (name.count("/") != 1 or name.startswith((".", "/", "~"))):
        raise UserError(f"The cross_encoder {name} is neither a folder nor a hub name (owner/name); check the path.")
    check_executed(name, config.trust_remote_code)
    try:
        with seeded(seed):
            return CrossEncoder(name, trust_remote_code=config.trust_remote_code, model_kwargs=WEIGHTS, **options)
    except MemoryError:
        raise
    except Exception as error:  # of files that are missing or wrong the libraries raise whatever they run into
        raise cannot_load(name, error, "The cross_encoder") from None


def passage_texts(model: CrossEncoder, corpus: Texts, rows: np.ndarray, separator: str) -> list[str]:
    """Return the texts of passages, rows of the corpus, as the model reads them: title, separator, body."""
    form = TextFormat(title_separator=separator_of(model.tokenizer, separator))
    return [text for titles, bodies in corpus.batches(rows) for text in form.render(titles, bodies)]


def cross_scores(
    model: CrossEncoder, queries: list[str], offsets: np.ndarray, passages: np.ndarray, corpus: Texts, separator: str
) -> np.ndarray:
    """Return the score of each query with each passage of its own list, float32 [n], by the model's own activation.

    Arguments as of :func:`cross_logits`.
    """
    return activated(model, cross_logits(model, queries, offsets, passages, corpus, separator))


def activated(model: CrossEncoder, logits: np.ndarray) -> np.ndarray:
    """Return logits after the model's own activation, float32 [n]: as a rule a sigmoid, which gives probabilities."""
    with torch.no_grad():
        found: np.ndarray = model.activation_fn(torch.from_numpy(logits)).float().numpy()
    return found


def cross_logits(
    model: CrossEncoder,
    queries: list[str],
    offsets: np.ndarray,
    passages: np.ndarray,
    corpus: Texts,
    separator: str,
    precision: str = "float32",
    advance: Advance = lambda pairs: None,
) -> np.ndarray:
    """Return the logit of each query with each passage of its own list, float32 [n], before the model's activation.

    Args:
        model: The cross-encoder.
        queries: Texts of the queries.
        offsets: int64 [q + 1]; the passages of query i are ``offsets[i]:offsets[i + 1]``.
        passages: Rows of the corpus, int [n].
        corpus: The passages.
        separator: Between title and body.
        precision: "float32", "bf16" or "auto".
        advance: Gets the number of pairs done.

    Raises:
        UserError: One is no number, or infinite.
    """
    positions, found = owners(offsets), [np.empty(0, dtype=np.float32)]
    for start, stop in spans(len(passages), PAIRS_AT_A_TIME):
        distinct, place = np.unique(passages[start:stop], return_inverse=True)
        texts = passage_texts(model, corpus, distinct, separator)
        asked = positions[start:stop].tolist()
        pairs = [(queries[query], texts[one]) for query, one in zip(asked, place.tolist(), strict=True)]
        found.append(pair_logits(model, pairs, precision, advance))
    logits = np.concatenate(found)
    if not np.isfinite(logits).all():
        raise UserError("The cross_encoder gives scores that are no numbers; take another, or leave it out.")
    return logits
