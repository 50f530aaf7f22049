"""The sizes of passages in tokens of a model, to cut documents by."""

from collections.abc import Callable
from pathlib import Path

from ance_tele.data.text_format import batch_tokenizer
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import text_format, tokenizer_of
from ance_tele.encode.loading import load_model


def passage_sizes(model: str | Path) -> tuple[Callable[[list[str]], list[int]], int]:
    """Return a function from texts to their tokens, and how many tokens of a passage the model reads.

    Special tokens and the prompt of passages are in neither.

    Example:
        >>> sizes, longest = passage_sizes("my-model")
        >>> sizes(["t1 u7", ""]), longest
        ([2, 0], 126)
    """
    config = EncoderConfig()
    loaded = load_model(model, config, "cpu")
    form, tokenizer = text_format(loaded, config, "document"), tokenizer_of(loaded, "document")
    cut = batch_tokenizer(tokenizer, form.max_length)
    around = int(cut([form.prompt])[1][0])

    def sizes(texts: list[str]) -> list[int]:
        return [max(0, int(length) - around) for length in cut([f"{form.prompt}{text}" for text in texts])[1]]

    return sizes, form.max_length - around
