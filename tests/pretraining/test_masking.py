"""Whole words are masked, by the tokenizer's own boundaries, whatever its kind; the draws are pure functions."""

import numpy as np
import pytest
from pretraining_texts import LINES, plain_batches, tokenizer_of_kind, words_in

from ance_tele.console.errors import UserError
from ance_tele.pretraining.batches import IGNORED, PassageBatches
from ance_tele.pretraining.config import PretrainingConfig
from ance_tele.pretraining.masking import MOST_PIECES, SPECIAL, Vocabulary, masked, words_of


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "unigram without words"])
def test_words_are_masked_whole_or_not_at_all(kind: str) -> None:
    """Also those of byte-level BPE and SentencePiece, where no piece has BERT's ``##``."""
    tokenizer = tokenizer_of_kind(kind)
    vocabulary, passages = words_in(tokenizer, LINES)
    batches = PassageBatches(passages, vocabulary, PretrainingConfig("mlm", mask_rate=0.4))
    cut = 0
    for row, line in enumerate(LINES[:3]):
        for epoch in range(8):
            labels = batches.collate(np.array([row]), epoch)["labels"][0].numpy()
            framed = tokenizer(line, return_offsets_mapping=True)
            # The reference goes by spaces and marks in the text: a piece after neither continues a word.
            spans = framed["offset_mapping"]
            pieces: list[list[int]] = []
            for place in range(1, len(spans) - 1):
                begin, end = spans[place]
                text = line[begin:end]
                joined = pieces and begin == spans[place - 1][1] and not text.startswith(" ") and text[:1].isalpha()
                if joined and line[begin - 1].isalpha():
                    pieces[-1].append(place)
                else:
                    pieces.append([place])
            for word in pieces:
                if len(word) > MOST_PIECES:
                    continue
                chosen = labels[word] != IGNORED
                cut += len(word) > 1 and bool(chosen.all())
                assert chosen.all() or not chosen.any() or _with_its_mark(line, spans, word), (kind, line, word)
    assert cut > 5


def _with_its_mark(line: str, spans: list[tuple[int, int]], word: list[int]) -> bool:
    """SentencePiece has no boundary between a word and the mark that follows it."""
    after = spans[word[-1]][1]
    return after < len(line) and not line[after].isspace()


def test_the_share_of_tokens_to_be_predicted() -> None:
    batches = plain_batches([100] * 200, objective="mlm", batch_passages=200)
    feature = batches(0)
    assert feature["masked"] == 200 * 15 and int((feature["labels"] != IGNORED).sum()) == 3000
    chosen = feature["labels"] != IGNORED
    hidden, right = feature["input_ids"][chosen], feature["labels"][chosen]
    shares = [float((hidden == 4).float().mean()), float((hidden == right).float().mean())]
    assert abs(shares[0] - 0.8) < 0.03 and abs(shares[1] - 0.1) < 0.03
    assert (hidden > 3).all(), "no special token but the mask takes a place"
    assert (feature["input_ids"][~chosen] == feature["original"][~chosen]).all()
    assert plain_batches([1], objective="mlm")(0)["masked"] == 1, "of the shortest text one word"


def test_special_and_unknown_tokens_are_never_masked() -> None:
    tokenizer = tokenizer_of_kind("wordpiece")
    vocabulary, passages = words_in(tokenizer, ["the [SEP] words ЖЖЖ [SEP] of and is a so"])
    batches = PassageBatches(passages, vocabulary, PretrainingConfig("mlm", mask_rate=1.0))
    feature = batches.collate(np.array([0]), 0)
    special = np.isin(feature["original"], [0, 1, 2, 3, 4])
    assert special[0, 1:-1].sum() == 3
    assert (feature["labels"].numpy()[special] == IGNORED).all()
    assert (feature["labels"].numpy()[~special] != IGNORED).all()


def test_masks_are_pure_functions_of_seed_epoch_and_passage() -> None:
    batches = plain_batches([30, 50, 20, 40], objective="mlm")
    rows = np.arange(4)
    together = batches.collate(rows, 3)
    order = np.argsort(-batches.sizes, kind="stable")
    for place, row in enumerate(order.tolist()):
        alone = batches.collate(np.array([row]), 3)
        for name in ("input_ids", "labels"):
            assert (alone[name][0] == together[name][place, : alone[name].shape[1]]).all()
    other = plain_batches([30, 50, 20, 40], objective="mlm", seed=7).collate(rows, 3)
    assert not (batches.collate(rows, 4)["labels"] == together["labels"]).all()
    assert not (other["labels"] == together["labels"]).all()


def test_a_long_run_of_pieces_is_no_word() -> None:
    """Text without spaces is not masked whole, nor left alone."""
    codes = np.array([1] + [2] * 39, dtype=np.uint8)
    offsets = np.array([0, 40])
    assert len(set(words_of(codes, offsets).tolist())) == 40
    draws = np.random.default_rng(0).integers(0, 1 << 62, 40).astype(np.uint64)
    assert masked(codes, offsets, draws, 0.15).sum() == 6


def test_a_word_that_exceeds_the_share_is_passed_over_but_the_only_one_is_taken() -> None:
    draws = np.arange(8, dtype=np.uint64)
    codes = np.array([1, 2, 2, 1, 1, 1, 1, 1], dtype=np.uint8)
    assert np.flatnonzero(masked(codes, np.array([0, 8]), draws, 0.25)).tolist() == [3, 4]
    assert masked(codes[:3], np.array([0, 3]), draws[:3], 0.15).all()
    empty = np.full(3, SPECIAL, dtype=np.uint8)
    assert not masked(empty, np.array([0, 0, 3]), draws[:3], 0.15).any()


def test_tokenizers_that_cannot_be_used_are_refused() -> None:
    tokenizer = tokenizer_of_kind("wordpiece")
    tokenizer.mask_token = None
    with pytest.raises(UserError, match="has no mask token"):
        Vocabulary.of(tokenizer, "it")
    from tokenizers import processors

    tokenizer = tokenizer_of_kind("wordpiece")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", special_tokens=[("[SEP]", 3)]
    )
    with pytest.raises(UserError, match="one special token before a text"):
        Vocabulary.of(tokenizer, "it")
