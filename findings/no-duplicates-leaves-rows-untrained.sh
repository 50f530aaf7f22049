#!/usr/bin/env bash
# sentence-transformers 6.2.0 (transformers 5.24.0, datasets 5.2.0, torch 2.13.0): NO_DUPLICATES
#
# Guess: batch_sampler="no_duplicates" only arranges the rows differently: rows that share a text come
#   into different batches, and an epoch still trains on every row (nothing is dropped:
#   dataloader_drop_last is off).
# What happens: the sampler makes more, smaller batches where a text is frequent, but its length stays
#   that of a plain sampler, and the Trainer stops after so many steps. What is left never comes. Of
#   64 rows, 16 of them with the same query, 8 are left out in every epoch, all of the frequent
#   query, and one of the 8 steps has a single row, whose loss is 0. The sampler warns when it makes
#   too few batches; here it makes too many, and nothing is said. For several data sets the same.
# Why it matters: queries with many positives, or many rows mined for one query, are the reason for
#   this sampler, and it is their rows that get lost: half of them here. Count the rows that are trained
#   on, or sample one row a query and epoch.
# Seen: 2026-11-27
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 datasets==5.2.0 accelerate==1.15.0
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

FREQUENT, SIZE = 16, 8
queries = ["often"] * FREQUENT + [f"q{i}" for i in range(48)]
passages = [f"p{i}" for i in range(64)]
rows = Dataset.from_dict({"anchor": queries, "positive": passages})
words = sorted({*queries, *passages})
tokenizer = Tokenizer(models.WordLevel({word: row for row, word in enumerate(words)}, unk_token="often"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()


class Recording(MultipleNegativesRankingLoss):
    """The loss, and which passages came with which batch."""

    def __init__(self, model):
        super().__init__(model)
        self.batches = []

    def forward(self, sentence_features, labels):
        columns = list(sentence_features)
        self.batches.append([words[token] for token in columns[1]["input_ids"].tolist()])
        return super().forward(columns, labels)


def train(data, sampler):
    torch.manual_seed(0)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu")
    loss = Recording(model)
    arguments = SentenceTransformerTrainingArguments(
        output_dir="out", num_train_epochs=3, per_device_train_batch_size=SIZE, batch_sampler=sampler,
        report_to=[], disable_tqdm=True, save_strategy="no", use_cpu=True,
    )
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss).train()
    return loss.batches


offered = NoDuplicatesBatchSampler(
    rows, batch_size=SIZE, drop_last=False, valid_label_columns=[], generator=torch.Generator(), seed=0
)
print("the sampler says", len(offered), "batches and makes", len(list(offered)))
assert len(offered) == 8 < len(list(offered))
for sampler, trained in (("batch_sampler", 64), ("no_duplicates", 56)):
    batches = train(rows, sampler)
    for epoch in range(3):
        epoch_batches = batches[8 * epoch : 8 * epoch + 8]
        seen = {passage for batch in epoch_batches for passage in batch}
        often = len(seen & set(passages[:FREQUENT]))
        print(f"{sampler}: {len(seen)} of 64 rows in epoch {epoch}, {often} of 16 of the frequent query, "
              f"batches of {[len(batch) for batch in epoch_batches]}")
        assert len(seen) <= trained and len(seen) - often == 48 and (trained < 64 or len(seen) == 64)
two = train(DatasetDict({"a": rows, "b": rows}), "no_duplicates")
print("two data sets of 64 rows, 3 epochs:", sum(map(len, two)), "of", 3 * 128, "rows")
assert sum(map(len, two)) <= 3 * 112
PY
