#!/usr/bin/env bash
# transformers 5.24.0 (torch 2.13.0, accelerate 1.15.0): going on from a checkpoint with other settings
#
# Guess: Trainer.train(resume_from_checkpoint=...) takes weights, state of the optimizer and place in the data from
#   the checkpoint, and the settings from the TrainingArguments it is given now: all of them, or none.
# What happens: some of each. The learning rate and the weight decay are those of the checkpoint: a new value is
#   ignored. The number of steps and the kind of schedule are the new ones: with twice the steps the old
#   peak is laid over the new length, so that the learning rate jumps up where the run goes on, one step late.
#   TrainingArguments, and the trackers that log them, show the new values. No warning.
# Why it matters: a run that diverges is taken up again from an earlier checkpoint with a smaller learning rate. It
#   takes the same course, and the conclusion is that the learning rate was not the cause.
# Seen: 2026-11-28
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 transformers==5.24.0 accelerate==1.15.0
export HF_HOME="$folder/hub" HF_HUB_OFFLINE=1
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

transformers.logging.disable_progress_bar()
rows = [{"input_ids": [1, 2, 3], "labels": 0}, {"input_ids": [4, 5, 6], "labels": 1}] * 20
sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def train(name, start=None, **settings):
    """Return learning rate by step, and weight decay."""
    given = {"max_steps": 10, "learning_rate": 1e-3, "weight_decay": 0.01, **settings}
    arguments = TrainingArguments(
        name, report_to="none", use_cpu=True, disable_tqdm=True, per_device_train_batch_size=2, logging_steps=1,
        save_steps=5, log_level="warning", **given,
    )
    trainer = Trainer(BertForSequenceClassification(BertConfig(vocab_size=10, **sizes)), arguments, train_dataset=rows)
    trainer.train(resume_from_checkpoint=start)
    rates = {entry["step"]: entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry}
    assert trainer.args.learning_rate == given["learning_rate"]
    return rates, max(group["weight_decay"] for group in trainer.optimizer.param_groups)


def near(rate, expected):
    return abs(rate - expected) < 1e-9


first = train("first")
seen = {
    "first": first,
    "learning rate 1e-5, weight decay 0.5": train("a", "first/checkpoint-5", learning_rate=1e-5, weight_decay=0.5),
    "20 steps": train("b", "first/checkpoint-5", max_steps=20),
    "constant": train("c", "first/checkpoint-5", lr_scheduler_type="constant"),
    "from the beginning, 1e-5": train("d", None, learning_rate=1e-5, weight_decay=0.5),
}
for name, (rates, decay) in seen.items():
    print(f"{name}: weight decay {decay},", {step: round(rates[step], 7) for step in (5, 6, 7, 8, 10)})
lower, longer, constant, fresh = [*seen.values()][1:]
assert lower == first and first[1] == 0.01
assert near(longer[0][6], first[0][6]) and near(longer[0][7], 1e-3 * 14 / 20) and longer[0][7] > longer[0][6]
assert near(constant[0][7], 1e-3)
assert near(fresh[0][6], 5e-6) and fresh[1] == 0.5
PY
