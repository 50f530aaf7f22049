"""The snippets of docs/drop-in.md run, one after the other, as the one program that they are."""

import re
from inspect import signature
from pathlib import Path

import pytest
from judges import write_judge
from sentence_transformers.util import mine_hard_negatives

import ance_tele as at

PAGE = (Path(__file__).parents[2] / "docs" / "drop-in.md").read_text("utf-8")


def test_the_snippets_run(
    toy: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my-model").symlink_to(tiny_model)
    (tmp_path / "my-collection").symlink_to(toy)
    write_judge(tiny_model, tmp_path / "my-teacher", labels=1)
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) == 6
    names: dict[str, object] = {}
    exec("\n".join(snippets), names)
    printed = capsys.readouterr().out
    assert "['question', 'answer', 'negative_1', 'negative_2']" in printed and "'momentum': " in printed
    assert "['anchor', 'positive'] 72 144" in printed
    callback = names["callback"]
    assert isinstance(callback, at.TeleportationCallback) and len(callback.pools) == 3
    assert len(list(tmp_path.glob("second/checkpoint-*/teleportation.safetensors"))) == 3


def test_arguments_have_the_names_of_mine_hard_negatives() -> None:
    ours, theirs = (signature(of).parameters for of in (at.mine_teleportation_negatives, mine_hard_negatives))
    assert len(ours.keys() & theirs.keys()) == 19
    new = {"history", "alpha", "beta", "depth", "pool_per_source", "momentum", "seed", "cache", "precision"}
    assert ours.keys() - theirs.keys() == new
    assert all(
        f"`{name}`" in PAGE or name.endswith("_prompt_name") for name in ours.keys() - {"dataset", "model", "cache"}
    )
