"""Similarity, prompts and lengths in use: as a model declares them, unless the settings override it.

Functions of values alone, for a model in memory and for the declarations in its folder.
"""

from collections.abc import Mapping
from typing import Literal

from ance_tele.console.errors import UserError
from ance_tele.encode.config import EncoderConfig

Task = Literal["query", "document"]

TEXTS: dict[Task, Literal["queries", "passages"]] = {"query": "queries", "document": "passages"}
SETTINGS: dict[Task, str] = {"query": "query_max_len", "document": "passage_max_len"}

# Names of prompts, in order of precedence. encode_query and encode_document of sentence-transformers read the first
# one, which every model has, even if empty.
PROMPTS: dict[Task, tuple[str, ...]] = {"query": ("query", "question"), "document": ("document", "passage", "corpus")}

# Names of lengths in a transformer's settings.
LENGTHS = ("max_seq_length", "query_length", "document_length")

# Libraries write at least this for no limit.
NO_LENGTH = 1 << 20

# Of a model without limit, so that one long document does not exhaust the memory.
UNDECLARED = 512


def used_similarity(declared: str | None, normal: bool, config: EncoderConfig) -> str | None:
    """Return the similarity in use; ``normal`` says whether the model scales its vectors to length one."""
    if config.normalize:
        return "cosine"
    if config.normalize is False and not (normal and declared == "cosine"):
        return "dot"
    return declared


def prompt_names(prompts: Mapping[str, str], default: str | None) -> dict[Task, str | None]:
    """Return under which of its names a model declares the prompt of each task; None where it declares none."""
    found = {task: next((name for name in names if prompts.get(name)), None) for task, names in PROMPTS.items()}
    if default is not None and prompts.get(default) and not any(found.values()):
        return {"query": default, "document": default}
    return found


def used_prompts(prompts: Mapping[str, str], default: str | None, config: EncoderConfig) -> dict[Task, str]:
    """Return the prompts of queries and passages, configured or declared, "" for none."""
    configured: dict[Task, str | None] = {"query": config.query_prompt, "document": config.passage_prompt}
    used = dict[Task, str]()
    for task, name in prompt_names(prompts, default).items():
        declared = "" if name is None else prompts[name]
        chosen = configured[task]
        used[task] = declared if chosen is None else chosen
    return used


def set_length(config: EncoderConfig, task: Task) -> int | None:
    """Return the configured length; None for that of the model."""
    return config.query_max_len if task == "query" else config.passage_max_len


def used_length(
    task: Task, config: EncoderConfig, declared: int | None, most: int | None, prompted: int, special: int
) -> int:
    """Return the maximum tokens read of a text of this task, prompt and special tokens included.

    The prompt comes on top of a configured length; a declared length includes it, as in sentence-transformers.

    Args:
        task: Of the text.
        config: The configured lengths.
        declared: What the model declares; None for no limit.
        most: Positions of the model; None without limit.
        prompted: Tokens of the prompt.
        special: Special tokens of every text.

    Raises:
        UserError: The model cannot read as many, or the prompt leaves no token for the text.
    """
    setting = set_length(config, task)
    if setting is not None and most is not None and setting > most:
        raise UserError(f"The model reads at most {most} tokens, and {setting} are asked for; lower the max_len.")
    length = setting + prompted if setting is not None else declared or UNDECLARED
    length = min(length, most or length)
    if length - prompted - special < 1:
        raise UserError(
            f"The prompt of {TEXTS[task]} takes {prompted} of the {length} tokens that are read of a text and leaves "
            f"none for the text; raise {SETTINGS[task]}, or give a shorter prompt."
        )
    return length
