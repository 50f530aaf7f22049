"""Answer match: does a passage contain an answer? The token match of DPR, for one text or for millions of pairs.

A passage matches if the tokens of some answer occur in it consecutively (Karpukhin et al. 2020; ``has_answer`` and
``SimpleTokenizer`` of facebookresearch/DPR), with two differences: an answer without tokens matches no passage instead
of every one; and each character of Chinese, Japanese, Thai, Lao, Khmer and Burmese is a token, where DPR's tokenizer
makes a whole clause one token and so never matches.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from ance_tele.console.progress import progress
from ance_tele.data.arrow import gather
from ance_tele.data.collection import Texts
from ance_tele.data.ragged import blocks
from ance_tele.data.scripts import CHARACTER, UNSPACED, compiled, may_lack_spaces

# Pairs matched at a time: bounds the memory for texts to about 0.2 GB of passages of 100 words.
PAIRS_PER_BLOCK = 1 << 16


def words(text: str) -> list[str]:
    """Return the tokens of a text, lower-cased.

    A token is a run of letters, numbers and marks (accents split off by NFD), or any other single character but
    separators and control characters. In scripts without spaces each letter, with its marks, is a token.
    """
    plain = unicodedata.normalize("NFD", text)
    tokens = _UNSPACED if may_lack_spaces(plain) else _SPACED
    # Each token by itself, as DPR does: in Greek, the lower case of a letter depends on what follows it.
    return [word.lower() for word in compiled(tokens).findall(plain)]


_SPACED = r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]"
_UNSPACED = rf"{CHARACTER}|[[\p{{L}}\p{{N}}\p{{M}}]--{UNSPACED}]+|[^\p{{Z}}\p{{C}}]"


def has_answer(text: str, answers: Sequence[str]) -> bool:
    """Return whether the tokens of any answer occur consecutively in a text.

    Source: ``has_answers`` of DPR (Karpukhin et al. 2020): NFD, lower case, a contiguous sequence of tokens.

    Example:
        >>> has_answer("Paris is the capital of France.", ["paris"]), has_answer("Parisians", ["Paris"])
        (True, False)
    """
    spaced = _spaced(text)
    return any(pattern in spaced for pattern in _patterns(answers))


def _spaced(text: str) -> str:
    """Return the tokens joined by spaces, with one at each end, so that a match is a substring."""
    return f" {' '.join(words(text))} "


def _patterns(answers: Sequence[str]) -> list[str]:
    return [spaced for answer in answers if (spaced := _spaced(answer)).strip()]


def match_answers(
    offsets: np.ndarray, passages: np.ndarray, answers: Sequence[Sequence[str]], corpus: Texts
) -> np.ndarray:
    """Return which passages contain an answer of their query in their text (not in their title), bool [n].

    Equivalent to :func:`has_answer` on every pair; tokenises a passage once per block of queries, and only if it
    contains all tokens of an answer as substrings. The passages of query i, rows of the corpus, are
    ``offsets[i]:offsets[i + 1]``.
    """
    if len(answers) != len(offsets) - 1:
        raise ValueError(f"answers are for {len(answers)} queries, offsets for {len(offsets) - 1}: give one list each.")
    matched = np.zeros(len(passages), dtype=bool)
    with progress("matching answers", len(passages), "passages") as advance:
        for start, stop in blocks(offsets, PAIRS_PER_BLOCK):
            part = slice(offsets[start], offsets[stop])
            patterns = [_patterns(answers[query]) for query in range(start, stop)]
            matched[part] = _match(offsets[start : stop + 1] - offsets[start], passages[part], patterns, corpus)
            advance(part.stop - part.start)
    return matched


def _match(offsets: np.ndarray, passages: np.ndarray, patterns: list[list[str]], corpus: Texts) -> np.ndarray:
    answered = np.repeat([bool(some) for some in patterns], np.diff(offsets))
    rows = np.unique(passages[answered])
    texts = gather(corpus.table["text"], rows)
    loose = [_loose(text) for text in texts]
    spaced: dict[int, str] = {}
    places = np.searchsorted(rows, passages).tolist()
    matched = np.zeros(len(passages), dtype=bool)
    for query, some in enumerate(patterns):
        parts = [sorted({_loose(token) for token in pattern.split()}, key=len, reverse=True) for pattern in some]
        needles = {tokens[0] for tokens in parts}
        for index in range(offsets[query], offsets[query + 1]) if some else ():
            place = places[index]
            if not any(needle in loose[place] for needle in needles):
                continue
            if not any(all(token in loose[place] for token in tokens) for tokens in parts):
                continue
            if place not in spaced:
                spaced[place] = _spaced(texts[place])
            matched[index] = any(pattern in spaced[place] for pattern in some)
    return matched


def _loose(text: str) -> str:
    """Fold a text so that it holds every token of :func:`words`, folded likewise, as a substring."""
    # The final sigma is the one letter whose lower case depends on its neighbours.
    return unicodedata.normalize("NFD", text).lower().replace("ς", "σ")
