"""Language identification of a collection: by script and, where several languages share one, by frequent words.

Each text votes for the language with most frequent words in it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ance_tele.data.arrow import gather
from ance_tele.data.collection import Texts
from ance_tele.data.languages import LANGUAGES
from ance_tele.data.scripts import compiled

# Number of passages and of queries sampled, and characters read of each.
SAMPLE, BEGINNING = 1000, 1000
# Least share of the winner among frequent words, and of frequent words among all words.
MOST, LEAST = 2 / 3, 0.06
# A Chinese or Japanese character counts as three letters.
_DENSE = 3


@dataclass(frozen=True)
class Detected:
    """The language of a collection.

    Attributes:
        code: Of the language; "none" where none, or no single one, was recognised.
        shares: Share of the frequent words of each language with the same script, largest first.
    """

    code: str
    shares: dict[str, float] = field(default_factory=dict)

    def named(self, detected: bool = True) -> str:
        """Return the name of the language, with a note on whether it was detected or set."""
        if self.code != "none":
            return f"language {LANGUAGES[self.code].name} ({'detected' if detected else 'set'})"
        if not detected:
            return "no language (set)"
        if not self.shares:
            return "no language recognised"
        most = [f"{LANGUAGES[code].name} {share:.0%}" for code, share in list(self.shares.items())[:3]]
        return f"several languages ({', '.join(most)})"


def sample(texts: Texts) -> list[str]:
    """Return the beginnings of texts, titles first, sampled evenly."""
    rows = np.unique(np.linspace(0, len(texts) - 1, min(SAMPLE, len(texts))).astype(np.int64))
    columns = (gather(texts.table[name], rows) for name in ("title", "text"))
    return [" ".join(parts)[:BEGINNING] for parts in zip(*columns, strict=True)]


def detect(texts: Sequence[str]) -> Detected:
    """Identify the language of texts by script and frequent words."""
    letters = _letters(texts)
    if not letters:
        return Detected("none")
    script = max(letters, key=lambda name: letters[name])
    if script == "Han":
        return Detected("ja" if letters["kana"] > 0.05 * letters["Han"] else "zh")
    candidates = {code: one.frequent.split() for code, one in LANGUAGES.items() if one.script == script}
    return _vote(texts, candidates) if len(candidates) > 1 else Detected(next(iter(candidates)))


def _letters(texts: Iterable[str]) -> Counter[str]:
    """Count the letters of each script; kana count for "Han" too."""
    found: Counter[str] = Counter()
    for text in texts:
        found.update(text)
    scripts = list(dict.fromkeys(one.script for one in LANGUAGES.values()))
    groups = [rf"\p{{{name}}}" for name in scripts] + [r"[\p{Hiragana}\p{Katakana}]"]
    match = compiled("|".join(f"({group})" for group in groups)).match
    letters: Counter[str] = Counter()
    for character, count in found.items():
        if character.isalpha() and (of := match(character)):
            script = "kana" if of.lastindex > len(scripts) else scripts[of.lastindex - 1]
            letters["Han" if script == "kana" else script] += count * (_DENSE if script in ("Han", "kana") else 1)
            if script == "kana":
                letters[script] += count * _DENSE
    return letters


def _vote(texts: Sequence[str], candidates: Mapping[str, Sequence[str]]) -> Detected:
    """Return the language with most votes; a text with a tie does not vote."""
    owners: dict[str, list[str]] = {}
    for code, frequent in candidates.items():
        for word in frequent:
            owners.setdefault(word, []).append(code)
    # Not the letters of "w22", an identifier: "w" is a frequent word of Polish.
    split, words, won = compiled(r"(?<![\p{L}\p{M}\p{N}])[\p{L}\p{M}]+(?![\p{L}\p{M}\p{N}])").findall, 0, Counter[str]()
    for text in texts:
        held = split(text.lower())
        words += len(held)
        hits = Counter(code for word in held for code in owners.get(word, ()))
        (best, most), (_, second) = (*hits.most_common(2), ("", 0), ("", 0))[:2]
        if most > second:
            won[best] += most
    counted = won.total()
    if counted < LEAST * words or not counted:
        return Detected("none")
    shares = {code: count / counted for code, count in sorted(won.items(), key=lambda item: (-item[1], item[0]))}
    first = next(iter(shares))
    return Detected(first if shares[first] >= MOST else "none", shares)
