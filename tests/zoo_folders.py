"""Model folders of many kinds in miniature: tiny random weights, one token a word."""

import json
from collections.abc import Callable, Iterable
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
    model = getattr(transformers, head)(config) if head else transformers.AutoModel.from_config(config)
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


def longformer(folder: Path) -> None:
    options = {"max_position_embeddings": 66, "type_vocab_size": 1, "attention_window": [8, 8]}
    backbone(folder, "longformer", roberta_tokenizer(), **options, **SIZE)


def bloom(folder: Path) -> None:
    backbone(folder, "bloom", decoder_tokenizer(padding_side="left"), hidden_size=32, n_layer=2, n_head=2)


def clip(folder: Path) -> None:
    """Write a model of texts and images, with its tokenizer alone."""
    tokenizer = decoder_tokenizer(framed=True)
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "eos_token_id": 0, **SIZE}
    vision = {"image_size": 8, "patch_size": 4, **SIZE}
    backbone(folder, "clip", tokenizer, text_config=text, vision_config=vision, projection_dim=16)


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
    """Write an encoder with a LoRA adapter, whose weights are not zero; its base lies next to it."""
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


def pad_with_the_end(model: Any) -> None:
    model.tokenizer.pad_token = model.tokenizer.eos_token


def leave_the_template_out(model: Any) -> None:
    del model[0].modality_config["message"]
