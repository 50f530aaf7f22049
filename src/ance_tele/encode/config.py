"""Settings of the encoder."""

from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class EncoderConfig:
    """Settings of the encoder.

    Attributes:
        query_max_len: Most tokens of a query, special tokens included; those of a prompt come on top. None means what
            the model declares, prompt included.
        passage_max_len: Most tokens of a passage, likewise.
        query_prompt: Put before every query; None means the model's own prompt "query" (or "question"), if it has one.
        passage_prompt: Put before every passage; None means the model's own "document" (or "passage", "corpus"), if it
            has one.
        title_separator: Between title and body; " " leaves empty titles out, "[SEP]" (the paper's) never does. Where a
            tokenizer has no such token, its own separator takes the place; where it has none, a space does.
        pooling: Pooling of a plain Hugging Face encoder; None means mean, and the last token where it was saved from a
            causal decoder. A sentence-transformers model keeps its own.
        normalize: Scale vectors to length one; None means what the model declares. A plain encoder declares nothing
            and is taken as sentence-transformers takes it: normalised. The paper's encoders are not (false). A model
            that declares Euclidean or Manhattan distance needs one or the other: cosine (true), dot product (false).
        truncate_dim: Use only so many first numbers of each vector, in training too, and declare this in saved models
            (Matryoshka models); None means what the model declares.
        untie_encoders: Train separate encoders for queries and passages.
        passage_vectors: Vectors of a passage, those of its first tokens after a projection; the score is the largest
            product with the query's one vector (ME-BERT). A trained model keeps its own number.
        projection: Numbers of a vector, by a linear layer that is trained; None leaves vectors as the model has them.
        precision: Of encoding: "auto" is bf16 where the hardware is faster with it, float32 otherwise.
        encode_tokens: Most tokens, padding included, of one batch of encoding; a CPU takes at most 1,024 at a time.
        shard_passages: Passages in a shard of vectors, the unit of resume.
        trust_remote_code: Let a model run code of its own. Only for models that you trust.

    Example:
        >>> EncoderConfig(query_max_len=32, passage_max_len=128, title_separator="[SEP]").pooling is None
        True
    """

    query_max_len: Annotated[int | None, (3, 1 << 20)] = None
    passage_max_len: Annotated[int | None, (3, 1 << 20)] = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    title_separator: str = " "
    pooling: Literal["cls", "mean", "max", "lasttoken"] | None = None
    normalize: bool | None = None
    truncate_dim: Annotated[int | None, (1, 1 << 20)] = None
    untie_encoders: bool = False
    passage_vectors: Annotated[int, (1, 64)] = 1
    projection: Annotated[int | None, (1, 1 << 16)] = None
    precision: Literal["auto", "float32", "bf16"] = "auto"
    encode_tokens: Annotated[int, (1, 1 << 30)] = 32768
    shard_passages: Annotated[int, (1, 1 << 30)] = 65536
    trust_remote_code: bool = False
