"""What is measured is what is saved: every kind of folder, used here, is used alike by sentence-transformers alone."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from toy import write_toy

from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.load import cache_folder, collection_from_dicts, load_collection
from ance_tele.data.text_format import Cut
from ance_tele.encode.config import EncoderConfig
from ance_tele.encode.declared import separator_of
from ance_tele.encode.encoder import includes_prompt, text_format, tokenizer_of, tokens_of, weights_fingerprint
from ance_tele.encode.inference import encode_texts
from ance_tele.encode.loading import adopt_model, load_model, load_pair
from ance_tele.evaluate.model import evaluate_model, lengths_for

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
        torch.manual_seed(0)  # of the pooler, which the tiny encoder lacks
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
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A third of the toy collection."""
    folder = tmp_path_factory.mktemp("data") / "third"
    write_toy(folder, topics=8)
    return load_collection(folder)


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
        vectors.append(encode_texts(model, tokens, np.arange(len(texts)), task, config))  # type: ignore[arg-type]
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


# ---- lengths and prompts -------------------------------------------------------------------------


def test_a_prompt_takes_no_token_of_the_text(folders: Path, collection: Collection) -> None:
    """An instruction as long as the query's length left the same query for all."""
    asked = "query : " * 4  # eight tokens
    config = EncoderConfig(query_max_len=4, passage_max_len=8, query_prompt=asked)
    model = load_model(folders / "cosine", config, "cpu")
    tokenizer = tokenizer_of(model, "query")
    store = tokens_of(model, config, "query", collection.queries, cache_folder(), collection.fingerprint)
    bare = EncoderConfig(query_max_len=4, passage_max_len=8)
    without = tokens_of(
        load_model(folders / "cosine", bare, "cpu"),
        bare,
        "query",
        collection.queries,
        cache_folder(),
        collection.fingerprint,
    )
    prompt = tokenizer(asked, add_special_tokens=False)["input_ids"]
    for row in range(len(store)):
        assert store[row].tolist() == [without[row][0], *prompt, *without[row][1:]]


def test_a_prompt_that_leaves_no_room_is_refused(folders: Path) -> None:
    with pytest.raises(UserError, match=r"prompt of queries takes 6 of the 7 tokens .* raise query_max_len"):
        load_model(folders / "a length of its own", EncoderConfig(query_prompt="query : " * 3), "cpu")
    config = EncoderConfig(query_max_len=128, query_prompt="query : ")  # the model has 128 positions
    model = load_model(folders / "cosine", config, "cpu")
    assert text_format(model, config, "query").max_length == 128


def test_what_is_not_declared_as_it_is_used_is_told(folders: Path, tiny_model: Path, logged: list[str]) -> None:
    load_model(folders / "prompts question and corpus", EncoderConfig(4, 8, title_separator="</s>"), "cpu")
    assert logged == [
        "queries get the model's prompt 'question' ('query : '); it is saved as 'query' too",
        "passages get the model's prompt 'corpus' ('passage : '); it is saved as 'document' too",
        "titles are joined by '[SEP]': the model's tokenizer has no token </s>",
        "queries are cut at 4 tokens and 2 of their prompt",
        "passages are cut at 8 tokens and 2 of their prompt",
    ]
    logged.clear()
    load_model(tiny_model, EncoderConfig(), "cpu")
    assert logged == []


def test_separators_are_those_of_the_tokenizer(tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    bert = AutoTokenizer.from_pretrained(tiny_model)
    assert separator_of(bert, "[SEP]") == "[SEP]" and separator_of(bert, " [SEP] ") == " [SEP] "
    assert separator_of(bert, "<|endoftext|>") == "[SEP]" and separator_of(bert, " </s> ") == " [SEP] "
    assert separator_of(bert, ": ") == ": " and separator_of(bert, "") == ""
    bert.sep_token, bert.eos_token = None, "[MASK]"
    assert separator_of(bert, "</s>") == "[MASK]"
    bert.eos_token = None
    assert separator_of(bert, "</s>") == " "


def test_cut_texts_are_counted_by_what_they_had(tiny_model: Path, tmp_path: Path, logged: list[str]) -> None:
    """Texts of just the length are whole; by hand: a text of n words has n + 2 tokens."""
    corpus = {f"d{n}": " ".join(["w1"] * n) for n in range(1, 41)}
    found = collection_from_dicts(corpus, {"q": "w1"}, {"test": {"q": {"d1": 1}}}, cache=tmp_path)
    config = EncoderConfig(passage_max_len=22)
    model = load_model(tiny_model, config, "cpu")
    for _ in range(2):  # made, then found again
        store = tokens_of(model, config, "document", found.corpus, tmp_path, found.fingerprint)
        assert store.cut == Cut(texts=40, cut=20, max_length=22, median=22, p95=40)
    assert store.cut is not None and store.cut.share == 0.5
    logged.clear()
    evaluate_model(tiny_model, found, "test", config)
    assert "passages: 50.0% are cut at 22 tokens (median 22, 95% have up to 40)" in logged
    assert lengths_for(tiny_model, found) == [
        "queries: none is cut at 128 tokens (median 3, 95% have up to 3)",
        "passages: none is cut at 128 tokens (median 22, 95% have up to 40)",
    ]


class Prompted:
    """Queries of which some have an instruction of their own."""

    def __init__(self, queries: Any, prompts: list[str]) -> None:
        import pyarrow as pa

        self._queries, self.prompts = queries, pa.chunked_array([prompts])

    def __len__(self) -> int:
        return len(self._queries)

    def batches(self, expanded: bool) -> Any:
        return self._queries.batches(size=32, expanded=expanded)


@pytest.mark.parametrize("asked", [True, False])
def test_a_query_s_own_instruction_stands_for_the_model_s(asked: bool, folders: Path, collection: Collection) -> None:
    """By sentence-transformers: each group of queries encoded with its prompt, at its own length."""
    config = EncoderConfig(4 if asked else None, 8, precision="float32", query_prompt="query : ")
    model = load_model(folders / "cosine", config, "cpu")
    own = ["", "passage : passage : ", "w1"]
    queries = Prompted(collection.queries, [own[row % 3] for row in range(len(collection.queries))])
    key = f"prompted {asked}"
    tokens = tokens_of(model, config, "query", queries, cache_folder(), key)  # type: ignore[arg-type]
    rows = np.arange(len(queries))
    found = encode_texts(model, tokens, rows, "query", config)
    texts = [text for _, bodies in collection.queries.batches() for text in bodies]
    for place, (prompt, length) in enumerate((("query : ", 6), ("passage : passage : ", 8), ("w1", 5))):
        if asked:
            model[0].query_length = length
        expected = model.encode_query([texts[row] for row in rows[place::3]], prompt=prompt)
        np.testing.assert_allclose(found[place::3], expected, atol=2e-5)
    unpooled = load_model(folders / "prompts not pooled", config, "cpu")
    assert not includes_prompt(unpooled)
    with pytest.raises(UserError, match="instructions of their own, and the model leaves its prompt out"):
        tokens_of(unpooled, config, "query", queries, cache_folder(), key)  # type: ignore[arg-type]


# ---- what is no dense encoder, or compares otherwise ---------------------------------------------


def folder_of(kind: str, tiny_model: Path, folder: Path) -> Path:
    """Write a folder that is no dense encoder."""
    import sentence_transformers as st
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    if kind in ("CrossEncoder", "SparseEncoder", "MultiVectorEncoder"):
        options = {"num_labels": 1} if kind == "CrossEncoder" else {}
        getattr(st, kind)(str(tiny_model), device="cpu", **options).save_pretrained(str(folder))
    else:
        AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).save_pretrained(folder)
        AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("CrossEncoder", "re-ranker .* --cross_encoder"),
        ("SparseEncoder", "sparse encoder"),
        ("MultiVectorEncoder", "late-interaction"),
        ("classifier", "classifier or re-ranker"),
    ],
)
def test_what_is_no_dense_encoder_is_refused(kind: str, said: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = folder_of(kind, tiny_model, tmp_path / "folder")
    with pytest.raises(UserError, match=f"folder is an? .*{said}.*Take a dense encoder"):
        load_model(folder, EncoderConfig(), "cpu")
    if kind == "classifier":  # the same without modules of sentence-transformers, on the hub too
        return
    config = folder / "config_sentence_transformers.json"
    declared = json.loads(config.read_text("utf-8"))
    del declared["model_type"]  # as a folder written by hand
    config.write_text(json.dumps(declared), "utf-8")
    with pytest.raises(UserError, match="Take a dense encoder"):
        load_model(folder, EncoderConfig(), "cpu")


@pytest.mark.parametrize("similarity", ["euclidean", "manhattan"])
def test_distances_are_refused_or_given_up(
    similarity: str, tiny_model: Path, collection: Collection, tmp_path: Path
) -> None:
    pooled(similarity_fn_name=similarity)(tiny_model, tmp_path / "model")
    with pytest.raises(UserError, match=f"model declares {similarity} distance .* Set normalize to true"):
        load_model(tmp_path / "model", EncoderConfig())
    with pytest.raises(UserError, match=f"The model declares {similarity} distance"):
        adopt_model(SentenceTransformer(str(tmp_path / "model")), EncoderConfig())
    for normalize, name in ((True, "cosine"), (False, "dot")):
        config = EncoderConfig(normalize=normalize, precision="float32")
        model = load_model(tmp_path / "model", config, "cpu")
        model.save_pretrained(str(tmp_path / name))
        alone = SentenceTransformer(str(tmp_path / name), device="cpu")
        assert alone.similarity_fn_name == name
        np.testing.assert_allclose(theirs(alone, collection), ours(model, config, collection), atol=2e-5)


def test_a_pair_keeps_a_shorter_dimension(folders: Path, collection: Collection, tmp_path: Path) -> None:
    config = EncoderConfig(4, 8, precision="float32")
    pair = load_pair(folders / "a shorter dimension", folders / "a shorter dimension, normalised", config, "cpu")
    pair.save_pretrained(str(tmp_path / "pair"))
    scores = ours(pair, config, collection)
    np.testing.assert_allclose(
        theirs(SentenceTransformer(str(tmp_path / "pair"), device="cpu"), collection), scores, atol=2e-5
    )
    with pytest.raises(UserError, match=r"vectors of 32 numbers and .* of 5"):
        load_pair(folders / "cosine", folders / "a shorter dimension", config, "cpu")


def test_the_dimension_is_part_of_the_fingerprint(folders: Path) -> None:
    kinds = ("cosine", "a shorter dimension", "dot product", "a shorter dimension, dot product")
    prints = {kind: weights_fingerprint(load_model(folders / kind, EncoderConfig(), "cpu")) for kind in kinds}
    assert len(set(prints.values())) == len(kinds)
    same = load_model(folders / "a length for each", EncoderConfig(), "cpu")
    assert weights_fingerprint(same) == prints["cosine"]


@pytest.mark.parametrize("kind", ["BertTokenizer", "PreTrainedTokenizerFast"])
def test_rules_of_a_tokenizer_that_transformers_does_not_follow_are_logged(
    kind: str, tiny_model: Path, tmp_path: Path, logged: list[str]
) -> None:
    """transformers 5 takes the vocabulary alone from tokenizer.json where the class has rules of its own."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    rules = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    rules["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    (folder / "tokenizer.json").write_text(json.dumps(rules), "utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "tokenizer_class": kind}), "utf-8")
    model = load_model(folder, EncoderConfig(), "cpu")
    whole = model.tokenizer.tokenize("t1:") == ["[UNK]"]  # BERT's rules cut it into t1 and a colon
    told = [line for line in logged if "by the rules of BertTokenizer, not by those in tokenizer.json" in line]
    assert (whole, len(told)) == ((True, 0) if kind == "PreTrainedTokenizerFast" else (False, 1))
