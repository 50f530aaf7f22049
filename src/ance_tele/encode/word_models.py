"""Models without a transformer: static embeddings, word embeddings, bags of words.

They read whole texts, or as far as the folder declares, and have tokenizers of their own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import BoW, StaticEmbedding, WordEmbeddings
from sentence_transformers.sentence_transformer.modules.tokenizer import TransformersTokenizerWrapper
from torch import Tensor

from ance_tele.data.text_format import tokenizer_fingerprint
from ance_tele.store.fingerprints import fingerprint


class WholeTexts:
    """The tokenizer of such a module, with the part of the interface of transformers that a token store uses."""

    pad_token_id, model_input_names = 0, ()

    def __init__(self, module: Any) -> None:
        self.module, self.tokenizer = module, module.tokenizer

    def __len__(self) -> int:
        table = getattr(self.module, "embedding", None) or getattr(self.module, "emb_layer", None)
        return len(self.module.vocab) if table is None else int(table.num_embeddings)

    def __call__(self, texts: str | list[str], **options: Any) -> dict[str, Any]:
        """Return the token ids of a text, or of texts; options are ignored."""
        if isinstance(texts, str):
            return {"input_ids": self([texts])["input_ids"][0]}
        if isinstance(self.module, StaticEmbedding):
            encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            return {"input_ids": [encoding.ids for encoding in encodings]}
        most = getattr(self.module, "max_seq_length", None)
        return {"input_ids": [self.tokenizer.tokenize(text)[:most] for text in texts]}

    @property
    def fingerprint(self) -> str:
        """Fingerprint of everything that decides its output."""
        if isinstance(self.module, StaticEmbedding):
            return fingerprint(["static", self.tokenizer.to_str()])
        inner, most = self.tokenizer, getattr(self.module, "max_seq_length", None)
        if isinstance(inner, TransformersTokenizerWrapper):
            return fingerprint(["words", tokenizer_fingerprint(inner.tokenizer), most])
        settings = {name: sorted(value) if isinstance(value, set) else value for name, value in vars(inner).items()}
        return fingerprint([type(inner).__name__, {**settings, "vocab": list(inner.vocab)}, most])


def features(module: Any, ids: Tensor, mask: Tensor, lengths: Sequence[int]) -> dict[str, Any]:
    """Return the input of such a module from ids and mask, int64 [rows, length], padded on the right."""
    count = torch.tensor(lengths, device=ids.device)
    if isinstance(module, StaticEmbedding):
        return {"input_ids": ids[mask.bool()], "offsets": count.cumsum(0) - count}
    if isinstance(module, WordEmbeddings):
        return {"input_ids": ids, "attention_mask": mask, "sentence_lengths": count}
    vectors = torch.zeros(len(ids), module.sentence_embedding_dimension, device=ids.device)
    weights = torch.tensor(module.weights, dtype=torch.float32, device=ids.device)
    row, flat = mask.bool().nonzero()[:, 0], ids[mask.bool()]
    vectors.index_put_((row, flat), weights[flat], accumulate=module.cumulative_term_frequency)
    return {"sentence_embedding": vectors}


def reads_words(module: Any) -> bool:
    """Return whether a model's first module is of these kinds."""
    return isinstance(module, (StaticEmbedding, WordEmbeddings, BoW))
