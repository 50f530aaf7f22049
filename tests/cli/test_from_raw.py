"""`ance-tele data from-folder` and `from-csv`, from the words to a run."""

import json
import re
import shlex
from pathlib import Path

import pytest
from steps import Refusal

from ance_tele.cli.main import main
from ance_tele.data.load import load_collection

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents in the words of the tiny model."""
    folder = tmp_path_factory.mktemp("docs") / "docs"
    folder.mkdir()
    for number in range(20):
        parts = [
            f"## t{number} u{part} w{number}\n\nu{part + 1} w{part} t{number} w{number + part}\n" for part in range(4)
        ]
        (folder / f"d{number}.md").write_text(f"# t{number}\n\n" + "\n".join(parts))
    return folder


def test_documents_to_a_run(docs: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    assert main(["data", "from-folder", str(docs), "--out", str(data), "--model", str(tiny_model), "--size", "24"]) == 0
    said = capsys.readouterr().out
    assert f"{data}: 20 documents, 80 passages; queries: 64 train, 8 dev, 8 test" in said
    assert "80 made of headings; none was asked by people" in said
    assert main(["data", str(data)]) == 0
    assert "queries are made, not asked by people (heading)" in capsys.readouterr().out
    settings = "--episodes 1 --depth 10 --pool_per_source 4 --negatives_per_query 3 --epochs 1 --report_to [none]"
    assert main(["run", "ance-tele", f"--data={data}", f"--model={tiny_model}", f"--out={run}", *settings.split()]) == 0
    assert "no significant difference in MRR@10 on queries made from headings (" in (run / "report.md").read_text()
    assert "MRR@10 on queries made from headings (" in capsys.readouterr().out
    sentence = "Of all queries, 80 queries are made, not asked by people (heading)."
    assert sentence in (run / "report.md").read_text() and sentence in (run / "report.html").read_text()
    card = (run / "episode-1" / "model" / "README.md").read_text()
    assert "Of its queries, 80 queries are made, not asked by people (heading)." in card


def test_generated_queries_that_do_not_come_back_are_left_out(
    docs: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "from-folder", str(docs), "--out", str(tmp_path / "all"), "--make", "none"]) == 0
    assert "Generate queries for" in capsys.readouterr().out
    corpus = (tmp_path / "all" / "corpus.jsonl").read_text().splitlines()
    ids = [json.loads(line)["_id"] for line in corpus]
    rows = [
        {"passage_id": key, "query": f"{key[1:].partition('.')[0]} t{key[1:].partition('.')[0]} {place % 4}"}
        for place, key in enumerate(ids)
    ]
    rows.append({"passage_id": ids[0], "query": "t19 w19"})
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, more in (("bm25", []), ("dense", ["--model", str(tiny_model)])):
        words = [
            "--out",
            str(tmp_path / name),
            "--queries",
            str(tmp_path / "queries.jsonl"),
            "--round_trip",
            "5",
            *more,
        ]
        assert main(["data", "from-folder", str(docs), *words]) == 0
        said = capsys.readouterr().out
        assert "of 81 queries find their passage within the first 5" in said
        assert re.search(r"left out: (1 query|\d+ queries) whose passage was not found \(round trip\)", said)
        found = load_collection(tmp_path / name)
        assert "t19 w19" not in found.queries.table["text"].to_pylist() or name == "dense"
        assert "left out" in (tmp_path / name / "SOURCE.md").read_text()


def test_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["frage;antwort", *(f"was ist {n}?;die Zahl {n}" for n in range(30))]
    (tmp_path / "faq.csv").write_text("\n".join(lines) + "\n")
    words = ["data", "from-csv", str(tmp_path / "faq.csv"), "--query", "frage", "--passage", "antwort"]
    assert main([*words, "--delimiter", ";", "--out", str(tmp_path / "data")]) == 0
    assert "30" in capsys.readouterr().out
    assert {name: len(of) for name, of in load_collection(tmp_path / "data").qrels.items()} == {
        "train": 24, "dev": 3, "test": 3,
    }  # fmt: skip


SHORT = "--depth 10 --pool_per_source 4 --negatives_per_query 3 --epochs 1 --report_to [none]"


def test_the_commands_of_the_page_run(
    docs: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In their order, in a folder with documents, a model, generated queries and a table."""
    page = (Path(__file__).parents[2] / "docs" / "from-raw-text.md").read_text("utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(docs)
    (tmp_path / "MODEL").symlink_to(tiny_model)
    rows = [{"question": f"what is {n}", "answer": f"the number {n}"} for n in range(30)]
    lines = [",".join(row.values()) for row in rows]
    (tmp_path / "faq.csv").write_text("\n".join(["question,answer", *lines]) + "\n")
    served: list[Path] = []
    monkeypatch.setattr("ance_tele.explorer.serve.serve", lambda run, *given: served.append(run))
    for command in commands:
        if "--queries queries.jsonl" in command:
            ids = [json.loads(line)["_id"] for line in Path("passages/corpus.jsonl").read_text().splitlines()]
            generated = [{"passage_id": key, "query": f"w{place} {key[1:3]}"} for place, key in enumerate(ids)]
            Path("queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in generated))
        verb, *words = shlex.split(command)
        assert verb == "ance-tele"
        assert main([*words, *(SHORT.split() if words[0] == "run" else [])]) == 0, command
    assert len(commands) == 11 and len(served) == 1
    assert Path("run.trec").is_file() and {"train.tsv", "dev.tsv", "test.tsv"} <= {
        p.name for p in Path("pairs/qrels").iterdir()
    }
    texts = (Path(name, "queries.jsonl").read_text().splitlines() for name in ("data", "whole"))
    rows, whole = ([json.loads(line) for line in lines] for lines in texts)
    assert [{**row, "in_passage": True} for row in rows] == whole
    assert "warning: 80 queries stand in the passages that are relevant to them" in capsys.readouterr().out


def test_what_is_wrong_is_one_sentence(docs: Path, tiny_model: Path, tmp_path: Path, refusal: Refusal) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty"
    empty.mkdir()
    folder = ("data", "from-folder")
    expected = {
        (*folder,): "data from-folder takes DOCS and where to write: data from-folder DOCS --out DATA.",
        (*folder, docs): "data from-folder takes DOCS and where to write",
        (*folder, tmp_path / "none", "--out", out): "none is not a folder",
        (*folder, empty, "--out", out): "holds no document that can be read (.md, ",
        (*folder, docs, "--out", docs / "data"): "lies within",
        (*folder, docs, "--out", docs): "is there already",
        (*folder, docs, "--out", out, "--size", 3): "size is 3; it must lie between 16 and",
        (*folder, docs, "--out", out, "--size", 500, "--model", tiny_model): "reads 126 tokens of a passage",
        (*folder, docs, "--out", out, "--make", "poems"): "make is 'poems'; it must be one of headings, ",
        (*folder, docs, "--out", out, "--make", "none", "--round_trip", 3): "--round_trip needs queries",
        (*folder, docs, "--out", out, "--round_trip", 0): "round_trip is 0; it must lie between 1",
        (*folder, docs, "--out", out, "--queries", "nowhere.jsonl"): "nowhere.jsonl is not a file",
        (*folder, docs, "--out", out, "--make", "sentences"): "No query is left (no heading fits)",
        (*folder, docs, "--out", out, "--dev", 0.6, "--test", 0.6): "leaves no documents to train on",
        (*folder, docs, "--out", out, "--query", "x"): "--query belongs to data from-csv, not to data from-folder",
        (*folder, docs, out): "belongs to data convert, not to data from-folder",
        (*folder, docs, "--out", "s3://x/y"): "is a URL",
        ("data", "from-csv", docs, "--out", out): "--query and --passage are needed",
        ("data", "from-csv", docs, "--out", out, "--query", "a", "--passage", "b"): "is not a file",
        ("data", "from_folder", docs, "--out", out): "There is no data from_folder; did you mean data from-folder?",
        ("data", "fromfolder", docs, "--out", out): "There is no data fromfolder; did you mean data from-folder?",
        ("data", "From-CSV", docs, "--out", out): "There is no data From-CSV; did you mean data from-csv?",
        ("data", docs, "--size", 100): "--size belongs to data from-folder, not to data DATA",
        ("data", "convert", docs, out, "--make", "both"): "--make belongs to data from-folder, not to data convert",
    }
    for words, sentence in expected.items():
        assert sentence in refusal(*words), words
    assert not out.exists()
