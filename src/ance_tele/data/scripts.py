"""Segmentation by script: words where spaces separate them, characters elsewhere.

Chinese, Japanese, Thai, Lao, Khmer and Burmese have no spaces. A character is a grapheme cluster: a letter with its
marks.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

# Letters and ideographic numerals alone: digits stay whole numbers, in these scripts too. Script extensions only for
# kana (the prolonged sound mark is "common"): those of Thai hold the apostrophe U+02BC.
_LETTERS = r"[\p{L}\p{Nl}]"
_UNSPACED = r"\p{Han}\p{scx=Hira}\p{scx=Kana}\p{Bopomofo}"
_UNSPACED += r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}"
# Some vowel signs count as letters (Thai sara am), and half-width voicing marks too.
_MARKS = r"[[\p{M}\p{GCB=Extend}\p{GCB=SpacingMark}]--\p{C}]*"

UNSPACED = rf"[[{_UNSPACED}]&&{_LETTERS}]"
"""Pattern of a letter of a script without spaces, for the ``regex`` module, version 1."""

CHARACTER = UNSPACED + _MARKS
"""Pattern of a character of such a script, with its marks."""

# Korean has spaces, but joins particles to its words: as in Lucene, it is searched by its syllables too.
_PAIRED = rf"[[{_UNSPACED}\p{{Hangul}}]&&{_LETTERS}]{_MARKS}"

# A superset of these scripts that excludes most texts: a quick check.
_beyond = re.compile("[\u0e00-\u1dff\u2e80-\U0003ffff]").search


@lru_cache(maxsize=8)
def compiled(pattern: str) -> Any:
    """Compile a pattern (cached) with version 1 of ``regex``, which has Unicode properties."""
    import regex  # type: ignore[import-untyped]

    return regex.compile(pattern, regex.V1)


def may_lack_spaces(text: str) -> bool:
    """Return whether a text may contain Korean or a script without spaces; False is certain."""
    return not text.isascii() and _beyond(text) is not None


def characters_and_pairs(word: str) -> list[str]:
    """Split a run of letters and numbers at changes between scripts with and without spaces.

    Parts in scripts with spaces stay whole; of others, and of Korean, each character and each bigram is returned
    (Lucene's CJK analyzer returns bigrams only).
    """
    parts: list[str] = []
    for match in compiled(rf"(?P<run>(?:{_PAIRED})+)|(?:(?!{_PAIRED}).)+").finditer(word):
        if match["run"] is None:
            parts.append(match[0])
            continue
        characters = compiled(_PAIRED).findall(match[0])
        parts += characters
        parts += map("".join, pairwise(characters))
    return parts


def in_pairs(words: Sequence[str]) -> list[str]:
    """Replace characters of scripts without spaces by bigrams, which are more specific; keep other words."""
    if not any(map(may_lack_spaces, words)):
        return list(words)
    single = compiled(UNSPACED).match
    follow = [*words[1:], ""]
    return [one + after if single(one) and single(after) else one for one, after in zip(words, follow, strict=True)]
