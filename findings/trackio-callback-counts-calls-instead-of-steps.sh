#!/usr/bin/env bash
# transformers 5.24.0 with trackio 0.43.0 (torch 2.13.0, accelerate 1.15.0): the axis of a training's curves
#
# Guess: a training that is reported to Trackio is drawn by its steps, as TensorBoard and W&B draw it:
#   the loss of step 20 lies at 20, and a training that goes on from step 10 goes on at 10.
# What happens: TrackioCallback calls trackio.log without a step, and Trackio then counts the calls.
#   "step", the axis that its dashboard begins with, is 0, 1, 2 ...: evaluations push the losses after
#   them to the right, the same training logged every step or every five has curves of other widths,
#   and steps that are done again after going on from a checkpoint are drawn behind those of the first
#   time. The true step is among the metrics (train/global_step); given as step=, it is the axis.
# Why it matters: runs of one project are laid over each other to see which learns faster; with other
#   settings for logging or evaluating, the one that was logged less seems to be faster.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 trackio==0.43.0
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 TRACKIO_DIR="$folder/trackio"
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import json
import subprocess
import sys

import trackio
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
rows = [{"input_ids": [1, 2, 3], "labels": 0}, {"input_ids": [4, 5, 6], "labels": 1}] * 20
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def train(name, logging_steps, **resume):
    settings = TrainingArguments(
        name, project="steps", run_name=name, report_to="trackio", use_cpu=True, disable_tqdm=True, max_steps=20,
        logging_steps=logging_steps, save_steps=10, eval_strategy="steps", eval_steps=10,
        per_device_train_batch_size=2, trackio_static_space_id=False,
    )
    model = BertForSequenceClassification(BertConfig(vocab_size=10, **sizes))
    Trainer(model, settings, train_dataset=rows, eval_dataset=rows[:4]).train(**resume)


def axis(name):
    """Return the steps of the training losses: as drawn, and as they are."""
    command = [sys.executable, "-m", "trackio.cli", "get", "metric", "--json", "--project", "steps", "--run", name]
    found = {}
    for metric in ("train/loss", "train/global_step"):
        printed = subprocess.run([*command, "--metric", metric], capture_output=True, text=True, check=True).stdout
        found[metric] = {one["step"]: one["value"] for one in json.loads(printed)["values"]}
    return list(found["train/loss"]), [found["train/global_step"][drawn] for drawn in found["train/loss"]]


train("often", 1)
train("seldom", 5)
seldom = axis("seldom")
train("seldom", 5, resume_from_checkpoint="seldom/checkpoint-10")
trackio.init(project="steps", name="named")
for step in (5, 10, 15, 20):
    trackio.log({"train/loss": 1.0, "train/global_step": step}, step=step)
trackio.finish()
seen = {"often": axis("often"), "seldom": seldom, "seldom, went on from 10": axis("seldom"), "step=": axis("named")}
for name, (drawn, true) in seen.items():
    print(f"{name:24} drawn at {drawn}\n{'':24} true     {true}")
assert seen["often"] == ([*range(10), *range(11, 21)], [*range(1, 21)])
assert seen["seldom"] == ([0, 1, 3, 4], [5, 10, 15, 20])
assert seen["seldom, went on from 10"] == ([0, 1, 3, 4, 7, 8], [5, 10, 15, 20, 15, 20])
assert seen["step="] == ([5, 10, 15, 20],) * 2
PY
