"""Review files: read, written, refused; and runs that take one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import SETTINGS as TOY

from ance_tele.cli.convert import convert
from ance_tele.cli.main import main
from ance_tele.console.errors import UserError
from ance_tele.data.collection import Collection
from ance_tele.data.grades import ReviewAs
from ance_tele.data.load import collection_from_dicts, load_collection
from ance_tele.data.reasons import current_reasons
from ance_tele.data.review import VERDICTS, Verdict, read_review, write_review
from ance_tele.data.reviewed import load_review
from ance_tele.episode import run
from ance_tele.mining.config import MiningConfig
from ance_tele.recipes import recipe
from ance_tele.runs.folder import open_run
from ance_tele.runs.training_set import TrainingSet
from ance_tele.store.manifests import read_manifest

pytestmark = pytest.mark.usefixtures("undrawn")

# ---- the file ------------------------------------------------------------------------------------

# Former names of reasons are read as the current ones.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: "\0" not in text and current_reasons(text) == text
)
ROWS = st.lists(
    st.builds(
        Verdict,
        TEXT.filter(bool),
        TEXT.filter(bool),
        st.sampled_from(VERDICTS),
        *[TEXT | st.just('a "b",\r\nc;\td') for _ in range(5)],
    ),
    max_size=6,
    unique_by=lambda row: (row.query_id, row.passage_id),
)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list[Verdict]) -> None:
    path = tmp_path_factory.mktemp("reviews") / "review.csv"
    write_review(path, rows)
    assert read_review(path) == rows
    assert [file.name for file in path.parent.iterdir()] == ["review.csv"]


def test_columns_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes(
        b'\xef\xbb\xbfnote,verdict,passage_id,query_id\r\nx,relevant,d1,q1\r\n\r\n"a\nb",unsure,d2,q1\r\ny,negative,d3,q1\r\n'
    )
    rows = read_review(path)
    assert rows == [Verdict("q1", f"d{n}", verdict) for n, verdict in enumerate(("relevant", "unsure", "negative"), 1)]
    assert [row.line for row in rows] == [2, 4, 6]


def test_a_text_that_no_csv_reader_takes_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    write_review(path, [Verdict("q", "d", "unsure", text="x" * 200_000)])
    assert read_review(path)[0].text == "x" * 100_000


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "line 1 lacks the columns query_id, passage_id, verdict"),
        (b"query_id,passage_id\nq,d\n", "line 1 lacks the column 'verdict'"),
        (b"query_id;passage_id;verdict\nq;d;relevant\n", "divided by commas"),
        (
            b"query_id,passage_id,verdict\nq,d,relevant\nq,e,maybe\n",
            "line 3 has the verdict 'maybe'; it must be one of",
        ),
        (b"query_id,passage_id,verdict\nq,d\n", "line 2 has 2 fields, and the header 3"),
        (b"query_id,passage_id,verdict\n,d,unsure\n", "line 2 has no query_id"),
        (b"query_id,passage_id,verdict\nq,d,unsure\nq,\xe9,unsure\n", "line 3 is not UTF-8 \\(byte 0xe9\\)"),
        (b'query_id,passage_id,verdict\nq,"d"x,unsure\n', "line 2 is not well-formed CSV"),
        (
            b"query_id,passage_id,verdict\nq,d,relevant\nq,e,unsure\nq,d,negative\n",
            "line 4 calls passage 'd' negative for query 'q', and line 2 calls it relevant",
        ),
    ],
)
def test_a_file_that_is_none_is_named_with_its_line(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"review.csv.*{sentence}"):
        read_review(path)


def test_what_cannot_be_read_or_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.csv cannot be read"):
        read_review(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match=r"has the verdict 'good'"):
        write_review(tmp_path / "review.csv", [Verdict("q", "d", "good")])
    assert not list(tmp_path.iterdir())


# ---- with a collection ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy_collection(toy: Path) -> Collection:
    return load_collection(toy)


def written(path: Path, *rows: tuple[str, str, str]) -> Path:
    write_review(path, [Verdict(*row) for row in rows])
    return path


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            ("q99-9", "d00-1", "unsure"),
            "line 3 has the query_id 'q99-9', which is no query of collection 'toy', and 1 more",
        ),
        (
            ("q00-0", "d99-9", "relevant"),
            "line 3 has the passage_id 'd99-9', which is no passage of .* \\(2 of 3 rows\\)",
        ),
        (("q00-3", "d00-1", "relevant"), "line 3 has the query_id 'q00-3', which is no training query of"),
    ],
)
def test_a_review_of_other_data_is_refused(
    toy_collection: Collection, tmp_path: Path, row: tuple[str, str, str], sentence: str
) -> None:
    other = (row[0], row[1].replace("0-1", "0-2").replace("9-9", "9-8"), row[2])
    path = written(tmp_path / "review.csv", ("q00-0", "d00-1", "relevant"), row, other)
    with pytest.raises(UserError, match=sentence):
        load_review(path, toy_collection)


def test_only_what_decides_a_number_decides_the_fingerprint(toy_collection: Collection, tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    rows = [("q00-1", "d00-2", "relevant"), ("q00-0", "d00-1", "relevant")]
    first = load_review(written(path, *rows), toy_collection)
    assert first.relevant[0].tolist() == toy_collection.queries.rows(["q00-0", "q00-1"]).tolist()
    assert first.relevant[1].tolist() == toy_collection.corpus.rows(["d00-1", "d00-2"]).tolist()
    same = load_review(written(path, *rows[::-1], rows[0], ("q00-2", "d05-0", "negative")), toy_collection)
    assert same.fingerprint == first.fingerprint and len(same.relevant[0]) == 2
    assert load_review(path, toy_collection, "positives").fingerprint != first.fingerprint
    other = load_review(written(path, *rows, ("q00-2", "d05-0", "relevant")), toy_collection)
    assert other.fingerprint != first.fingerprint
    nothing = load_review(written(path), toy_collection)
    assert len(nothing.relevant[0]) == 0 and nothing.relevant[0].dtype == np.int64


def ids(collection: Collection, training: TrainingSet, what: str) -> dict[str, list[str]]:
    qrels = getattr(training, what)
    found = {}
    for place, row in enumerate(qrels.queries):
        part = qrels.passages[qrels.offsets[place] : qrels.offsets[place + 1]]
        found[collection.queries[int(row)]["id"]] = collection.corpus.take_ids(part).to_pylist()
    return found


def test_positives_and_what_is_known(tmp_path: Path) -> None:
    """A passage is a positive once; a query without one gets its first; what is excluded is known, but no positive."""
    collection = collection_from_dicts(
        {name: f"text {name}" for name in "abcde"},
        {"q1": "one", "q2": "two", "q3": "three", "t": "test"},
        {"train": {"q1": {"c": 1, "a": 0}, "q2": {"b": 1}, "q3": {"e": 0}}, "test": {"t": {"a": 1}}},
    )
    rows = [("q1", "c", "relevant"), ("q1", "a", "relevant"), ("q2", "a", "negative"), ("q3", "d", "relevant")]
    path = written(tmp_path / "review.csv", *rows, ("q2", "e", "unsure"))
    training = {
        use: TrainingSet.of(collection, MiningConfig(), review=load_review(path, collection, use))
        for use in get_args(ReviewAs)
    }
    added = training["positives"]
    assert ids(collection, added, "positives") == {"q1": ["c", "a"], "q2": ["b"], "q3": ["d"]}
    assert added.known is added.positives
    assert ids(collection, training["exclude"], "positives") == {"q1": ["c"], "q2": ["b"]}
    assert ids(collection, training["exclude"], "known") == {"q1": ["c", "a"], "q2": ["b"]}


# ---- runs ----------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    **TOY,
    "learning_rate": 3e-3,
    "batch_queries": 24,
    "epochs": 1,
    "episodes": 2,
    "baselines": ["zero-shot"],
    "report_to": ["none"],
    "max_train_queries": 48,
    "sources": ["query", "lookahead", "bm25", "random"],
}


def command(toy: Path, model: Path, out: Path, *more: str) -> list[str]:
    given = {name: json.dumps(value).replace('"', "") for name, value in SETTINGS.items()}
    paths = [f"--data={toy}", f"--model={model}", f"--out={out}"]
    return ["run", "ance-tele", *paths, *(f"--{name}={value}" for name, value in given.items()), *more]


def pools(out: Path) -> dict[tuple[int, str], set[tuple[str, str]]]:
    """Return the pairs of all pools, by episode and source."""
    found: dict[tuple[int, str], set[tuple[str, str]]] = {}
    for episode in (1, 2):
        table = pq.read_table(out / f"episode-{episode}" / "pool.parquet")
        columns = (table[name].to_pylist() for name in ("source", "query_id", "passage_id"))
        for source, query, passage in zip(*columns, strict=True):
            found.setdefault((episode, source), set()).add((query, passage))
    return found


@pytest.fixture(scope="module")
def plain(toy: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without a review, of all sources."""
    out = tmp_path_factory.mktemp("runs") / "plain"
    assert main(command(toy, tiny_model, out)) == 0
    assert "review" not in (out / "run.json").read_text()
    return out


@pytest.fixture(scope="module")
def review(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verdicts on ten pairs of every source and episode of the plain run."""
    pairs = {pair for held in pools(plain).values() for pair in sorted(held)[:10]}
    path = tmp_path_factory.mktemp("review") / "verdicts.csv"
    return written(path, *((query, passage, "relevant") for query, passage in sorted(pairs)))


def test_what_is_excluded_is_in_no_pool(
    toy: Path,
    tiny_model: Path,
    plain: Path,
    review: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, pairs = tmp_path / "run", {(row.query_id, row.passage_id) for row in read_review(review)}
    before = pools(plain)
    assert {source for _, source in before} == {"query", "lookahead", "bm25", "random", "momentum"}
    assert all(held & pairs for held in before.values())
    given = command(toy, tiny_model, out, f"--review={review}")
    assert main(given) == 0
    assert f"{len(pairs)} passages called relevant, never drawn as negatives" in capsys.readouterr().out
    after = pools(out)
    assert after.keys() == before.keys() and not any(held & pairs for held in after.values())
    assert pq.read_table(out / "positives.parquet").equals(pq.read_table(plain / "positives.parquet"))
    assert json.loads((out / "summary.json").read_text())["data"]["review"] == {"as": "exclude", "pairs": len(pairs)}
    report = (out / "report.md").read_text()
    assert f"| passages that a review makes no negatives | {len(pairs)} |" in report
    assert "--model MODEL --review REVIEW --review_as exclude --out NEW" in report
    identity = json.loads((out / "run.json").read_text())
    assert not Path(identity["review"]).is_absolute() and (out / identity["review"]).samefile(review)

    # What decides nothing may change; the same command finds everything standing.
    rows = read_review(review)
    write_review(tmp_path / "more.csv", [*rows, replace(rows[0], passage_id="d23-5", verdict="unsure")])
    assert main(command(toy, tiny_model, out, f"--review={tmp_path / 'more.csv'}")) == 0
    printed = capsys.readouterr().out
    assert printed.count(" cached ") == 9 and "made again" not in printed
    # A run opened later knows its review, wherever the file is by then.
    opened = open_run(out)
    assert opened.review is not None and opened.review.fingerprint == identity["fingerprints"]["review"]

    write_review(tmp_path / "more.csv", rows[1:])
    for other in ([f"--review={tmp_path / 'more.csv'}"], [f"--review={review}", "--review_as=positives"], []):
        assert main(command(toy, tiny_model, out, *other)) == 2
        assert "the review was" in capsys.readouterr().err
    assert main(command(toy, tiny_model, plain, f"--review={review}")) == 2
    assert "the review was none, is" in capsys.readouterr().err


def test_what_is_added_is_a_positive(toy: Path, tiny_model: Path, plain: Path, review: Path, tmp_path: Path) -> None:
    pairs = [(row.query_id, row.passage_id) for row in read_review(review)]
    chosen = recipe("ance-tele").with_settings(**SETTINGS)
    summary = run(chosen, load_collection(toy), tiny_model, tmp_path / "run", toy, review=review, review_as="positives")
    table = pq.read_table(tmp_path / "run" / "positives.parquet")
    positives = list(zip(table["query_id"].to_pylist(), table["passage_id"].to_pylist(), strict=True))
    before = pq.read_table(plain / "positives.parquet")
    judged = list(zip(before["query_id"].to_pylist(), before["passage_id"].to_pylist(), strict=True))
    assert len(positives) == len(set(positives)) and set(positives) == {*judged, *pairs}
    first = [positives[[query for query, _ in positives].index(query)] for query, _ in judged]
    assert first == judged, "what was judged stays in front"
    assert not any(held & set(pairs) for held in pools(tmp_path / "run").values())
    assert summary["data"]["review"] == {"as": "positives", "pairs": len(pairs)}
    lines = tmp_path / "pool.jsonl"
    convert(str(tmp_path / "run"), lines, "flagembedding")
    assert sum(len(json.loads(line)["pos"]) for line in lines.read_text().splitlines()) == len(positives)
    models = [read_manifest(one / "episode-2" / "model") for one in (plain, tmp_path / "run")]
    assert models[0] and models[1] and models[0].facts["weights"] != models[1].facts["weights"]


def test_flags_of_a_review(toy: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review = written(tmp_path / "review.csv", ("q00-0", "d00-1", "relevant"))
    out = tmp_path / "run"
    assert main(command(toy, tiny_model, out, f"--review={review}", "--review_as=keep")) == 2
    assert "review_as is 'keep'; it must be one of exclude, positives." in capsys.readouterr().err
    assert main(command(toy, tiny_model, out, f"--review={tmp_path}")) == 2
    assert "cannot be read (Is a directory)" in capsys.readouterr().err
    assert not out.exists()
    config = tmp_path / "config.yaml"
    config.write_text(f"review: {tmp_path / 'nowhere.csv'}\nreview_as: positives\n")
    assert main(command(toy, tiny_model, out, f"--config={config}")) == 2
    assert "nowhere.csv cannot be read" in capsys.readouterr().err


def test_what_is_known_is_masked_in_a_batch() -> None:
    """A passage that a review excludes is not pushed away either where another query brings it into the batch."""
    from ance_tele.data.collection import Qrels
    from ance_tele.data.tokens import TokenStore
    from ance_tele.mining.never import NeverNegative
    from ance_tele.mining.pool import COLUMNS, Pool
    from ance_tele.training.batches import BatchPlan, Collator

    class Forward:
        pad, left = 0, False

    queries = np.array([0, 1])
    positives = Qrels(queries, np.array([0, 1, 2]), np.array([0, 1]), np.ones(2, np.int64))
    columns = {name: np.array([2, 3], kind) for name, kind in COLUMNS.items()}
    pool = Pool(queries, np.array([0, 1, 2]), **columns)
    store = TokenStore.from_lists([[5, 6]] * 4)
    more = NeverNegative.rows(positives.extended(np.array([0]), np.array([3])))
    for known, expected in ((None, [[0], [1]]), (more, [[0, 3], [1, -1]])):
        collator = Collator(BatchPlan(pool, positives, 2, 1, 0, known), store, store, Forward(), Forward())  # type: ignore[arg-type]
        batch, _ = collator.collate(queries, [np.array([0, 2]), np.array([1, 3])])
        assert batch["positives"].tolist() == expected


def test_a_run_killed_before_it_had_begun_begins_again(toy: Path, tiny_model: Path, tmp_path: Path) -> None:
    """What a kill between the first files of a run folder leaves is no other run."""
    review, out = written(tmp_path / "review.csv", ("q00-0", "d00-1", "relevant")), tmp_path / "run"
    out.mkdir()
    for name in (".lock", "given_review.csv", ".given_review.csv.tmp-1"):
        (out / name).touch()
    chosen = recipe("zero-shot").with_settings(query_max_len=16, passage_max_len=16, baselines=["zero-shot"])
    run(chosen, load_collection(toy), tiny_model, out, toy, review=review)
    assert read_review(out / "given_review.csv") == [Verdict("q00-0", "d00-1", "relevant")]
