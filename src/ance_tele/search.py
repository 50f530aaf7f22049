"""Ask a trained run one question."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ance_tele.data.artefacts import Say, silent
from ance_tele.data.errors import UserError
from ance_tele.data.load import cache_folder
from ance_tele.data.tokens import TokenStore
from ance_tele.runfolder import open_run


@dataclass(frozen=True)
class Hit:
    """A passage found: its rank from 1, its score, its id, title and text."""

    rank: int
    score: float
    id: str
    title: str
    text: str


def search_run(
    run: str | Path, words: str, k: int = 10, data: str | Path | None = None, say: Say = silent
) -> list[Hit]:
    """Search the corpus of a run with its last model; the corpus is encoded first where that was not kept.

    Args:
        run: A run folder.
        words: The query.
        k: How many passages.
        data: Where the collection lies now, if it was moved.
        say: Gets one line if the corpus must be encoded.

    Raises:
        UserError: This is no run folder, or its data is gone or has changed.
    """
    run = Path(run)
    if not words.strip():
        raise UserError("The query is empty; give some words to search for.")
    if k < 1:
        raise UserError(f"k is {k}; it must be at least 1.")
    opened = open_run(run, data, say)
    chosen, collection = opened.recipe, opened.collection
    if opened.model is None:
        raise UserError(f"{run} is a run without a model (recipe '{chosen.name}'); there is nothing to search with.")

    from ance_tele.encode.encoder import encode_rows, text_format, tokenizer_of  # loads torch
    from ance_tele.encode.topk import exact_topk
    from ance_tele.phases import Phases

    phases = Phases(chosen, collection, opened.model, run, cache_folder(), say, opened.review)
    last = max(number for number in range(chosen.episode.episodes + 1) if number == 0 or phases.trained(number))
    model = phases.load(last)
    vectors = phases.vectors(last)
    form = text_format(model, chosen.encoder, "query")
    ids = tokenizer_of(model, "query")(form.render([""], [words]), truncation=True, max_length=form.max_length)
    asked = encode_rows(model, TokenStore.from_lists(ids["input_ids"]), np.array([0]), "query", chosen.encoder)
    found = exact_topk(asked, vectors, k, collection.corpus.id_rank)
    passages = [collection.corpus[int(row)] for row in found.rows[0]]
    return [
        Hit(rank, float(score), passage["id"], passage["title"], passage["text"])
        for rank, (score, passage) in enumerate(zip(found.scores[0], passages, strict=True), 1)
    ]
