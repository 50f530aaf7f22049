"""Cut a model to its first layers: a start that two cores can afford.

python benchmarks/laboratory/cut.py all-MiniLM-L6-v2 starts/minilm-2 --layers 2
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="folder or hub name of a BERT-like encoder")
    parser.add_argument("out", type=Path, help="folder of the cut model, a plain Hugging Face encoder")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--half", action="store_true", help="store float16, half the size; it is read as float32")
    given = parser.parse_args()
    model = AutoModel.from_pretrained(given.model, dtype=torch.float32)
    model.encoder.layer = model.encoder.layer[: given.layers]
    model.config.num_hidden_layers = given.layers
    model.pooler = None
    (model.half() if given.half else model).save_pretrained(given.out)
    AutoTokenizer.from_pretrained(given.model).save_pretrained(given.out)
    print(f"{given.out}: {given.layers} layers, {sum(p.numel() for p in model.parameters()):,} weights")


if __name__ == "__main__":
    main()
