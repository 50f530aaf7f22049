#!/usr/bin/env bash
# mteb 2.26.24 with sentence-transformers 6.2.0 (torch 2.13.0): models that were loaded from folders
#
# Guess: mteb.evaluate(model, task) evaluates this model. Results of earlier calls are taken from its cache
#   if they are of the same model.
# What happens: the cache is on by default, and files results under name and revision of a model. A model that
#   is loaded from a folder, or put together from modules, has neither: all of them are filed as
#   no_model_name/available. The second such model is not evaluated; it is given the scores of the first,
#   with no more than a line in the log. With cache=None, or overwrite_strategy="always", it gets its own.
# Why it matters: comparing checkpoints of a training, in one loop or on two days, is what an evaluation of
#   local models is for. All of them come out exactly equal, or the last one as good as the first.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 sentence-transformers==6.2.0 transformers==5.24.0 mteb==2.26.24
export HOME="$folder" HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 MTEB_CACHE="$folder/results"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import mteb
import torch
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = [f"w{number}" for number in range(100)]


class Same(AbsTaskRetrieval):
    """Each query is the text of its passage."""

    metadata = TaskMetadata(
        name="Same", dataset={"path": "local/same", "revision": "1"}, description="Same.", reference=None,
        type="Retrieval", category="t2t", modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"],
        main_score="ndcg_at_10", date=None, domains=None, task_subtypes=None, license=None,
        annotations_creators=None, dialect=None, sample_creation=None, bibtex_citation="",
    )

    def load_data(self, *args, **kwargs):
        texts = {
            "corpus": Dataset.from_dict({"id": [f"p{word}" for word in WORDS], "text": WORDS}),
            "queries": Dataset.from_dict({"id": [f"q{word}" for word in WORDS], "text": WORDS}),
        }
        judged = {f"q{word}": {f"p{word}": 1} for word in WORDS}
        self.dataset = {"default": {"test": {**texts, "relevant_docs": judged, "top_ranked": None}}}
        self.data_loaded = True


tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="w0"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
weights = {"good": torch.randn(100, 32, generator=torch.Generator().manual_seed(0)), "collapsed": torch.ones(100, 32)}
for name, values in weights.items():
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=values)], device="cpu").save(name)


def score(name, **options):
    model = SentenceTransformer(name, device="cpu")
    done = mteb.evaluate(model, Same(), show_progress_bar=False, co2_tracker=False, **options)
    return done.model_name, round(float(done.task_results[0].get_score()), 3)


seen = {"alone": {name: score(name, cache=None) for name in weights}}
seen["in a row"] = {name: score(name) for name in weights}
seen["in a row, always"] = {name: score(name, overwrite_strategy="always") for name in weights}
for how, found in seen.items():
    print(f"{how:18}", found)
assert seen["alone"]["good"][1] == 1.0 and seen["alone"]["collapsed"][1] < 0.2
assert seen["in a row"]["good"] == seen["in a row"]["collapsed"] == ("no_model_name/available", 1.0)
assert seen["in a row, always"] == seen["alone"]
PY
