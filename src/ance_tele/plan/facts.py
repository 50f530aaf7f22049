"""Facts for defaults, from a collection and the small files of a model, without torch or weights."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection, Texts
from ance_tele.plan.defaults import Facts, Kind
from ance_tele.settings import Recipe
from ance_tele.store.files import json_or_none

# Texts sampled evenly for a percentile of lengths.
SAMPLE = 500
# Bytes of UTF-8 per token, for estimates without a tokenizer.
BYTES_A_TOKEN = 4
# RoBERTa's positions start after the padding token's, so that two of the declared ones are unused.
_OFFSET = ("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "mpnet")

# Returns the path of a file of a model by its relative name; None without.
Find = Callable[[str], Path | None]


class AtHand:
    """A collection and the model to be trained on it; tokens are counted once.

    Args:
        collection: Its training queries and its texts.
        model: Folder or hub name; None where there is no model.
        download: Fetch the small files of a model of the hub; without it only those in the local cache are read.
    """

    def __init__(self, collection: Collection, model: str | Path | None, download: bool = True) -> None:
        self.collection, self.files = collection, ModelFiles(model_files(model, download))

    def facts(self, recipe: Recipe) -> Facts:
        """Return the facts; ``recipe`` decides the training queries."""
        return Facts(
            queries=training_queries(self.collection, recipe),
            passages=len(self.collection.corpus),
            query_tokens=percentile(self._lengths[0], 99),
            passage_tokens=percentile(self._lengths[1], 95),
            kind=self.files.kind,
            width=self.files.width,
            query_most=self.files.most_tokens("query"),
            passage_most=self.files.most_tokens("document"),
        )

    def means(self, recipe: Recipe) -> dict[str, Any]:
        """Return the mean tokens of a query and a passage, each cut where a recipe cuts it; {} without texts."""
        both = (
            ("query_tokens", self._lengths[0], recipe.encoder.query_max_len),
            ("passage_tokens", self._lengths[1], recipe.encoder.passage_max_len),
        )
        return {
            name: round(float(np.minimum(lengths, most or lengths).mean()), 1)
            for name, lengths, most in both
            if len(lengths)
        }

    @cached_property
    def _lengths(self) -> tuple[list[int], list[int]]:
        count = self.files.counter()
        return sampled(self.collection.queries, count), sampled(self.collection.corpus, count)


def training_queries(collection: Collection, recipe: Recipe) -> int:
    """Count the queries that a run of this recipe trains on; those that a review adds are not counted."""
    if "train" not in collection.qrels:
        return 0
    split = collection.split("train")
    queries = split.relevant(recipe.mining.positive_level).queries
    if recipe.mining.without_positive != "drop":
        queries = np.union1d(queries, np.intersect1d(split.queries, collection.answers.queries))
    return min(len(queries), recipe.episode.max_train_queries or len(queries))


def percentile(lengths: Sequence[int], share: float) -> int:
    """Return the length that ``share`` percent of the texts do not exceed; 0 without texts."""
    return int(np.percentile(lengths, share, method="higher")) if lengths else 0


def sampled(texts: Texts, count: Callable[[list[str]], list[int]]) -> list[int]:
    """Return the lengths of an even sample of texts, in tokens."""
    if not len(texts):
        return []
    rows = np.unique(np.linspace(0, len(texts) - 1, SAMPLE).round().astype(np.int64))
    return [
        length
        for titles, bodies in texts.batches(rows, expanded=True)
        for length in count([f"{title} {body}" if title else body for title, body in zip(titles, bodies, strict=True)])
    ]


class ModelFiles:
    """Facts about a model, read from its configuration files.

    Attributes:
        folders: Of its modules, relative to its own; [""] where it is not of sentence-transformers.
        types: Classes of its modules.
    """

    def __init__(self, find: Find) -> None:
        self.find = find
        listed = [one for one in json_or_none(find("modules.json"), list) or () if isinstance(one, dict)]
        parts = {str(one.get("path", "")): str(one.get("type", "")) for one in listed}
        routers = (json_or_none(find(_inside(path, "router_config.json")), dict) for path in parts)
        types = next(filter(None, routers), {}).get("types")
        parts |= {str(path): str(kind) for path, kind in (types if isinstance(types, dict) else {}).items()}
        self.folders = [*parts] or [""]
        self.types = {kind.rpartition(".")[2] for kind in parts.values()}

    @property
    def kind(self) -> Kind:
        """Its kind, as far as it matters to training."""
        if self.types & {"StaticEmbedding", "WordEmbeddings", "BoW"} and "Transformer" not in self.types:
            return "static"
        if any(self.find(_inside(folder, "adapter_config.json")) for folder in self.folders):
            return "adapter"
        return "retriever" if self.types else "encoder"

    @property
    def width(self) -> int:
        """Its hidden size; 0 if not declared."""
        names = ("hidden_size", "dim", "d_model", "n_embd")
        found = (config.get(name) for config in self._configs() for name in names)
        return next((width for width in found if isinstance(width, int) and width > 0), 0)

    def most_tokens(self, task: Literal["query", "document"]) -> int | None:
        """Return its maximum length, as declared and by its positions; None without limit."""
        if self.kind == "static":
            return None
        limits = [
            one.get(f"{task}_length") or one.get("max_seq_length") for one in self._all("sentence_bert_config.json")
        ]
        if not any(limits):
            limits = [one.get("model_max_length") for one in self._all("tokenizer_config.json")]
        for config in self._configs():
            positions = config.get("max_position_embeddings", config.get("n_positions"))
            if isinstance(positions, int) and positions > 0:
                limits.append(positions - 2 if str(config.get("model_type")) in _OFFSET else positions)
        # Below 3 it means no limit, and so do the huge numbers that tokenizers declare.
        return min((limit for limit in limits if isinstance(limit, int) and 2 < limit < 1 << 20), default=None)

    def counter(self) -> Callable[[list[str]], list[int]]:
        """Return a function that counts tokens with special tokens; without a tokenizer, it estimates by bytes."""
        path = next(filter(None, (self.find(_inside(folder, "tokenizer.json")) for folder in self.folders)), None)
        if path is None:
            return lambda texts: [2 + -(-len(text.encode()) // BYTES_A_TOKEN) for text in texts]
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            why = " ".join(str(error).split())
            raise UserError(f"{path} is no tokenizer ({why:.200}); put the model's own there.") from None
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]

    def _configs(self) -> Iterator[dict[str, Any]]:
        """Yield its configurations; of a multimodal model, that of the text part first."""
        for config in self._all("config.json"):
            text = config.get("text_config")
            yield from (text, config) if isinstance(text, dict) else (config,)

    def _all(self, name: str) -> Iterator[dict[str, Any]]:
        for folder in self.folders:
            found = json_or_none(self.find(_inside(folder, name)), dict)
            if found is not None:
                yield found


def model_files(model: str | Path | None, download: bool = True) -> Find:
    """Return a function that finds the files of a model in its folder or on the hub."""
    if model is None:
        return lambda name: None
    if Path(model).exists():
        return lambda name: path if _inside_folder(name) and (path := Path(model) / name).is_file() else None

    unreachable = False

    def find(name: str) -> Path | None:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        nonlocal unreachable
        try:
            cached = try_to_load_from_cache(str(model), name)
            if isinstance(cached, str):
                return Path(cached)
            return Path(hf_hub_download(str(model), name)) if download and not unreachable else None
        except (HfHubHTTPError, OSError, ValueError) as error:
            # No such file; or no such model or no access to the hub, which is not tried again.
            missing = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
            unreachable = unreachable or not missing
            return None

    return find


def _inside_folder(name: str) -> bool:
    """Return whether a file that a model's own files name lies in its folder."""
    return "\0" not in name and not Path(name).is_absolute() and ".." not in Path(name).parts


def _inside(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
