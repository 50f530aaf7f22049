"""Artefacts as values: what was just made is not read back, what was found is."""

from pathlib import Path
from typing import Any

import pytest

from ance_tele.store.artefacts import Artefact, cached, writing


def make(path: Path, inputs: dict[str, Any], text: str) -> Artefact[str]:
    if found := cached(path, inputs):
        return Artefact(found, path.read_text)
    with writing(path, "note", inputs) as made:
        made.target.write_text(text)
        made.facts["length"] = len(text)
    return made.artefact(path.read_text, text)


def test_what_was_made_is_not_read_back_and_what_was_found_is(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    first = make(path, {"a": (1, 2)}, "made")
    assert (first.load(), first.manifest.facts) == ("made", {"length": 4})
    path.write_text("same")  # of the same size, so that it is still whole
    assert first.load() == "made"
    assert first.on_disk().load() == "same"
    path.write_text("made")  # what the checksum is of
    again = make(path, {"a": [1, 2]}, "never made")
    assert (again.load(), again.value, again.manifest.reused) == ("made", None, True)


def test_other_inputs_make_it_again(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    make(path, {"a": 1}, "one")
    assert make(path, {"a": 2}, "two").load() == path.read_text() == "two"


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    with pytest.raises(RuntimeError), writing(path, "note", {}) as made:
        made.target.write_text("half")
        raise RuntimeError
    assert cached(path, {}) is None
    assert list(tmp_path.iterdir()) == []


def test_a_spread_artefact_lies_beside_its_name(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    with writing(path, "notes", {}, spread=True) as made:
        made.target.mkdir()
        for name in ("a", "b"):
            (made.target / name).write_text(name)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a", "b", "notes.manifest.json"]
    (tmp_path / "b").unlink()
    assert cached(path, {}) is None
