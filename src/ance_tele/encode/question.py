"""The encoder of a question: vectors as of the loaded model, without the libraries that load any model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

from ance_tele.console.errors import UserError
from ance_tele.data.text_format import TextFormat, batch_tokenizer, count_tokens
from ance_tele.data.tokens import store_inputs
from ance_tele.encode.bert import Shape, read_bert
from ance_tele.encode.bert_folder import BertFolder, bert_folder
from ance_tele.encode.bert_layers import Padded, embedded, layers
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.in_use import TEXTS, Task, used_length, used_prompts, used_similarity
from ance_tele.encode.kernels import Kernels
from ance_tele.encode.precision import resolve_precision
from ance_tele.store.files import json_or_none
from ance_tele.store.fingerprints import fingerprint


@dataclass(frozen=True)
class FileTokenizer:
    """A tokenizer.json, with the part of the interface of transformers that texts are tokenised by."""

    backend_tokenizer: Tokenizer
    truncation_side: str


@dataclass(frozen=True)
class QuestionEncoder:
    """A BERT that encodes one query at a time, on a CPU.

    Attributes:
        tokenizer: Of the model's folder.
        forms: Prompt, separator and length by task.
        weights: Tensors of the encoder by name, float32.
        shape: Its sizes.
        pooling: "cls", "mean", "max" or "lasttoken".
        normalize: Scale vectors to length one.
        precision: In which it encodes.
    """

    tokenizer: FileTokenizer
    forms: Mapping[Task, TextFormat]
    weights: Mapping[str, Tensor]
    shape: Shape
    pooling: str
    normalize: bool
    precision: str

    def __call__(self, words: str) -> np.ndarray:
        """Return the vector of a query, float32 [1, dimension]."""
        form = self.forms["query"]
        ids, _ = batch_tokenizer(self.tokenizer, form.max_length)(form.render([""], [words]))
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"), Kernels():
            given = torch.tensor(ids)
            x = embedded(self.weights, self.shape, given, torch.arange(given.shape[1]))
            vector = pooled(layers(self.weights, self.shape, x, Padded(None)), self.pooling)
            vector = F.normalize(vector, dim=-1) if self.normalize else vector
            return vector.float().numpy()

    def passages_key(self, source: str) -> str:
        """Return the key of the tokens of a corpus of this fingerprint, as the model reads it.

        It has the tokenizer in it: where that is not the one that transformers makes of the folder, the key is none
        that any vectors were made of.
        """
        return fingerprint(store_inputs(self.tokenizer, self.forms["document"], source, TEXTS["document"]))


def pooled(tokens: Tensor, pooling: str) -> Tensor:
    """Return the vectors of texts without padding by those of their tokens, [n, length, d] -> [n, d]."""
    if pooling == "mean":
        return tokens.sum(1) / tokens.shape[1]
    if pooling == "max":
        return tokens.max(1).values
    return tokens[:, 0 if pooling == "cls" else -1]


def question_encoder(folder: str | Path, config: EncoderConfig) -> QuestionEncoder | None:
    """Return an encoder of queries whose vectors are those of the loaded model, to rounding.

    None where that takes sentence-transformers: another architecture or module, an adapter, separate encoders, code
    of its own, a GPU, damaged files (loading says what is wrong), or a setting that does not fit.
    """
    folder = Path(folder)
    declared = bert_folder(folder, config)
    if declared is None or torch.cuda.is_available() or torch.backends.mps.is_available():
        return None
    tokenizer = _tokenizer(folder)
    forms = None if tokenizer is None else _forms(tokenizer, declared, config)
    weights = read_bert(folder / "model.safetensors", declared.config, declared.shape)
    if tokenizer is None or forms is None or weights is None:
        return None
    similarity = used_similarity(declared.similarity, declared.normal, config)
    normalize = declared.normal or similarity == "cosine"
    precision = resolve_precision(config.precision, torch.device("cpu"))
    return QuestionEncoder(tokenizer, forms, weights, declared.shape, declared.pooling, normalize, precision)


def _tokenizer(folder: Path) -> FileTokenizer | None:
    """Read the tokenizer of a folder; None where it has none, or one whose texts have several segments."""
    try:
        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
        several = any(backend.encode("a").type_ids)
    except Exception:  # the package raises nothing narrower
        return None
    side = (json_or_none(folder / "tokenizer_config.json", dict) or {}).get("truncation_side", "right")
    return None if several or side not in ("left", "right") else FileTokenizer(backend, side)


def _forms(tokenizer: FileTokenizer, declared: BertFolder, config: EncoderConfig) -> dict[Task, TextFormat] | None:
    """Return prompt, separator and length by task; None where the settings do not fit the model."""
    backend, separator = tokenizer.backend_tokenizer, config.title_separator
    special = backend.num_special_tokens_to_add(False)
    if separator.strip() and backend.token_to_id(separator.strip()) is None:  # may be replaced by the model's own
        return None
    forms = dict[Task, TextFormat]()
    for task, prompt in used_prompts(declared.prompts, declared.default_prompt, config).items():
        prompted = count_tokens(tokenizer, [prompt])[0] if prompt else 0
        try:
            length = used_length(task, config, declared.lengths[task], declared.shape.positions, prompted, special)
        except UserError:
            return None
        forms[task] = TextFormat(prompt, " " if task == "query" else separator, length)
    return forms
