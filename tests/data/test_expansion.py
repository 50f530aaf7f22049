"""Terms that a file adds to passages and queries: read by BM25 and encoders, never shown to people."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import run_command

from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.answers import match_answers
from ance_tele.data.arrow import ROWS_PER_BATCH
from ance_tele.data.collection import Collection
from ance_tele.data.copies import Copies
from ance_tele.data.expansion import expand
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.encode.checkpoint import Checkpoint, TokenizedCollection
from ance_tele.encode.config import EncoderConfig
from ance_tele.evaluate.retrieval import run_of
from ance_tele.runs.folder import open_run
from ance_tele.runs.identity import agreeing
from ance_tele.search.bm25 import BM25Retriever
from ance_tele.settings import Recipe
from ance_tele.store.files import read_json

pytestmark = pytest.mark.usefixtures("undrawn")

CORPUS = {"p1": ("A title", "a lock"), "p2": "a key", "p3": "a door"}
QUERIES = {"q1": "opener", "q2": "closer"}
QRELS = {"train": {"q2": {"p1": 1}}, "test": {"q1": {"p2": 1}}}


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return collection_from_dicts(CORPUS, QUERIES, QRELS, cache=tmp_path / "cache")


def added(collection: Collection, part: str = "passages") -> list[str]:
    """Return what retrievers read of each text."""
    texts = collection.corpus if part == "passages" else collection.queries
    return [text for _, bodies in texts.batches(expanded=True) for text in bodies]


FILES = {
    "terms.tsv": "p2\topens  a lock\nunknown\tx\np1\tclosed with a key\n",
    "terms.jsonl": '{"id": "p2", "terms": "opens a lock"}\n'
    '{"_id": "p1", "predicted_queries": ["closed", "with a key"]}\n',
    "terms.txt": "closed with a key\nopens a lock\n\n",
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_files_of_terms(name: str, packed: bool, collection: Collection, tmp_path: Path, logged: list[str]) -> None:
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(FILES[name].encode()) if packed else FILES[name].encode())
    found = expand(collection, passages=path, cache=tmp_path / "cache")
    assert added(found) == ["a lock closed with a key", "a key opens a lock", "a door"]
    strange = "; 1 ids of the file are not in the collection" if name == "terms.tsv" else ""
    assert logged == [f"{path.name} adds terms to 2 of 3 passages; 1 have none{strange}"]
    # What people see is what it was.
    assert found.corpus[0] == collection.corpus[0] and found.corpus[1]["text"] == "a key"
    assert [text for _, bodies in found.corpus.batches() for text in bodies] == ["a lock", "a key", "a door"]
    assert added(found, "queries") == ["opener", "closer"]


def test_several_lines_of_an_id_are_joined(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_text("q1\tlock\nq2\tdoor\nq1\tkey\n")
    found = expand(collection, queries=tmp_path / "terms.tsv", cache=tmp_path / "cache")
    assert added(found, "queries") == ["opener lock key", "closer door"]
    (tmp_path / "one.tsv").write_text("q1\tlock key\nq2\tdoor\n")
    assert expand(collection, queries=tmp_path / "one.tsv").fingerprint == found.fingerprint, "the same terms"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_order_of_lines_gives_the_same_texts(data: st.DataObject) -> None:
    """Rows get the terms of their ids, in the order of the file, also beyond a batch."""
    from tempfile import TemporaryDirectory

    rows = data.draw(st.sampled_from([3, 40]))
    lines = data.draw(st.lists(st.tuples(st.integers(0, rows + 2), st.text("abc ", max_size=5)), max_size=30))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ance_tele.data.expansion.ROWS_PER_BATCH", 7)
        corpus = {f"p{row}": f"text {row}" for row in range(rows)}
        made = collection_from_dicts(corpus, {"q": "x"}, {"test": {"q": {"p0": 1}}}, cache=Path(folder))
        path = Path(folder) / "terms.tsv"
        path.write_text("".join(f"p{row}\t{terms}\n" for row, terms in lines))
        expected = {row: " ".join(" ".join(t for r, t in lines if r == row).split()) for row in range(rows)}
        if not any(row < rows for row, _ in lines):
            with pytest.raises(UserError, match="names none of the passages"):
                expand(made, passages=path, cache=Path(folder))
            return
        texts = added(expand(made, passages=path, cache=Path(folder)))
        assert texts == [f"text {row} {terms}".strip() for row, terms in expected.items()]
    assert ROWS_PER_BATCH > 7


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "terms.tsv",
            b"p1\tlock\np2 key\n",
            r"terms\.tsv line 2 has 1 tab-separated fields; two are needed: an id and its terms",
        ),
        ("terms.tsv", b"p1\t\xe9\n", r"terms\.tsv line 1 is not UTF-8"),
        ("terms.tsv", b"", r"terms\.tsv names none of the passages of this collection; is it of other data\?"),
        ("terms.tsv", b"x\ty\n", r"terms\.tsv names none of the passages of this collection such as 'x'"),
        ("terms.txt", b"one\ntwo\n", r"terms\.txt has 2 lines, and the collection 3 passages"),
        ("terms.jsonl", b'{"terms": "a"}\n', r"terms\.jsonl line 1 has no field 'id' or '_id'"),
        ("terms.jsonl", b'{"id": "p1", "words": "a"}\n', r"has no field 'terms' or 'predicted_queries' or 'text'"),
        ("terms.jsonl", b'{"id": "p1", "terms": [1]}\n', r"the terms must be a string or a list of strings, got \[1\]"),
        ("terms.jsonl", b'{"id": "p1", "terms": "\\ud800"}\n', r"terms\.jsonl line 1 holds half a character"),
        ("terms.jsonl", b"[]\n", r"terms\.jsonl line 1 is a JSON list; an object is needed"),
        ("terms.csv", b"p1,lock\n", r"terms\.csv must end in \.tsv, \.jsonl or \.txt"),
        ("terms.tsv.gz", b"p1\tlock\n", r"terms\.tsv\.gz is a damaged gzip file"),
    ],
)
def test_a_file_that_is_none(name: str, content: bytes, sentence: str, collection: Collection, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        expand(collection, passages=tmp_path / name, cache=tmp_path / "cache")
    with pytest.raises(UserError, match=r"nowhere\.tsv is no file; expand_queries takes"):
        expand(collection, queries=tmp_path / "nowhere.tsv")


def test_what_is_made_of_texts_is_made_anew(collection: Collection, tiny_model: Path, tmp_path: Path) -> None:
    """Tokens, vectors and BM25 of expanded texts have keys of their own; those of the other part keep theirs."""
    (tmp_path / "terms.tsv").write_text("p2\tt1 t2\n")
    found = expand(collection, passages=tmp_path / "terms.tsv", cache=tmp_path / "cache")
    assert found.fingerprint != collection.fingerprint and found.texts == collection.texts
    assert found.texts_of("passages") != collection.texts_of("passages") == collection.texts
    assert found.texts_of("queries") == collection.texts
    checkpoint = Checkpoint(tiny_model, EncoderConfig())
    before, after = (
        TokenizedCollection(checkpoint, one, EncoderConfig(), tmp_path / "cache") for one in (collection, found)
    )
    assert before.queries.key == after.queries.key and before.passages.key != after.passages.key
    assert len(after.passages[1]) == len(before.passages[1]) + 2
    # Other terms under the same name.
    (tmp_path / "terms.tsv").write_text("p2\tt1 t2 t3\n")
    again = expand(collection, passages=tmp_path / "terms.tsv", cache=tmp_path / "cache")
    assert again.fingerprint not in (found.fingerprint, collection.fingerprint)
    with pytest.raises(UserError, match=r"are expanded by .*terms\.tsv already"):
        expand(found, passages=tmp_path / "terms.tsv", cache=tmp_path / "cache")
    assert expand(again, passages=tmp_path / "terms.tsv", cache=tmp_path / "cache") is again
    # Answers and copies are looked for in the texts alone.
    offsets, rows = np.array([0, 3]), np.arange(3)
    assert match_answers(offsets, rows, [["t1"]], again.corpus).tolist() == [False] * 3
    assert (Copies.of(again).whole == Copies.of(collection).whole).all()


def test_held_out_and_expanded_in_any_order(tmp_path: Path) -> None:
    queries = {f"q{number}": f"text {number}" for number in range(20)}
    made = collection_from_dicts({"d": "a"}, queries, {"train": {name: {"d": 1} for name in queries}}, cache=tmp_path)
    (tmp_path / "terms.tsv").write_text("d\tb\n")
    (tmp_path / "more.tsv").write_text("q3\tc\n")
    first = expand(made.held_out(0.2), tmp_path / "terms.tsv", tmp_path / "more.tsv")
    second = expand(expand(made, queries=tmp_path / "more.tsv").held_out(0.2), tmp_path / "terms.tsv")
    assert first.fingerprint == second.fingerprint and first.texts == second.texts == made.texts
    assert first.qrels["dev"].queries.tolist() == made.held_out(0.2).qrels["dev"].queries.tolist()
    # A recipe takes over what a collection has, and the other way round.
    recipe, same = agreeing(Recipe("x"), first)
    assert same is first and recipe.episode.expand_passages == str(tmp_path / "terms.tsv")
    assert agreeing(recipe, made)[1].fingerprint == first.fingerprint


# ---- retrieval and runs ------------------------------------------------------------------------------


def test_bm25_reads_the_terms(collection: Collection, tmp_path: Path) -> None:
    rows = collection.qrels["test"].queries
    assert (BM25Retriever(collection, "none").search(rows, 3).rows == -1).all()
    (tmp_path / "d2q.tsv").write_text("p2\topener of doors\n")
    (tmp_path / "gar.tsv").write_text("q1\tdoor\n")
    passages, queries = (
        expand(collection, **{part: tmp_path / name})
        for part, name in (("passages", "d2q.tsv"), ("queries", "gar.tsv"))
    )
    for one, best in ((passages, "p2"), (queries, "p3")):
        found = BM25Retriever(one, "none").search(rows, 3)
        assert run_of(found, rows, one).passage_ids[0] == [best]


@pytest.fixture(scope="module")
def terms(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predicted queries for a third of the toy passages: those of the test queries, each at the passage of another."""
    collection = load_collection(toy)
    qrels = collection.qrels["test"]
    path = tmp_path_factory.mktemp("terms") / "d2q.jsonl"
    lines = [
        {"id": collection.corpus[passage]["id"], "terms": [collection.queries[query]["text"]] * 3}
        for query, passage in zip(qrels.queries, np.roll(qrels.passages, 1), strict=True)
    ]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return path


def test_a_run_on_expanded_texts(toy: Path, terms: Path, lexical: Path, tmp_path: Path) -> None:
    out = tmp_path / "runs" / "d2q"
    command = ["run", "bm25", f"--data={toy}", f"--out={out}", f"--expand-passages={terms}"]
    assert main(command) == 0
    summary, plain = (read_json(folder / "summary.json") for folder in (out, lexical))
    assert summary["final"]["MRR@10"] < 0.6 < plain["final"]["MRR@10"]
    assert summary["data"]["expansions"] == {"passages": {"file": "d2q.jsonl", "filled": 48, "texts": 144}}
    assert "expansions" not in plain["data"]
    assert summary["data"]["fingerprint"] != plain["data"]["fingerprint"]
    assert "48 of 144 passages are read with terms that d2q.jsonl adds." in (out / "report.md").read_text()
    identity = read_json(out / "run.json")
    assert not Path(identity["expand_passages"]).is_absolute() and (out / identity["expand_passages"]).samefile(terms)
    assert open_run(out).collection.fingerprint == summary["data"]["fingerprint"]
    assert main(command) == 0, "the same command resumes"


def test_another_file_is_another_run(
    toy: Path, terms: Path, tmp_path: Path, refusal: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, own = tmp_path / "run", tmp_path / "own.jsonl"
    own.write_bytes(terms.read_bytes())
    command = ["run", "bm25", f"--data={toy}", f"--out={out}"]
    assert main([*command, f"--expand-passages={own}"]) == 0
    assert "own.jsonl adds terms to 48 of 144 passages; 96 have none" in capsys.readouterr().out
    assert main([*command, f"--expand-passages={terms}"]) == 0, "the same terms in another place"
    assert "the data was" in refusal(*command)
    own.write_text('{"id": "d00-0", "terms": "other"}\n')
    assert "the data was" in refusal(*command, f"--expand-passages={own}")
    assert "is no file; expand_queries takes" in refusal(*command, f"--expand-queries={tmp_path}/nowhere.tsv")


def test_a_dense_run_on_expanded_texts(toy: Path, tiny_model: Path, terms: Path, tmp_path: Path) -> None:
    """Trained and measured on the longer texts; another model of the run's folder is asked on these, too."""
    command = run_command(toy, tiny_model, tmp_path / "run", "zero-shot", split="test", baselines="[zero-shot]")
    training = {"learning_rate", "epochs", "batch_queries", "negatives_per_query", "depth", "pool_per_source"}
    command = [word for word in command if word[2:].partition("=")[0] not in training]
    assert main([*command, f"--expand-passages={terms}", "--passage_max_len=32"]) == 0
    assert main([*(word.replace("/run", "/plain") for word in command), "--passage_max_len=32"]) == 0
    found, plain = (read_json(tmp_path / name / "summary.json")["final"] for name in ("run", "plain"))
    assert found != plain
    flags = [f"--data={toy}", "--split=test", "--query_max_len=16", "--passage_max_len=32", "--precision=float32"]
    file = tmp_path / "alone.trec"
    assert main(["evaluate", str(tiny_model), *flags, f"--expand-passages={terms}", f"--run-file={file}"]) == 0
    assert file.read_text().split()[:5] == (tmp_path / "run/episode-0/run.trec").read_text().split()[:5]
