"""The zoo's small collection, and its figures by sentence-transformers alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PASSAGES = 20


def texts() -> tuple[list[str], dict[str, list[str]], dict[str, list[int]]]:
    """Return passages, and by split the queries and the passage that each has; their lengths differ much."""
    rng = np.random.default_rng(11)
    passages = []
    for number in range(PASSAGES):
        others = [f"w{rng.integers(40)}" for _ in range(rng.integers(2, 24))]
        passages.append(" ".join(rng.permutation([f"t{number % 12}", f"u{number}", *others])))
    queries, relevant = {}, {}
    for split, count in (("train", 16), ("test", 10)):
        chosen = rng.choice(PASSAGES, count, replace=False).tolist()
        relevant[split] = chosen
        queries[split] = [
            " ".join([f"t{one % 12}", f"u{one}", *(f"w{rng.integers(40)}" for _ in range(rng.integers(1, 8)))])
            for one in chosen
        ]
    return passages, queries, relevant


def collection() -> Any:
    """Return the same as our own collection."""
    from ance_tele.data.load import collection_from_dicts

    passages, queries, relevant = texts()
    return collection_from_dicts(
        {f"d{number:02d}": text for number, text in enumerate(passages)},
        {f"{split}-{i:02d}": text for split, rows in queries.items() for i, text in enumerate(rows)},
        {
            split: {f"{split}-{i:02d}": {f"d{one:02d}": 1} for i, one in enumerate(rows)}
            for split, rows in relevant.items()
        },
    )


def figures_alone(
    folder: Path, prepare: Callable[[Any], None] = lambda model: None
) -> tuple[dict[str, float], np.ndarray]:
    """Return MRR@10 and nDCG@10 of the test split, and passage vectors, by sentence-transformers and numpy alone."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    prepare(model)
    passages, queries, relevant = texts()
    # One text at a time: no vector can depend on who shares its batch.
    asked = model.encode_query(queries["test"], batch_size=1, convert_to_tensor=True)
    found = model.encode_document(passages, batch_size=1, convert_to_tensor=True)
    scores = model.similarity(asked, found).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    rank = 1 + (order == np.array(relevant["test"])[:, None]).argmax(1)
    inside = rank <= 10
    figures = {
        "MRR@10": float(np.where(inside, 1 / rank, 0).mean()),
        "nDCG@10": float(np.where(inside, 1 / np.log2(rank + 1), 0).mean()),
    }
    return figures, found.numpy()
