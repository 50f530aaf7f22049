#!/usr/bin/env bash
# transformers 5.24.0 with wandb 0.31.0 (torch 2.13.0, accelerate 1.15.0): a second training in one process
#
# Guess: WANDB_RUN_ID, WANDB_RUN_GROUP and WANDB_PROJECT, set anew before a second training, are those
#   of its run. The first run has been finished by wandb.finish().
# What happens: W&B reads its variables at the first run of a process, and the id and the group of that
#   run are those of all later ones. The project is read by transformers at each training and passed on,
#   so that one does follow: the second run is in the project that was asked for, under the id and in
#   the group of the first. With one project for both they are one run. W&B warns that changes of its
#   variables are ignored, if it may print (WANDB_SILENT=true is common in loops); it does not name
#   them. A run that wandb.init(id=...) opens before the trainer is right, and so is one after
#   wandb.teardown() or in a process of its own.
# Why it matters: a loop over seeds or folds sets such variables for each training, and so does a
#   program that goes on with a run by its id. All trainings of the loop then carry the id of the first.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 wandb==0.31.0
export HOME="$folder" HF_HOME="$folder/hub" HF_HUB_OFFLINE=1 WANDB_MODE=offline WANDB_SILENT=true
cd "$folder"
cat > train.py <<'PY'
import os
import sys

import transformers
import wandb
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

transformers.logging.set_verbosity_error()
rows = [{"input_ids": [1, 2, 3], "labels": 0}, {"input_ids": [4, 5, 6], "labels": 1}]
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def train(name, **named):
    os.environ.update(WANDB_RUN_ID=f"id-{name}", WANDB_RUN_GROUP=f"group-{name}", WANDB_PROJECT=f"project-{name}")
    if named:
        wandb.init(project=f"project-{name}", group=f"group-{name}", id=f"id-{name}")
    settings = TrainingArguments(
        name, report_to="wandb", use_cpu=True, disable_tqdm=True, max_steps=1, save_strategy="no"
    )
    Trainer(BertForSequenceClassification(BertConfig(vocab_size=10, **sizes)), settings, train_dataset=rows).train()
    seen = (wandb.run.project, wandb.run.group, wandb.run.id)
    wandb.finish()
    print(f"{name:8}", *seen, "(opened by wandb.init)" if named else "")
    return seen


how = sys.argv[1]
expected = {name: (f"project-{name}", f"group-{name}", f"id-{name}") for name in ("first", "second", "third")}
if how == "alone":
    assert train("second") == expected["second"]
else:
    assert train("first") == expected["first"]
    assert train("second") == ("project-second", "group-first", "id-first")
    assert train("third", named=True) == expected["third"]
    wandb.teardown()
    assert train("second") == expected["second"]
PY
echo "in one process:"
"$folder/venv/bin/python" train.py together
echo "in a process of its own:"
"$folder/venv/bin/python" train.py alone
