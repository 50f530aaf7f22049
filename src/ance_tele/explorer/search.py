"""Ask a trained run one question."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Texts
from ance_tele.data.load import cache_folder
from ance_tele.data.tokens import TokenStore
from ance_tele.encode.config import EncoderConfig
from ance_tele.runs.folder import open_run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from ance_tele.encode.vectors import Vectors


@dataclass(frozen=True)
class Hit:
    """A passage found: its rank from 1, its score, its id, title and text."""

    rank: int
    score: float
    id: str
    title: str
    text: str


def search_run(run: str | Path, words: str, k: int = 10, data: str | Path | None = None) -> list[Hit]:
    """Search the corpus of a run with its last model; the corpus is encoded first where that was not kept.

    Args:
        run: A run folder.
        words: The query.
        k: How many passages.
        data: Where the collection lies now, if it was moved.

    Raises:
        UserError: This is no run folder, or its data is gone or has changed.
    """
    run = Path(run)
    check_question(words, k)
    opened = open_run(run, data)
    chosen, collection = opened.recipe, opened.collection
    if opened.model is None:
        raise UserError(f"{run} is a run without a model (recipe '{chosen.name}'); there is nothing to search with.")

    from ance_tele.runs.phases import Phases  # loads torch

    phases = Phases(chosen, collection, opened.model, run, cache_folder(), opened.review)
    last = max(number for number in range(chosen.episode.episodes + 1) if number == 0 or phases.trained(number))
    with phases.explained(last):
        return ask(phases.load(last), phases.vectors(last), collection.corpus, chosen.encoder, words, k)


def check_question(words: str, k: int) -> None:
    """Refuse a question that cannot be asked.

    Raises:
        UserError: There are no words, or no passage is asked for.
    """
    if not words.strip():
        raise UserError("The query is empty; give some words to search for.")
    if k < 1:
        raise UserError(f"k is {k}; it must be at least 1.")


def ask(
    model: "SentenceTransformer", vectors: "Vectors", corpus: Texts, config: EncoderConfig, words: str, k: int
) -> list[Hit]:
    """Return the k best passages for one question, best first: exact, ties by id.

    Args:
        model: What encoded the corpus.
        vectors: Of the corpus, in its order.
        corpus: The passages.
        config: How texts become vectors.
        words: The query.
        k: How many passages; all of them where the corpus is smaller.
    """
    from ance_tele.encode.encoder import text_format, tokenizer_of  # loads torch
    from ance_tele.encode.rows import encode_rows
    from ance_tele.search.topk import exact_topk

    form = text_format(model, config, "query")
    ids = tokenizer_of(model, "query")(form.render([""], [words]), truncation=True, max_length=form.max_length)
    asked = encode_rows(model, TokenStore.from_lists(ids["input_ids"]), np.array([0]), "query", config)
    found = exact_topk(asked, vectors, k, corpus.id_rank)
    passages = [corpus[int(row)] for row in found.rows[0]]
    return [
        Hit(rank, float(score), passage["id"], passage["title"], passage["text"])
        for rank, (score, passage) in enumerate(zip(found.scores[0], passages, strict=True), 1)
    ]
