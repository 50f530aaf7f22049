"""The miniatures of the benchmarks, written once, and an encoder that can learn from them."""

import shutil
from pathlib import Path

import pytest
from miniatures import write_dpr, write_marco


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the three, under the names of the recipes."""
    folder = tmp_path_factory.mktemp("benchmarks")
    write_marco(folder / "marco")
    write_dpr(folder / "nq", "nq", "passage_id")
    write_dpr(folder / "triviaqa", "trivia", "psg_id")
    return folder


@pytest.fixture(scope="session")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder with wider attention: as small as BERT draws weights, the first token hardly sees the others."""
    import torch
    from transformers import AutoModel

    folder = tmp_path_factory.mktemp("starts") / "wide-bert"
    shutil.copytree(tiny_model, folder)
    bert = AutoModel.from_pretrained(tiny_model, add_pooling_layer=False)
    with torch.no_grad():
        for name, weight in bert.named_parameters():
            if name.endswith(("attention.self.value.weight", "attention.output.dense.weight")):
                weight.mul_(10)
    bert.save_pretrained(folder)
    return folder
