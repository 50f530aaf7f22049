"""The prompt of a collection whose training queries have one instruction."""

import logging
from dataclasses import replace

import pyarrow as pa

from ance_tele.data.collection import Collection
from ance_tele.encode.config import EncoderConfig

log = logging.getLogger(__name__)


def with_common_prompt(config: EncoderConfig, collection: Collection) -> EncoderConfig:
    """Return a configuration whose query prompt is the common instruction of all training queries, if there is one.

    It becomes the prompt of the trained model. A configured prompt is kept.
    """
    prompts = getattr(collection.queries, "prompts", None)
    if prompts is None or config.query_prompt is not None or "train" not in collection.qrels:
        return config
    distinct = prompts.take(pa.array(collection.qrels["train"].queries)).fill_null("").unique().to_pylist()
    if len(distinct) != 1 or not distinct[0]:
        return config
    log.info(f"all training queries have one instruction ({distinct[0]!r}): it is the model's prompt for queries")
    return replace(config, query_prompt=distinct[0])
