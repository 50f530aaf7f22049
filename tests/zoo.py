"""Model folders of many kinds in miniature, each measured by sentence-transformers alone beside us.

Run as a script, it prints what becomes of each kind: ``python tests/zoo.py [names]``.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

WORDS = [f"t{i}" for i in range(12)] + [f"u{i}" for i in range(48)] + [f"w{i}" for i in range(40)]
PROMPTS = {"query": "query : ", "document": "passage : "}
WORDS += ["query", "passage", ":"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

Build = Callable[[Path], None]


@dataclass(frozen=True)
class Kind:
    """A kind of model folder.

    Attributes:
        build: Writes one.
        refused: What the sentence says with which it is refused; empty where it is to work.
        untrained: What the sentence says with which it is measured, but not trained.
        needs: A package without which it cannot be built.
        encoder: Settings that differ from the others'.
    """

    build: Build
    refused: str = ""
    untrained: str = ""
    needs: str = ""
    encoder: dict[str, Any] = field(default_factory=dict)


# ---- tokenizers ----------------------------------------------------------------------------------


def word_tokenizer(special: dict[str, str], template: str = "", unigram: bool = False, **options: Any) -> Any:
    """A tokenizer of one token a word, whose special tokens come first, in the order given.

    Args:
        special: Special tokens by role (pad_token, ...).
        template: How a text is framed, as "[CLS] $A [SEP]"; empty for not at all.
        unigram: Words carry a mark of where they begin, as in sentencepiece.
        options: Of the tokenizer (padding_side, ...).
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    mark = "▁" if unigram else ""
    vocabulary = [*dict.fromkeys(special.values()), *(mark + word for word in WORDS)]
    unknown = special.get("unk_token", vocabulary[0])
    if unigram:
        backend = Tokenizer(models.Unigram([(word, -1.0) for word in vocabulary], vocabulary.index(unknown)))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token=unknown))
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if template:
        framed = [(token, vocabulary.index(token)) for token in special.values() if token in template]
        backend.post_processor = processors.TemplateProcessing(single=template, special_tokens=framed)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special, **options)


def roles(**tokens: str) -> dict[str, str]:
    return {f"{role}_token": token for role, token in tokens.items()}


def bert_tokenizer(**options: Any) -> Any:
    special = roles(pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]")
    return word_tokenizer(special, "[CLS] $A [SEP]", **options)


def roberta_tokenizer(**options: Any) -> Any:
    special = roles(bos="<s>", cls="<s>", pad="<pad>", eos="</s>", sep="</s>", unk="<unk>", mask="<mask>")
    names = ["input_ids", "attention_mask"]
    return word_tokenizer(special, "<s> $A </s>", model_input_names=names, **options)


def t5_tokenizer() -> Any:
    names = ["input_ids", "attention_mask"]
    return word_tokenizer(roles(pad="<pad>", eos="</s>", unk="<unk>"), "$A </s>", unigram=True, model_input_names=names)


def decoder_tokenizer(padded: bool = True, framed: bool = False, **options: Any) -> Any:
    special = roles(eos="<|end|>", unk="<|unk|>", **({"pad": "<|pad|>"} if padded else {}))
    names = ["input_ids", "attention_mask"]
    return word_tokenizer(special, "$A <|end|>" if framed else "", model_input_names=names, **options)


def xlnet_tokenizer() -> Any:
    from transformers import XLNetTokenizer

    special = ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eop>", "<eod>"]
    return XLNetTokenizer(vocab=[(word, -1.0) for word in [*special, *(f"▁{word}" for word in WORDS)]])


def plain_backend() -> Any:
    """A tokenizer of the package tokenizers, as static embeddings have it."""
    return bert_tokenizer().backend_tokenizer


# ---- encoders ------------------------------------------------------------------------------------


def backbone(folder: Path, kind: str, tokenizer: Any, head: str = "", dtype: Any = None, **options: Any) -> None:
    """Write a plain Hugging Face folder.

    Args:
        folder: Where.
        kind: Its model type ("bert", ...).
        tokenizer: Its tokenizer.
        head: A class to save it from, instead of the bare encoder.
        dtype: Of the stored weights.
        options: Of its configuration.
    """
    import torch
    import transformers

    torch.manual_seed(3)
    special = {
        name: getattr(tokenizer, name)
        for name in ("pad_token_id", "eos_token_id", "bos_token_id")
        if getattr(tokenizer, name) is not None
    }
    config = transformers.AutoConfig.for_model(kind, vocab_size=len(tokenizer), **{**special, **options})
    if head:
        model = getattr(transformers, head)(config)
    else:
        model = transformers.AutoModel.from_config(config)
    with torch.no_grad():  # the usual 0.02 leaves all texts alike, whatever is done to them
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(4.0 if "embed" in name or "wte" in name or "wpe" in name else 6.0)
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def bert(folder: Path, head: str = "", dtype: Any = None, length: int = 64, **tokenizer: Any) -> None:
    backbone(folder, "bert", bert_tokenizer(**tokenizer), head, dtype, max_position_embeddings=length, **SIZE)


def roberta(folder: Path, kind: str = "roberta", room: int = 40) -> None:
    """Positions for ``room`` tokens, and the two that are never used: before the padding token's, and its own."""
    backbone(folder, kind, roberta_tokenizer(), max_position_embeddings=room + 2, type_vocab_size=1, **SIZE)


def distilbert(folder: Path) -> None:
    tokenizer = bert_tokenizer(model_input_names=["input_ids", "attention_mask"])
    size = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    backbone(folder, "distilbert", tokenizer, max_position_embeddings=64, **size)


def modernbert(folder: Path) -> None:
    names = ["input_ids", "attention_mask"]
    ids = {"cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    tokenizer = bert_tokenizer(model_input_names=names)
    backbone(folder, "modernbert", tokenizer, max_position_embeddings=64, local_attention=8, **ids, **SIZE)


def xlnet(folder: Path) -> None:
    backbone(folder, "xlnet", xlnet_tokenizer(), d_model=32, n_layer=2, n_head=2, d_inner=64)


def t5(folder: Path) -> None:
    size = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    backbone(folder, "t5", t5_tokenizer(), "T5ForConditionalGeneration", decoder_start_token_id=0, **size)


def gpt2(folder: Path, padded: bool = True, side: str = "left", head: str = "") -> None:
    size = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
    backbone(folder, "gpt2", decoder_tokenizer(padded, padding_side=side), head, **size)


def opt(folder: Path) -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 64}
    tokenizer = decoder_tokenizer(framed=True, padding_side="left")
    backbone(folder, "opt", tokenizer, word_embed_proj_dim=32, max_position_embeddings=64, **size)


def decoder(folder: Path, kind: str, padded: bool = True, side: str = "left", head: str = "", **more: Any) -> None:
    sizes = {**SIZE, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64}
    options = {key: more.pop(key) for key in list(more) if key in ("chat_template",)}
    tokenizer = decoder_tokenizer(padded, framed=True, padding_side=side, **options)
    backbone(folder, kind, tokenizer, head, **{**sizes, **more})


# ---- folders of sentence-transformers ------------------------------------------------------------


def sentence(folder: Path, modules: Iterable[Any], **options: Any) -> None:
    """Write modules as a sentence-transformers folder."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=list(modules), device="cpu", **options).save_pretrained(
        str(folder), create_model_card=False
    )


def transformer(build: Build = bert, **options: Any) -> Any:
    """Return a module of sentence-transformers that holds an encoder."""
    from sentence_transformers.base.modules import Transformer

    with TemporaryDirectory() as plain:
        build(Path(plain))
        return Transformer(plain, **options)


def pooled(
    folder: Path,
    build: Build = bert,
    mode: Any = "mean",
    dense: int = 0,
    normalize: bool = False,
    include_prompt: bool = True,
    **options: Any,
) -> None:
    """Write an encoder with pooling and, if so asked, a dense layer and normalisation."""
    import torch
    from sentence_transformers.base.modules import Dense, Normalize
    from sentence_transformers.sentence_transformer.modules import Pooling

    first = transformer(build)
    pooling = Pooling(first.get_embedding_dimension(), mode, include_prompt)
    modules: list[Any] = [first, pooling]
    if dense:
        torch.manual_seed(5)
        modules.append(Dense(pooling.get_embedding_dimension(), dense))
    if normalize:
        modules.append(Normalize())
    sentence(folder, modules, **options)


def static_module(seed: int = 3, size: int = 32) -> Any:
    import torch
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(seed)
    return StaticEmbedding(plain_backend(), embedding_dim=size)


def static(folder: Path, **options: Any) -> None:
    sentence(folder, [static_module()], **options)


def word_module(trained: bool = True) -> Any:
    from sentence_transformers.sentence_transformer.modules import WordEmbeddings
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer

    weights = np.random.default_rng(3).normal(size=(len(WORDS) + 1, 32)).astype(np.float32)
    return WordEmbeddings(WhitespaceTokenizer(["[PAD]", *WORDS], stop_words=()), weights, update_embeddings=trained)


def words(folder: Path, trained: bool = True, dense: int = 0) -> None:
    import torch
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(5)
    sentence(folder, [word_module(trained), Pooling(32), *([Dense(32, dense)] if dense else [])])


def weighted_words(folder: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling, WordWeights

    first = word_module()
    weights = {word: 0.5 + (number % 7) / 4 for number, word in enumerate(WORDS)}
    sentence(folder, [first, WordWeights(first.tokenizer.get_vocab(), weights), Pooling(32)])


def recurrent(folder: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import LSTM, Pooling

    torch.manual_seed(5)
    lstm = LSTM(32, 16)
    sentence(folder, [word_module(), lstm, Pooling(lstm.get_embedding_dimension())])


def convolved(folder: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.modules import CNN, Pooling

    torch.manual_seed(5)
    cnn = CNN(32, 16)
    sentence(folder, [word_module(), cnn, Pooling(cnn.get_embedding_dimension())])


def bag(folder: Path, dense: int = 0) -> None:
    import torch
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import BoW

    torch.manual_seed(5)
    first = BoW(WORDS, {word: 1.0 + number % 3 for number, word in enumerate(WORDS)})
    sentence(folder, [first, *([Dense(len(WORDS), dense)] if dense else [])])


def routed(folder: Path, query: str = "bert", document: str = "bert") -> None:
    """Write a model of two encoders, each "bert", "roberta" or "static"."""
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sentence_transformer.modules import Pooling

    def route(name: str) -> list[Any]:
        if name == "static":
            return [static_module(len(name))]
        first = transformer({"bert": bert, "roberta": roberta}[name])
        return [first, Pooling(first.get_embedding_dimension())]

    sentence(folder, [Router.for_query_document(route(query), route(document))])


def adapted(folder: Path, dense: int = 0, bare: bool = False) -> None:
    """Write an encoder with a LoRA adapter, whose weights are not zero; its base lies beside it."""
    import torch
    from peft import LoraConfig
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense

    base = folder.with_name(f"{folder.name}-base")
    pooled(base)
    model = SentenceTransformer(str(base), device="cpu")
    model.add_adapter(LoraConfig(task_type="FEATURE_EXTRACTION", r=4, target_modules=["query", "value"]))
    torch.manual_seed(7)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    if bare:
        model[0].auto_model.save_pretrained(folder)
        return
    if dense:
        torch.manual_seed(5)
        model.append(Dense(32, dense))
    model.save_pretrained(str(folder), create_model_card=False)


def sparse(folder: Path) -> None:
    from sentence_transformers import SparseEncoder

    with TemporaryDirectory() as plain:
        bert(Path(plain), "BertForMaskedLM")
        SparseEncoder(plain, device="cpu").save_pretrained(str(folder), create_model_card=False)


def reranker(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    with TemporaryDirectory() as plain:
        bert(Path(plain))
        CrossEncoder(plain, num_labels=1, device="cpu").save_pretrained(str(folder), create_model_card=False)


def late_interaction(folder: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    with TemporaryDirectory() as plain:
        bert(Path(plain))
        MultiVectorEncoder(plain, device="cpu").save_pretrained(str(folder), create_model_card=False)


def older(folder: Path) -> None:
    """Write a folder as sentence-transformers 5 did, with the lengths and names of then."""
    pooled(folder, normalize=True)
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    for module, name in zip(modules, ("Transformer", "Pooling", "Normalize"), strict=True):
        module["type"] = f"sentence_transformers.models.{name}"
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    settings = {"max_seq_length": 32, "do_lower_case": False}
    (folder / "sentence_bert_config.json").write_text(json.dumps(settings), "utf-8")
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling), "utf-8")


def half(name: str) -> Build:
    import torch

    return partial(bert, dtype=getattr(torch, name))


CHAT = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"

KINDS: dict[str, Kind] = {
    # Encoders, as they come from pre-training.
    "BERT": Kind(bert),
    "BERT, masked language model": Kind(partial(bert, head="BertForMaskedLM")),
    "BERT, padded on the left": Kind(partial(bert, padding_side="left")),
    "RoBERTa": Kind(roberta),
    "XLM-R": Kind(partial(roberta, kind="xlm-roberta")),
    "MPNet": Kind(partial(roberta, kind="mpnet")),
    "DistilBERT": Kind(distilbert),
    "ELECTRA": Kind(lambda folder: backbone(folder, "electra", bert_tokenizer(), embedding_size=16, **SIZE)),
    "ALBERT": Kind(lambda folder: backbone(folder, "albert", bert_tokenizer(), embedding_size=16, **SIZE)),
    "DeBERTa": Kind(
        lambda folder: backbone(
            folder, "deberta-v2", bert_tokenizer(), relative_attention=True, pos_att_type=["p2c", "c2p"], **SIZE
        )
    ),
    "ModernBERT": Kind(modernbert),
    "XLNet": Kind(xlnet),
    "T5": Kind(t5),
    "FNet, which reads padding": Kind(
        lambda folder: backbone(folder, "fnet", bert_tokenizer(), max_position_embeddings=64, **SIZE),
        refused="depends on",
    ),
    # Decoders.
    "GPT-2, padded on the left": Kind(gpt2),
    "GPT-2, padded on the right": Kind(partial(gpt2, side="right")),
    "GPT-2 without a padding token": Kind(partial(gpt2, padded=False)),
    "OPT": Kind(opt),
    "Llama": Kind(partial(decoder, kind="llama")),
    "Llama without a padding token": Kind(partial(decoder, kind="llama", padded=False)),
    "Qwen3, a causal language model": Kind(partial(decoder, kind="qwen3", head="Qwen3ForCausalLM")),
    "Qwen3 with a chat template": Kind(partial(decoder, kind="qwen3", chat_template=CHAT)),
    # Folders of sentence-transformers.
    "pooling: CLS": Kind(partial(pooled, mode="cls")),
    "pooling: maximum": Kind(partial(pooled, mode="max")),
    "pooling: weighted mean": Kind(partial(pooled, mode="weightedmean")),
    "pooling: last token": Kind(partial(pooled, build=partial(decoder, kind="qwen3"), mode="lasttoken")),
    "pooling: three, joined": Kind(partial(pooled, mode=("cls", "max", "mean"))),
    "Dense": Kind(partial(pooled, dense=16)),
    "Normalize": Kind(partial(pooled, normalize=True)),
    "prompts": Kind(partial(pooled, prompts=PROMPTS)),
    "prompts left out of the mean": Kind(partial(pooled, include_prompt=False, prompts=PROMPTS)),
    "dot product": Kind(partial(pooled, similarity_fn_name="dot")),
    "truncate_dim": Kind(partial(pooled, truncate_dim=8)),
    "Euclidean": Kind(partial(pooled, similarity_fn_name="euclidean"), refused="euclidean"),
    "stored in float16": Kind(lambda folder: half("float16")(folder)),
    "stored in bfloat16": Kind(lambda folder: half("bfloat16")(folder)),
    "of an older release": Kind(older),
    "two encoders": Kind(routed),
    "two encoders, two tokenizers": Kind(partial(routed, document="roberta")),
    "static queries, BERT passages": Kind(partial(routed, query="static")),
    "static embeddings": Kind(static),
    "static embeddings, prompts": Kind(partial(static, prompts=PROMPTS)),
    "word embeddings": Kind(words),
    "word embeddings, frozen": Kind(partial(words, trained=False), untrained="no weight"),
    "word embeddings, frozen, with Dense": Kind(partial(words, trained=False, dense=16)),
    "word embeddings, weighted": Kind(weighted_words),
    "word embeddings, LSTM": Kind(recurrent),
    "word embeddings, CNN": Kind(convolved, refused="depends on"),
    "bag of words": Kind(bag, untrained="no weight"),
    "bag of words, Dense": Kind(partial(bag, dense=16)),
    "LoRA": Kind(adapted, needs="peft"),
    "LoRA with Dense": Kind(partial(adapted, dense=16), needs="peft"),
    "LoRA, the adapter alone": Kind(partial(adapted, bare=True), needs="peft", refused="adapter"),
    # What is no dense encoder.
    "sparse encoder": Kind(sparse, refused="sparse"),
    "re-ranker": Kind(reranker, refused="re-ranker"),
    "late interaction": Kind(late_interaction, refused="late"),
    "classifier": Kind(partial(bert, head="BertForSequenceClassification"), refused="classif|re-ranker"),
}


# ---- a collection, and its figures by sentence-transformers alone --------------------------------


def texts() -> tuple[list[str], dict[str, list[str]], dict[str, list[int]]]:
    """Return passages, and by split the queries and the passage that each has; their lengths differ much."""
    rng = np.random.default_rng(11)
    passages = []
    for number in range(48):
        others = [f"w{rng.integers(40)}" for _ in range(rng.integers(2, 24))]
        passages.append(" ".join(rng.permutation([f"t{number % 12}", f"u{number}", *others])))
    queries, relevant = {}, {}
    for split, count in (("train", 16), ("test", 24)):
        chosen = rng.choice(48, count, replace=False).tolist()
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


def figures_alone(folder: Path, prepare: Callable[[Any], Any] = lambda model: model) -> dict[str, float]:
    """Return MRR@10 and nDCG@10 of the test split, made by sentence-transformers and numpy alone."""
    from sentence_transformers import SentenceTransformer

    model = prepare(SentenceTransformer(str(folder), device="cpu"))
    passages, queries, relevant = texts()
    # One text at a time: no vector can depend on who shares its batch.
    asked = model.encode_query(queries["test"], batch_size=1, convert_to_tensor=True)
    found = model.encode_document(passages, batch_size=1, convert_to_tensor=True)
    scores = model.similarity(asked, found).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    rank = 1 + (order == np.array(relevant["test"])[:, None]).argmax(1)
    inside = rank <= 10
    return {
        "MRR@10": float(np.where(inside, 1 / rank, 0).mean()),
        "nDCG@10": float(np.where(inside, 1 / np.log2(rank + 1), 0).mean()),
    }
