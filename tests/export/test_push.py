"""Uploads to the hub, with an HfApi that only remembers: what goes there, and what never does."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.export.hub import push


class Hub:
    """What is asked of an HfApi."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.made = {"repo_id": repo_id, **options}

    def create_commit(self, repo_id: str, operations: list[Any], **options: Any) -> Any:
        for one in operations:
            content = one.path_or_fileobj
            self.files[one.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
        return SimpleNamespace(commit_url=f"hub/{repo_id}/commit/1")


def test_a_run_is_uploaded_with_its_figures(explored: Path) -> None:
    hub = Hub()
    done = push(explored, "someone/toy", private=True, api=hub)
    assert done.url == "hub/someone/toy/commit/1"
    assert hub.made == {"repo_id": "someone/toy", "private": True, "exist_ok": True, "repo_type": "model"}
    assert {name: len(content) for name, content in hub.files.items()} == done.files
    folder = explored / "episode-2" / "model"
    assert hub.files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert {"modules.json", "tokenizer.json", "1_Pooling/config.json", "README.md"} <= hub.files.keys()
    assert b"sentence_transformers.models.Normalize" in hub.files["modules.json"]  # as training has saved it
    card = ModelCard(hub.files["README.md"].decode())
    summary = json.loads((explored / "summary.json").read_text("utf-8"))
    measured = {one.metric_name: one.metric_value for one in card.data.eval_results or ()}
    assert measured == {name: round(value, 6) for name, value in summary["final"].items()}
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    assert card.data.base_model is None  # a folder of this machine is no model of the hub
    assert 'SentenceTransformer("someone/toy"' in card.content
    forgotten = summary["episodes"][1]["forgetting_rate"]
    assert f"| {forgotten:.1%} |" in card.content and "sentence-transformers 6" in card.content
    assert str(explored.parent) not in card.content


def test_a_dry_run_shows_all_and_uploads_nothing(explored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(explored), "--to", "someone/toy", "--episode", "1", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    size = (explored / "episode-1" / "model" / "model.safetensors").stat().st_size
    assert f"{size:,}  model.safetensors" in shown and "library_name: sentence-transformers" in shown
    assert "nothing was." in shown


def test_only_safetensors_and_text_are_uploaded(explored: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(explored / "episode-2" / "model", tmp_path / "model"))
    for name in ("pytorch_model.bin", "false.safetensors", "false.json", ".secret.json"):
        (folder / name).write_bytes(pickle.dumps({"a": "b"}, protocol=4))
    (folder / "linked.json").symlink_to(folder / "config.json")
    hub = Hub()
    done = push(folder, "someone/toy", api=hub)
    assert {*done.left_out} == {"pytorch_model.bin", "false.safetensors", "false.json", ".secret.json", "linked.json"}
    assert not {*done.left_out} & hub.files.keys()


def test_what_cannot_be_uploaded_is_refused(explored: Path, tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert "owner/name" in refusal("push", explored, "--to", "toy")
    assert "no name of a repository" in refusal("push", explored, "--to", "some one/toy", "--dry-run")
    assert "no model of episode 7" in refusal("push", explored, "--to", "a/b", "--episode", "7", "--dry-run")
    assert "neither a run folder" in refusal("push", tmp_path, "--to", "a/b", "--dry-run")

    class Closed(Hub):
        def create_repo(self, repo_id: str, **options: Any) -> None:
            raise ConnectionError("no route to the hub")

    with pytest.raises(UserError, match=r"someone/toy was not uploaded: no route to the hub; check the network"):
        push(explored, "someone/toy", api=Closed())
