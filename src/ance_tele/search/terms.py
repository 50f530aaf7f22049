"""The terms of BM25: stemmed words without stop words; in scripts without spaces, characters and bigrams."""

import re
import sys
import unicodedata
from typing import Any

from ance_tele.data.languages import LANGUAGES, UNSPACED_SCRIPTS
from ance_tele.data.scripts import characters_and_pairs, compiled, may_lack_spaces

# Incremented with every change of the terms, so that artefacts are made anew.
VERSION = 2

# Scripts with characters and bigrams as terms, without stemmer and stop words.
_BY_CHARACTER = (*UNSPACED_SCRIPTS, "Hangul")


class Terms(dict[str, str]):
    """Splits texts of one language into terms; a dictionary that caches the term of each word ("": none).

    A word is a run of letters, numbers, marks (vowel signs, accents) and underscores; one letter is a word too. It is
    taken in Unicode's form NFKC and in lower case. A single capital letter is never a stop word: "vitamin A" is not
    "a vitamin".

    Args:
        language: A code of :data:`ance_tele.data.languages.LANGUAGES`; "none" leaves words as they are.
    """

    def __init__(self, language: str) -> None:
        super().__init__()
        import Stemmer

        self.language = language
        # The soft hyphen and the joiners of Indian and Persian script lie within words. For ASCII the standard library
        # finds the same, faster.
        self._split, self._split_ascii = compiled(r"[\w\p{N}\u00AD]+").findall, re.compile(r"\w+", re.ASCII).findall
        self._stop, self._stem = stop_words(language), None
        algorithm = stemmer(language)
        if algorithm is not None:
            # Without its cache, which would cost most of the time: words are cached here.
            self._stem = Stemmer.Stemmer(algorithm, 0).stemWord

    def of(self, text: str) -> list[str]:
        """Return the terms of a text in their order; in scripts without spaces, pairs follow characters."""
        words = self._split_ascii(text) if text.isascii() else self._split(text)
        if may_lack_spaces(text):
            words = [part for word in words for part in characters_and_pairs(unicodedata.normalize("NFKC", word))]
        return list(filter(None, map(self.__getitem__, words)))

    def __missing__(self, word: str) -> str:
        """Compute the term of a new word."""
        plain = word
        if not word.isascii():
            letters = "".join(one for one in word if unicodedata.category(one) != "Cf")
            plain = unicodedata.normalize("NFKC", letters)
        self[word] = term = self._term(plain)
        return term

    def _term(self, word: str) -> str:
        if not (word.isalnum() or any(map(str.isalnum, word))):
            return ""
        if self.language == "tr":  # dotted and dotless i
            word = word.replace("İ", "i").replace("I", "ı")
        lower = word.lower()
        if lower in self._stop and not (len(word) == 1 and word.isupper()):
            return ""
        return self._stem(lower) if self._stem else lower


def stemmer(language: str) -> str | None:
    """Return the name of the Snowball stemmer of a language; None where there is none."""
    import Stemmer

    algorithm = LANGUAGES[language].stemmer if language in LANGUAGES else None
    return algorithm if algorithm in Stemmer.algorithms() else None  # older releases have fewer


def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language in bm25s; none for character terms."""
    if language not in LANGUAGES or LANGUAGES[language].script in _BY_CHARACTER:
        return frozenset()
    name = "EN" if language == "en" else LANGUAGES[language].name.upper()
    return frozenset(getattr(import_bm25s().stopwords, f"STOPWORDS_{name}", ()))


def describe(language: str) -> str:
    """Describe the terms of a language in a few words."""
    if language in LANGUAGES and LANGUAGES[language].script in _BY_CHARACTER:
        return "characters and their pairs"
    helps = ["stemmer"] * (stemmer(language) is not None) + ["stop words"] * bool(stop_words(language))
    return f"its {' and '.join(helps)}" if helps else "words as they are"


def import_bm25s() -> Any:
    """Import bm25s without JAX, which would reserve three quarters of a GPU."""
    hidden = "jax" not in sys.modules
    if hidden:
        sys.modules["jax"] = None  # type: ignore[assignment]
    try:
        import bm25s
    finally:
        if hidden:
            del sys.modules["jax"]
    return bm25s
