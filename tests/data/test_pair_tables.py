"""Tables of pairs: columns by name, same text same query, splits by hash, and what is wrong in clear sentences."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from format_files import Files, content, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.formats.pairs import Pairs, write_pairs
from ance_tele.data.load import load_collection

ROWS = [{"q": f"question {n // 2}", "t": f"T{n}", "p": f"passage {n}", "s": n % 3} for n in range(40)]
HOW = Pairs("q", "p")


def table(separator: str, rows: list[dict[str, Any]] = ROWS) -> str:
    lines = [separator.join(rows[0]), *(separator.join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


def made(tmp_path: Path, files: Files, how: Pairs = HOW, out: str = "out", strict: bool = True) -> Any:
    folder = write(tmp_path / "in", files)
    write_pairs(folder / next(iter(files)), tmp_path / out, how, strict)
    return content(load_collection(tmp_path / out, tmp_path / "cache"))


def test_all_kinds_of_tables_give_the_same(tmp_path: Path) -> None:
    plain = [{**row, "s": str(row["s"])} for row in ROWS]
    files: Files = {
        "a.csv": table(","),
        "b.tsv": table("\t"),
        "c.jsonl": plain,
        "d.parquet": pa.Table.from_pylist(plain),
        "e.csv.gz": "\ufeff" + table(","),
    }
    found = [made(tmp_path, {name: of}, out=name) for name, of in files.items()]
    semicolons = made(tmp_path, {"f.csv": table(";")}, Pairs("q", "p", delimiter=";"), out="f")
    assert all(one == found[0] for one in [*found, semicolons])
    first = found[0]
    assert len(first.corpus) == 40 and len(first.queries) == 20
    assert {split: len(of) for split, of in first.qrels.items()} == {"train": 16, "dev": 2, "test": 2}
    for of in first.qrels.values():
        for query, grades in of.items():
            number = int(first.queries[query].split()[1])
            assert {first.corpus[key][1] for key in grades} == {f"passage {2 * number}", f"passage {2 * number + 1}"}


def test_titles_scores_and_ids(tmp_path: Path) -> None:
    rows = [{"id": f"x{n // 3}", "pid": f"p{n}", **row} for n, row in enumerate(ROWS)]
    how = Pairs("q", "p", "t", "s", passage_id="pid", relevant_from=2)
    found = made(tmp_path, {"a.jsonl": rows}, how)
    assert found.corpus["p7"] == ("T7", "passage 7")
    relevant = {
        (found.queries[query], key) for of in found.qrels.values() for query, keys in of.items() for key in keys
    }
    assert relevant == {(row["q"], row["pid"]) for row in rows if row["s"] >= 2}
    given = [json.loads(line) for line in (tmp_path / "out" / "given.jsonl").read_text().splitlines()]
    negatives = {(found.queries[row["_id"]], key) for row in given for key in row["negatives"]}
    assert negatives == {(row["q"], row["pid"]) for row in rows if row["s"] < 2}
    own = made(tmp_path, {"b.jsonl": [{**row, "q": row["id"]} for row in rows]}, Pairs("q", "p", query_id="id"), "own")
    assert set(own.queries) == {f"x{n}" for n in range(14)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(40)))
def test_the_order_of_rows_decides_no_split(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    tmp_path = tmp_path_factory.mktemp("pairs")
    first = made(tmp_path, {"a.jsonl": ROWS}, out="one")
    again = made(tmp_path, {"b.jsonl": [ROWS[place] for place in order]}, out="two")

    def texts(found: Any) -> Any:
        return {split: {found.queries[query] for query in of} for split, of in found.qrels.items()}

    assert texts(first) == texts(again) and again.corpus == first.corpus


BAD: dict[str, tuple[Files, Pairs, str]] = {
    "no column": ({"a.csv": table(",")}, Pairs("qq", "p"), "a.csv has no column 'qq'; did you mean 'q'?"),
    "nothing like it": ({"a.csv": table(",")}, Pairs("xyz", "p"), "has no column 'xyz'; it has: q, t, p, s."),
    "semicolons": ({"a.csv": table(";")}, HOW, "which a semicolon seems to divide; pass --delimiter ';'"),
    "tabs": ({"a.csv": table("\t")}, HOW, "which a tab seems to divide; pass --delimiter $'\\\\t'"),
    "a long delimiter": ({"a.csv": table(";")}, Pairs("q", "p", delimiter="::"), "must be one character"),
    "latin": ({"a.csv": table(",").replace("question", "fähig").encode("latin-1")}, HOW, "is not UTF-8 (byte 0xe4"),
    "utf-16": ({"a.csv": table(",").encode("utf-16")}, HOW, "a.csv line 1 is not UTF-8"),
    "a spreadsheet": ({"a.xlsx": b"PK"}, HOW, "save a spreadsheet as CSV in UTF-8"),
    "empty": ({"a.csv": ""}, HOW, "a.csv is empty"),
    "a header alone": ({"a.csv": "q,p\n"}, HOW, "a.csv holds no rows"),
    "no text": ({"a.csv": table(",") + "question 5,T,,1\n"}, HOW, "holds passages without text"),
    "no query": ({"a.csv": table(",") + ",T,x,1\n"}, HOW, "holds queries without text"),
    "words for scores": ({"a.csv": table(",") + "q,t,p,high\n"}, Pairs("q", "p", score="s"), "'s' must hold numbers"),
    "no score": ({"a.csv": table(",") + "q,t,p,\n"}, Pairs("q", "p", score="s"), "row 41: 's' is empty"),
    "numbers for texts": (
        {"a.jsonl": [{"q": 1, "p": "x"}, {"q": "b", "p": "x"}, {"q": "c", "p": "x"}]},
        HOW,
        "'q' must be a string",
    ),
    "an id twice": (
        {"a.csv": table(",")},
        Pairs("q", "p", passage_id="t", title="q", query_id="s"),
        "id that stood before",
    ),
    "too few": ({"a.csv": table(",", ROWS[:4])}, HOW, "has 2 different queries, too few to divide"),
    "nothing left": ({"a.csv": table(",")}, Pairs("q", "p", dev=0.5, test=0.5), "leaves no queries to train on"),
    "a row too short": (
        {"a.csv": table(",") + "x\n"},
        HOW,
        "a.csv row 41 has 1 columns, but the header has 4 (x); complete the row, or quote",
    ),
    "the same column": ({"a.csv": table(",")}, Pairs("q", "q"), "Query and passage are both the column 'q'"),
    "no number": (
        {"a.csv": table(",")},
        Pairs("q", "p", score="s", relevant_from=float("nan")),
        "relevant_from is nan",
    ),
    "nothing relevant": (
        {"a.csv": table(",")},
        Pairs("q", "p", score="s", relevant_from=99),
        "No row of a.csv has a 's' of at least 99, so nothing is relevant; lower --relevant_from.",
    ),
    "a quote as delimiter": ({"a.csv": table(",")}, Pairs("q", "p", delimiter='"'), "must be one character"),
    "an escape as delimiter": ({"a.csv": table(",")}, Pairs("q", "p", delimiter=r"\t"), "for a tab pass --delimiter $"),
    "no columns": (
        {"a.jsonl": ROWS},
        Pairs("q", "p", delimiter=";"),
        "a.jsonl has no delimiter; leave --delimiter out",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_is_one_sentence(kind: str, tmp_path: Path) -> None:
    files, how, sentence = BAD[kind]
    with pytest.raises(UserError) as caught:
        made(tmp_path, files, how)
    assert sentence.replace("\\\\", "\\") in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_lenient_counts(tmp_path: Path) -> None:
    found = made(tmp_path, {"a.csv": table(",") + "question 5,T,,1\n"}, strict=False)
    assert len(found.corpus) == 40
    assert re.search("passages without text", (tmp_path / "out" / "SOURCE.md").read_text())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(UserError, match="is there already"):
        made(tmp_path, {"a.csv": table(",")})
