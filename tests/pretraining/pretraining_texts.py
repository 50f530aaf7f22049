"""Tokenizers of the three kinds, trained on a few lines, and texts as token stores for them."""

from typing import Any

import numpy as np

from ance_tele.data.tokens import TokenStore
from ance_tele.pretraining.batches import PassageBatches
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.masking import Vocabulary
from ance_tele.pretraining.words import PassageWords

LINES = [
    "tokenization of internationalization, misunderstandings and counterrevolutionaries",
    "the retriever ranks unbelievable passages; administrators misunderstand reconfiguration",
    "disestablishmentarianism is a word, and so is antidisestablishmentarianism",
] * 3


def tokenizer_of_kind(kind: str) -> Any:
    """Return a small tokenizer of transformers that cuts most words into pieces: "wordpiece", "bpe", "unigram"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    alphabet = sorted(set("".join(LINES)) - {" "})
    if kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=90, special_tokens=names))
    elif kind == "bpe":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=330, special_tokens=names, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        backend.train_from_iterator(LINES, trainer)
    else:
        backend = Tokenizer(models.Unigram())
        backend.pre_tokenizer = pre_tokenizers.Metaspace(split=kind == "unigram")
        trainer = trainers.UnigramTrainer(
            vocab_size=60, special_tokens=names, unk_token="[UNK]", initial_alphabet=alphabet
        )
        backend.train_from_iterator(LINES, trainer)
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def words_in(tokenizer: Any, texts: list[str]) -> tuple[Vocabulary, PassageWords]:
    """Return the vocabulary of a tokenizer, and texts as it cuts them."""
    vocabulary, framed = Vocabulary.of(tokenizer, "it"), [tokenizer(text) for text in texts]
    store = TokenStore.from_lists([one["input_ids"] for one in framed])
    word = [each for one in framed for each in one.word_ids()]
    return vocabulary, PassageWords(store, vocabulary.codes(store.flat.astype(np.int64), word))


def plain_batches(lengths: list[int], words: int = 90, **settings: Any) -> PassageBatches:
    """Return batches of passages of so many one-token words, whose ids tell apart places of a passage."""
    vocabulary = Vocabulary(4, 0, 2, 3, np.arange(5), np.arange(5, words), np.zeros(words, dtype=bool))
    rows = [[2, *(5 + (7 * row + np.arange(length)) % (words - 5)).tolist(), 3] for row, length in enumerate(lengths)]
    store = TokenStore.from_lists(rows)
    codes = np.where(np.isin(store.flat, [2, 3]), 0, 1).astype(np.uint8)
    config = PretrainingConfig(**{"report_to": ("none",), "train_precision": "float32", **settings})
    return PassageBatches(PassageWords(store, codes), vocabulary, config)
