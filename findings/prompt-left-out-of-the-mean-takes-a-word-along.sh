#!/usr/bin/env bash
# sentence-transformers 6.2.0 with transformers 5.24.0 (tokenizers 0.23.3, torch 2.13.0): include_prompt=False
#
# Guess: a Pooling with include_prompt=False takes the mean over the tokens of the text, all of them, and
#   leaves out those of the prompt.
# What happens: the prompt is tokenised by itself, and as many tokens are left out as it has there. A prompt
#   such as "query: " ends in a space. By itself that space is a token; before a text, byte-level BPE
#   (RoBERTa, ModernBERT, Qwen, Llama 3) makes it the beginning of the first word. So one token too many is
#   left out: the first word of every text. With word pieces, where a space is no token, the count is right.
#   "query:" as the prompt, and texts that begin with a space, have the right mean.
# Why it matters: the first word of a question often decides what is asked (who, where, "not"), and prompts
#   that end in a space are the usual form. Nothing warns.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 tokenizers==0.23.3
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
texts = ["query: who sings", "query: where is rain", "who sings", "where is rain"] * 5
bytewise = Tokenizer(models.BPE())
bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
letters = pre_tokenizers.ByteLevel.alphabet()
pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
pieces.normalizer, pieces.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
for tokenizer, trainer in ((bytewise, trainers.BpeTrainer), (pieces, trainers.WordPieceTrainer)):
    options = {"initial_alphabet": letters} if tokenizer is bytewise else {}
    made = trainer(vocab_size=400, special_tokens=list(special.values()), show_progress=False, **options)
    tokenizer.train_from_iterator(texts, made)
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)


def in_the_mean(tokenizer, prompt, text):
    """Return the tokens whose vectors encode() takes the mean of, checked by that mean."""
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained("model")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=400, **sizes)).save_pretrained("model")
    modules = [Transformer("model"), Pooling(16, "mean", include_prompt=False)]
    model = SentenceTransformer(modules=modules, prompts={"query": prompt}, device="cpu")
    vectors = model.encode(text, prompt=prompt, output_value="token_embeddings").numpy()
    tokens = model.tokenizer.convert_ids_to_tokens(model.tokenizer(prompt + text)["input_ids"])
    mean = model.encode(text, prompt=prompt)
    (first,) = [start for start in range(len(tokens)) if np.allclose(vectors[start:].mean(0), mean, atol=1e-6)]
    return tokens[first:]


seen = {
    "word pieces, 'query: '": in_the_mean(pieces, "query: ", "who sings"),
    "bytes, 'query: '": in_the_mean(bytewise, "query: ", "who sings"),
    "bytes, 'query:', ' who sings'": in_the_mean(bytewise, "query:", " who sings"),
}
for name, tokens in seen.items():
    print(f"{name:32} mean of {tokens}")
words = [[token.strip("Ġ") for token in tokens] for tokens in seen.values()]
assert words == [["who", "sings", "[SEP]"], ["sings", "[SEP]"], ["who", "sings", "[SEP]"]]
PY
