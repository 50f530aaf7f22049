"""The model card of a pretrained encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

TITLES = {
    "mlm": "masked language model",
    "condenser": "Condenser (Gao and Callan 2021)",
    "cocondenser": "coCondenser (Gao and Callan 2022)",
    "seed": "SEED-Encoder (Lu et al. 2021)",
}

TERMS = {
    "mlm": "masked words, from the last layer",
    "head": "masked words, from Condenser's head",
    "contrast": "two spans of a passage",
    "decoder": "every word, from the weak decoder",
}

CARD = """---
library_name: transformers
tags:
- fill-mask
- feature-extraction
- dense-retrieval
- ance-tele
---

# {base}, its pretraining continued on {collection}

A text encoder to start the training of a dense retriever from: the pretraining of `{base}` was continued on the
passages of the collection `{collection}` by [ance-tele](https://aclanthology.org/2022.emnlp-main.445) {version}.
Objective: {title}. It was trained on no query and no judgement.

{steps:,} steps of {batch:,} passages, {passages:,} of {corpus:,} passages ({left_out:,} were too short), seed {seed}.
`head.safetensors` holds the heads of the pretraining, which an encoder does without; `ance-tele pretrain` goes on from
them.

## Loss

On {sample:,} of the passages, without dropout, with other masks than in training:

| term | before | after |
| --- | --- | --- |
{losses}

## Use

```sh
ance-tele run ance-tele --data DATA --model path/to/this/folder --out runs/mine
```

```python
from transformers import AutoModel, AutoTokenizer

encoder = AutoModel.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

## Settings

| setting | value |
| --- | --- |
{settings}

Weights (sha-256 of all tensors): `{weights}`
"""


def model_card(facts: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Return the text of a model card: the facts of a pretraining and its settings."""
    base = Path(str(facts["base"])).name if Path(str(facts["base"])).exists() else facts["base"]
    rows = [(TERMS[name], value, facts["after"][name]) for name, value in facts["before"].items()]
    losses = "\n".join(f"| {title} | {before:.3f} | {after:.3f} |" for title, before, after in rows)
    chosen = "\n".join(f"| {name} | `{value}` |" for name, value in settings.items())
    title = TITLES[settings["objective"]]
    return CARD.format(**{**facts, "base": base}, title=title, losses=losses, settings=chosen)
