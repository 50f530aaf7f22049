"""Texts of relevant lengths, cut from a collection's passages: the same for every competitor."""

import numpy as np

from ance_tele.data.collection import Collection

# Words of a text: mean and spread of a log-normal, least, most. MS MARCO's passages have some 70 tokens.
LENGTHS = {"short": (2.3, 0.3, 4, 20), "marco": (4.0, 0.4, 12, 110), "long": (7.0, 0.0, 1000, 1000)}


def cut_texts(collection: Collection, kind: str, count: int, seed: int = 0) -> list[str]:
    """Return distinct passages, each cut to a random number of words.

    Args:
        collection: Where they come from.
        kind: "short", "marco" or "long" (whole passages).
        count: How many, at most.
        seed: Of the choice and of the lengths.
    """
    rng = np.random.default_rng(seed)
    mean, spread, least, most = LENGTHS[kind]
    rows = rng.permutation(len(collection.corpus))[:count]
    words = np.clip(np.exp(rng.normal(mean, spread, len(rows))), least, most).astype(int)
    return [" ".join(collection.corpus[int(row)]["text"].split()[:most]) for row, most in zip(rows, words, strict=True)]
