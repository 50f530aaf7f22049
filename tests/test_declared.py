"""What is measured is what is saved: every kind of folder, used here, is used alike by sentence-transformers alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder, load_collection
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.encoder import tokens_of, weights_fingerprint
from ance_tele.encode.loading import adopt_model, load_model
from ance_tele.encode.rows import encode_rows
from ance_tele.evaluate.model import evaluate_model

Build = Callable[[Path, Path], None]


def pooled(
    mode: str = "mean",
    normalize: bool = False,
    include_prompt: bool = True,
    lengths: tuple[int, int] | None = None,
    most: int | None = None,
    **declared: Any,
) -> Build:
    """Return what writes a folder of sentence-transformers around the tiny encoder."""

    def build(tiny_model: Path, folder: Path) -> None:
        first = Transformer(str(tiny_model))
        if most is not None:
            first.max_seq_length = most
        if lengths is not None:
            first.query_length, first.document_length = lengths
        pooling = Pooling(32, mode, include_prompt=include_prompt)
        modules = [first, pooling, *([Normalize()] if normalize else [])]
        SentenceTransformer(modules=modules, **declared).save_pretrained(str(folder))

    return build


def plain(tiny_model: Path, folder: Path) -> None:
    SentenceTransformer(str(tiny_model))[0].save(str(folder))
    (folder / "sentence_bert_config.json").unlink()


def decoder(tiny_model: Path, folder: Path) -> None:
    """A folder saved from a causal language model, whose tokenizer pads on the left."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side="left")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    torch.manual_seed(5)
    config = Qwen3Config(vocab_size=len(tokenizer), intermediate_size=64, head_dim=16, pad_token_id=0, **shape)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


PROMPTS = {"query": "query : ", "passage": "passage : "}
FOLDERS: dict[str, Build] = {
    "plain": plain,
    "from a causal decoder": decoder,
    "cosine": pooled(),
    "dot product": pooled("cls", similarity_fn_name="dot"),
    "normalised": pooled(normalize=True, similarity_fn_name="dot"),
    "a shorter dimension": pooled(truncate_dim=5),
    "a shorter dimension, normalised": pooled(normalize=True, truncate_dim=5),
    "a shorter dimension, dot product": pooled(truncate_dim=5, similarity_fn_name="dot"),
    "a shorter dimension, normalised, dot product": pooled(normalize=True, truncate_dim=5, similarity_fn_name="dot"),
    "prompts": pooled(prompts={"query": "query : ", "document": "passage : "}),
    "prompts query and passage": pooled(prompts=PROMPTS),
    "prompts question and corpus": pooled(prompts={"question": "query : ", "corpus": "passage : "}),
    "a default prompt": pooled(prompts={"both": "query : "}, default_prompt_name="both"),
    "prompts not pooled": pooled(include_prompt=False, prompts=PROMPTS),
    "a length of its own": pooled(most=7),
    "a length for each": pooled(lengths=(4, 9)),
    "lengths and prompts": pooled(lengths=(6, 9), prompts=PROMPTS),
}
CONFIGS: dict[str, EncoderConfig] = {
    "as declared": EncoderConfig(precision="float32"),
    "asked lengths": EncoderConfig(4, 8, precision="float32", title_separator="[SEP]"),
    "asked prompts": EncoderConfig(5, 9, "passage : ", "query : ", precision="float32"),
    "normalised": EncoderConfig(normalize=True, precision="float32"),
    "not normalised": EncoderConfig(normalize=False, precision="float32"),
    "two encoders": EncoderConfig(4, 8, untie_encoders=True, precision="float32"),
}


@pytest.fixture(scope="module")
def collection(toy: Path) -> Collection:
    return load_collection(toy)


@pytest.fixture(scope="module")
def folders(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of folders."""
    root = tmp_path_factory.mktemp("declared")
    for name, build in FOLDERS.items():
        build(tiny_model, root / name)
    return root


def ours(model: SentenceTransformer, config: EncoderConfig, collection: Collection) -> np.ndarray:
    """Return the score of every query with every passage, as searches have it."""
    vectors = []
    for task, texts in (("query", collection.queries), ("document", collection.corpus)):
        tokens = tokens_of(model, config, task, texts, cache_folder(), collection.fingerprint)  # type: ignore[arg-type]
        vectors.append(encode_rows(model, tokens, np.arange(len(texts)), task, config))  # type: ignore[arg-type]
    return vectors[0] @ vectors[1].T


def theirs(model: SentenceTransformer, collection: Collection, separator: str = " ", prompt: str = "") -> np.ndarray:
    """Return the same by nothing but sentence-transformers."""
    asked = [text for _, texts in collection.queries.batches() for text in texts]
    passages = [
        f"{title}{separator}{text}"
        for titles, texts in collection.corpus.batches()
        for title, text in zip(titles, texts, strict=True)
    ]
    queries, documents = model.encode_query(asked), model.encode_document(passages, prompt_name=prompt or None)
    return model.similarity(queries, documents).numpy()


# Each kind once, and each way to use one; all of both take minutes.
FEW = {
    *((kind, "asked lengths") for kind in FOLDERS),
    *(("prompts query and passage", how) for how in CONFIGS),
    *(("a shorter dimension, normalised, dot product", how) for how in CONFIGS),
    ("a length for each", "as declared"),
}
PAIRS = [
    pytest.param(kind, how, marks=[] if (kind, how) in FEW else pytest.mark.slow) for kind in FOLDERS for how in CONFIGS
]


@pytest.mark.parametrize(("kind", "how"), PAIRS)
def test_what_is_used_is_what_is_saved(
    kind: str, how: str, folders: Path, collection: Collection, tmp_path: Path
) -> None:
    config = CONFIGS[how]
    model = load_model(folders / kind, config, "cpu")
    scores = ours(model, config, collection)
    model.save_pretrained(str(tmp_path / "saved"))
    alone = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(theirs(alone, collection, config.title_separator), scores, atol=2e-5)
    again = load_model(tmp_path / "saved", config, "cpu")
    np.testing.assert_allclose(ours(again, config, collection), scores, atol=1e-6)
    assert weights_fingerprint(again) == weights_fingerprint(model)
    itself = EncoderConfig(precision="float32", title_separator=config.title_separator)
    np.testing.assert_allclose(
        ours(load_model(tmp_path / "saved", itself, "cpu"), itself, collection), scores, atol=1e-6
    )


@pytest.mark.parametrize(
    "kind", [name for name in FOLDERS if name not in ("prompts question and corpus", "a default prompt")]
)
def test_a_folder_is_measured_as_it_declares_itself(kind: str, folders: Path, collection: Collection) -> None:
    """The folder as it came, and its own prompt for passages where it has one under another name."""
    alone = SentenceTransformer(str(folders / kind), device="cpu")
    prompt = "passage" if "passage" in alone.prompts else ""
    expected = theirs(alone, collection, prompt=prompt)
    config = CONFIGS["as declared"]
    np.testing.assert_allclose(ours(load_model(folders / kind, config, "cpu"), config, collection), expected, atol=2e-5)
    np.testing.assert_allclose(ours(adopt_model(alone, config), config, collection), expected, atol=2e-5)
    _, scores = evaluate_model(folders / kind, collection, "test", config, depth=20)
    qrels = collection.split("test")
    own = np.take_along_axis(expected[qrels.queries], qrels.passages[:, None], axis=1)  # one relevant passage each
    ranks = [1 + (expected[qrels.queries] > own + near).sum(axis=1) for near in (1e-4, -1e-4)]  # at best and at worst
    low, high = (np.where(rank <= 10, 1 / rank, 0).mean() for rank in (np.maximum(1, ranks[1] - 1), ranks[0]))
    assert low - 1e-6 <= scores.means()["MRR@10"] <= high + 1e-6
