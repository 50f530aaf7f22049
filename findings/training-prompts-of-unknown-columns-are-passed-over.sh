#!/usr/bin/env bash
# sentence-transformers 6.2.0 (transformers 5.24.0, accelerate 1.15.0, torch 2.13.0): prompts in training
#
# Guess: a model with prompts for queries and documents is trained with them, at the latest when they are
#   handed over as prompts=model.prompts. A name that fits nothing is refused, as in learning_rate_mapping.
# What happens: training looks prompts up by the names of the columns. {"query": ..., "document": ...} for columns
#   called anchor and positive puts no prompt anywhere, without a word; so does a misspelt column.
#   encode_query and encode_document do put the model's prompts in front. learning_rate_mapping raises if
#   a name fits nothing.
# Why it matters: the model is trained without its prompts and used with them; it is a little worse than it could
#   be, and its settings say that it was trained with prompts.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 accelerate==1.15.0 datasets==5.2.0
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import logging
import warnings

from datasets import Dataset, disable_progress_bars
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

disable_progress_bars()
said = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("sentence_transformers").addHandler(handler)
warnings.showwarning = lambda message, *others: said.append(str(message))
words = ["[UNK]", "query:", "passage:", "cat", "purrs"]
PROMPTS = {"query": "query: ", "document": "passage: "}


class Watched(MultipleNegativesRankingLoss):
    """Notes the texts that it is given."""

    def forward(self, features, labels):
        features = list(features)
        self.seen = [" ".join(words[number] for number in one["input_ids"].tolist()) for one in features]
        return super().forward(features, labels)


def train(columns, **settings):
    """Return the texts of a step, by column."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], prompts=PROMPTS, device="cpu")
    arguments = SentenceTransformerTrainingArguments(
        "out", max_steps=1, per_device_train_batch_size=1, report_to="none", use_cpu=True, disable_tqdm=True,
        save_strategy="no", logging_strategy="no", **settings,
    )
    data = Dataset.from_dict(dict(zip(columns, (["cat"], ["purrs"]), strict=True)))
    loss = Watched(model)
    SentenceTransformerTrainer(model, arguments, train_dataset=data, loss=loss).train()
    return loss.seen


named, roles = ("anchor", "positive"), ("query", "document")
seen = {
    "no prompts named": train(named),
    "prompts=model.prompts": train(named, prompts=PROMPTS),
    "the same, columns query and document": train(roles, prompts=PROMPTS),
    "prompts by column": train(named, prompts={"anchor": "query: ", "positive": "passage: "}),
}
for name, texts in seen.items():
    print(f"{name:38} {texts}")
about = [one for one in said if "prompt" in one.lower()]
print("warnings about prompts:", about)
assert seen["no prompts named"] == seen["prompts=model.prompts"] == ["cat", "purrs"] and not about
assert seen["the same, columns query and document"] == seen["prompts by column"] == ["query: cat", "passage: purrs"]
try:
    train(named, learning_rate_mapping={"no such weight": 1e-3})
except ValueError as error:
    print("learning_rate_mapping:", error)
else:
    raise AssertionError("learning_rate_mapping passes over what fits nothing")
PY
