"""Datasets by name: of ir_datasets, and of the Hugging Face hub."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from format_files import Content, read, refused, write
from test_training_files import FLAG, FLAG_CONTENT, TRIPLETS, TRIPLETS_CONTENT

from ance_tele.data.formats.examples import text_id
from ance_tele.data.load import load_collection
from ance_tele.store.manifests import read_manifest

# ---- ir_datasets ---------------------------------------------------------------------------------


class Doc(NamedTuple):
    doc_id: str
    text: str
    title: str


class Page(NamedTuple):
    doc_id: str
    url: str
    body: str

    def default_text(self) -> str:
        return self.body


class Picture(NamedTuple):
    doc_id: str
    pixels: bytes


class Query(NamedTuple):
    query_id: str
    text: str
    answers: tuple[str, ...] = ()


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int
    iteration: str = "0"


class Dataset:
    """As much of a dataset of ir_datasets as is used."""

    def __init__(self, docs: list[Any], queries: list[Query] | None = None, qrels: list[Qrel] | None = None) -> None:
        self.parts = {"docs": docs, "queries": queries or [], "qrels": qrels or []}

    def __getattr__(self, name: str) -> Callable[[], Any]:
        if name.startswith("has_"):
            return lambda: bool(self.parts[name.removeprefix("has_")])
        return lambda: iter(self.parts[name.removesuffix("_iter")])


DOCS = [Doc("d1", "one", "T"), Doc("d2", "two", "")]
DATASETS = {
    "plain": Dataset(DOCS),
    "plain/train": Dataset(DOCS, [Query("1", "x"), Query("2", "x")], [Qrel("1", "d1", 1), Qrel("2", "d2", 1)]),
    "plain/dev": Dataset(DOCS, [Query("3", "all")], [Qrel("3", "d1", 1)]),
    "plain/dev/small": Dataset(DOCS, [Query("4", "few")], [Qrel("4", "d2", 3), Qrel("4", "d1", 0)]),
    "open/x/dev": Dataset([Page("p", "u", "body")], [Query("5", "who", ("A",))], [Qrel("5", "p", 2)]),
    "none": Dataset(DOCS),
    "pictures": Dataset([Picture("p", b"x")], [Query("1", "x")], [Qrel("1", "p", 1)]),
    "questions": Dataset([], [Query("1", "x")], [Qrel("1", "p", 1)]),
}


@pytest.fixture
def irds(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ir_datasets")
    module.load = lambda name: DATASETS[name]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ir_datasets", module)


@pytest.mark.usefixtures("irds")
def test_a_dataset_of_ir_datasets_with_the_splits_below_it(tmp_path: Path) -> None:
    assert read("irds:plain", tmp_path) == Content(
        {"d1": ("T", "one"), "d2": ("", "two")},
        {"1": "x", "2": "x", "4": "few"},
        {"train": {"1": {"d1": 1}, "2": {"d2": 1}}, "dev": {"4": {"d2": 3, "d1": 0}}},
        {},
    )
    assert read("irds:plain/dev/small", tmp_path).qrels == {"dev": {"4": {"d2": 3, "d1": 0}}}
    opened = Content({"p": ("", "body")}, {"5": "who"}, {"dev": {"5": {"p": 2}}}, {"5": ["A"]})
    assert read("irds:open/x", tmp_path) == read("irds:open/x/dev", tmp_path) == opened


@pytest.mark.usefixtures("irds")
@pytest.mark.parametrize(
    ("name", "fragments"),
    [
        ("nothing", ["no dataset 'nothing'", "irds:beir/scifact"]),
        ("none", ["'none'", "no judgements"]),
        ("pictures", ["'p'", "no text", "doc_id, pixels"]),
        ("questions", ["'questions'", "no passages"]),
    ],
)
def test_datasets_of_ir_datasets_that_are_refused(tmp_path: Path, name: str, fragments: list[str]) -> None:
    sentence = refused(f"irds:{name}", tmp_path)
    assert all(fragment in sentence for fragment in fragments), sentence


def test_without_ir_datasets_the_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert "pip install ir_datasets" in refused("irds:plain", tmp_path)


def test_what_is_named_is_fetched_once(tmp_path: Path, irds: None, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_collection("irds:plain", tmp_path)
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    assert load_collection("irds:plain", tmp_path).fingerprint == first.fingerprint
    stood = read_manifest(first.folder)
    assert stood is not None and stood.inputs["reader"] == "irds" and stood.inputs["name"] == "plain"


# ---- the hub -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline() -> Iterator[None]:
    """Datasets come from local folders; its cache is a temporary one, and the network is left alone."""
    with tempfile.TemporaryDirectory() as cache, pytest.MonkeyPatch.context() as patch:
        import datasets

        patch.setattr("datasets.config.HF_DATASETS_CACHE", Path(cache))
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        yield


def beir_on_the_hub(folder: Path, qrels: Mapping[str, list[dict[str, Any]]], config: str | None = "default") -> Path:
    """Write a dataset with the configs corpus, queries and, with a name, one of judgements."""
    tables: dict[str, dict[str, list[dict[str, Any]]]] = {
        "corpus": {"corpus": [{"_id": "d1", "title": "T", "text": "one"}, {"_id": "2", "title": "", "text": "two"}]},
        "queries": {"queries": [{"_id": "7", "title": "", "text": "x"}, {"_id": "8", "title": "", "text": "x"}]},
    }
    if config:
        tables[config] = dict(qrels)
    card = ["---", "configs:"]
    for name, splits in tables.items():
        card += [f"- config_name: {name}", "  data_files:"]
        for split, rows in splits.items():
            write(folder / name, {f"{split}.parquet": pa.Table.from_pylist(rows)})
            card += [f"  - split: {split}", f"    path: {name}/{split}.parquet"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return folder


HUB_QRELS: dict[str, list[dict[str, Any]]] = {
    "train": [{"query-id": "7", "corpus-id": "d1", "score": 1}, {"query-id": "8", "corpus-id": "2", "score": 2}],
    "validation": [{"query-id": "7", "corpus-id": "2", "score": 0}],
}
HUB_CONTENT = Content(
    {"d1": ("T", "one"), "2": ("", "two")},
    {"7": "x", "8": "x"},
    {"train": {"7": {"d1": 1}, "8": {"2": 2}}, "dev": {"7": {"2": 0}}},
    {},
)


@pytest.mark.usefixtures("offline")
def test_a_dataset_of_the_hub_in_beir_layout(tmp_path: Path) -> None:
    folder = beir_on_the_hub(tmp_path / "one", HUB_QRELS)
    assert read(f"hub:{folder}", tmp_path / "cache") == HUB_CONTENT


@pytest.mark.usefixtures("offline")
def test_judgements_in_a_dataset_of_their_own(tmp_path: Path) -> None:
    folder = beir_on_the_hub(tmp_path / "two", {}, config=None)
    write(tmp_path / "two-qrels", {"test.tsv": "query-id\tcorpus-id\tscore\n7\t2\t1\n"})
    assert read(f"hub:{folder}", tmp_path / "cache").qrels == {"test": {"7": {"2": 1}}}


@pytest.mark.usefixtures("offline")
def test_training_rows_of_the_hub(tmp_path: Path) -> None:
    folder = write(tmp_path / "rows", {"train.jsonl": TRIPLETS, "validation.jsonl": TRIPLETS[1:]})
    found = read(f"hub:{folder}", tmp_path / "cache")
    assert found.qrels == {**TRIPLETS_CONTENT.qrels, "dev": {"dev-1": {text_id("n"): 1}}}
    assert found.corpus == TRIPLETS_CONTENT.corpus
    flag = write(tmp_path / "flag", {"train.jsonl": [{"query": "same", "pos": ["a", "b"], "neg": ["c"]}, FLAG[1]]})
    assert read(f"hub:{flag}", tmp_path / "cache") == FLAG_CONTENT


@pytest.mark.usefixtures("offline")
def test_datasets_of_the_hub_that_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert "'nobody/nothing' cannot be read" in refused("hub:nobody/nothing", cache)
    odd = write(tmp_path / "odd", {"train.jsonl": [{"input": "x", "target": "y"}]})
    assert "fields input, target; known are" in refused(f"hub:{odd}", cache)
    several = beir_on_the_hub(tmp_path / "several", HUB_QRELS, config="pairs")
    (several / "README.md").write_text((several / "README.md").read_text().replace("name: corpus", "name: texts"))
    sentence = refused(f"hub:{several}", cache)
    assert "texts, queries, pairs; name one" in sentence
