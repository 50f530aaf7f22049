"""Blocks to passages of bounded size: at paragraphs; only what is larger than a passage is cut, as late as possible."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias

from ance_tele.data.documents.blocks import Block
from ance_tele.data.scripts import CHARACTER, compiled, may_lack_spaces

Sizes: TypeAlias = Callable[[list[str]], list[int]]
"""Texts to their sizes, in words or in the tokens of a model."""

_SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_SPACES = re.compile(r"\s+")
_LINES = re.compile(r"\n")


def words_in(texts: list[str]) -> list[int]:
    """Return the number of words of texts; of scripts without spaces each character is one.

    >>> words_in(["two words", "東京 is", ""])
    [2, 3, 0]
    """
    pattern = compiled(rf"{CHARACTER}|(?:(?!{CHARACTER})\S)+")
    return [len(pattern.findall(text)) if may_lack_spaces(text) else len(text.split()) for text in texts]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, roughly: an abbreviation ends one, too.

    >>> sentences("One. Two? 三。四")
    ['One.', 'Two?', '三。', '四']
    """
    return [part for part in _SENTENCES.split(text) if part]


def pack(blocks: Sequence[Block], room: int, sizes: Sizes) -> Iterator[str]:
    """Yield texts of at most ``room``, which hold the blocks in their order.

    A block that fits is never cut. One that does not is cut between sentences (code, tables: lines), then words, and a
    word that does not fit between characters.

    Example:
        >>> blocks = [Block("text", "One two. Three four."), Block("code", "x = 1"), Block("text", "Five")]
        >>> list(pack(blocks, 6, words_in))
        ['One two. Three four.', 'x = 1\\n\\nFive']
        >>> list(pack(blocks, 3, words_in))
        ['One two.', 'Three four.', 'x = 1', 'Five']
    """
    units: list[tuple[str, str]] = []
    for block, size in zip(blocks, sizes([block.text for block in blocks]), strict=True):
        join = "\n" if block.kind == "item" and units else "\n\n"
        if size <= room:
            units.append((join, block.text))
        else:
            lines = block.kind in ("code", "table")
            for place, part in enumerate(_cut(block.text, room, sizes, 0 if lines else 1)):
                units.append((("\n" if lines else " ") if place else join, part))
    yield from _fill(units, room, sizes)


def _cut(text: str, room: int, sizes: Sizes, depth: int) -> Iterator[str]:
    """Yield the parts of a text that does not fit: of lines (depth 0), sentences (1), words (2) or characters (3)."""
    if depth == 3:
        yield from _cut_word(text, room, sizes)
        return
    parts = [part for part in (_LINES, _SENTENCES, _SPACES)[depth].split(text) if part.strip()]
    joins = ("\n", " ", " ")[depth]
    units: list[tuple[str, str]] = []
    for part, size in zip(parts, sizes(parts), strict=True):
        if size <= room:
            units.append((joins, part))
            continue
        yield from _fill(units, room, sizes)
        units = []
        yield from _cut(part, room, sizes, 2 if depth == 0 else depth + 1)
    yield from _fill(units, room, sizes)


def _cut_word(word: str, room: int, sizes: Sizes) -> Iterator[str]:
    """Yield the parts of a word that is larger than a passage, such as an encoded image; a character always fits."""
    step = max(1, room)
    while word:
        length = min(step, len(word))
        while length > 1 and sizes([word[:length]])[0] > room:
            length //= 2
        yield word[:length]
        word = word[length:]


def _fill(units: Sequence[tuple[str, str]], room: int, sizes: Sizes) -> Iterator[str]:
    """Yield as many units (what joins it to the one before, and a text) together as fit; each alone does."""
    total = [0, *accumulate(sizes([text for _, text in units]))]
    start = 0
    while start < len(units):
        end = max(start + 1, bisect_right(total, total[start] + room) - 1)
        while end > start + 1 and sizes([_joined(units[start:end])])[0] > room:  # joined they may have more tokens
            end -= 1
        yield _joined(units[start:end])
        start = end


def _joined(units: Sequence[tuple[str, str]]) -> str:
    return units[0][1] + "".join(f"{join}{text}" for join, text in units[1:])
