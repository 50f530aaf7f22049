"""Small valid files for each reader, and how each reader is asked to read a folder of them."""

import gzip
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Found:
    """What was read: its content, to compare, and how many lines of a file are accounted for, where that is counted."""

    content: Any
    lines: Mapping[str, int]


@dataclass(frozen=True)
class Reader:
    """A reader: valid files by name, and a function that reads the folder they lie in, with a folder for a cache.

    Of what we wrote ourselves (``own``), files with a checksum are refused or made again as they were, where they are
    damaged; what only gives ``hints`` is passed over where it cannot be read.
    """

    name: str
    files: Mapping[str, bytes]
    read: Callable[[Path, Path], Found]
    own: bool = False
    hints: bool = False


def jsonl(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def zipped(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}


# ---- collections ---------------------------------------------------------------------------------


def collection(word: str, strict: bool = True) -> Callable[[Path, Path], Found]:
    """Read a folder as a collection; the fingerprint stands for its content."""

    def read(folder: Path, cache: Path) -> Found:
        from ance_tele.data.load import load_collection

        found = load_collection(f"{word}:{folder}" if word else str(folder), cache, strict)
        judged = {split: len(qrels.passages) for split, qrels in found.qrels.items()}
        counts = {}
        if word == "beir":
            counts = {"corpus.jsonl": len(found.corpus), "queries.jsonl": len(found.queries)}
            counts |= {f"qrels/{split}.tsv": count for split, count in judged.items()}
        if word == "marco":
            counts = {"collection.tsv": len(found.corpus), "qrels.train.tsv": judged.get("train", 0)}
        for problem, count in found.problems.items():
            name = problem.partition(":")[0].removesuffix(".gz")
            if name in counts:
                counts[name] += 0 if "no judgements left" in problem else count
        if word in ("flagembedding", "triplets"):
            joined = sum(count for note, count in found.notes.items() if "rows joined" in note)
            counts = {"train.jsonl": len(found.queries) + joined}
        return Found(found.fingerprint, counts)

    return read


BEIR = {
    "corpus.jsonl": jsonl(
        {"_id": "d1", "title": "One", "text": "first text"},
        {"_id": "d2", "title": "", "text": "second", "metadata": {"x": 1}},
        {"_id": "d3", "text": "third, Zürich"},
        {"_id": "d4", "title": "Four", "text": "fourth"},
    ),
    "queries.jsonl": jsonl({"_id": "q1", "text": "one?"}, {"_id": "q2", "text": "two?", "prompt": "find: "}),
    "qrels/train.tsv": lines("query-id\tcorpus-id\tscore", "q1\td1\t1", "q1\td3\t0", "q2\td2\t2"),
    "qrels/test.tsv": lines("q2\td4\t1", "q1\td2\t-1"),
    "questions.jsonl": jsonl({"_id": "q1", "text": "one?", "answers": ["first", "1"]}),
    "given.jsonl": jsonl({"_id": "q1", "negatives": ["d2", "d4"], "scores": {"d1": 9.5, "d2": -1e-3}}),
}
TREC = {
    **{name: BEIR[name] for name in ("corpus.jsonl", "queries.jsonl")},
    "qrels/train.trec": lines("q1 0 d1 1", "q1 0 d3 0", "q2 0 d2 2"),
    "questions/test.jsonl": jsonl({"_id": "q2", "text": "two?", "answers": ["fourth"]}),
}
MARCO = {
    "collection.tsv": lines("0\tfirst text", '1\tsecond "text', "2\tthird", "3\tfourth"),
    "queries.train.tsv": lines("10\tone?", "11\ttwo?"),
    "queries.dev.tsv": lines("12\tthree?"),
    "qrels.train.tsv": lines("10\t0\t0\t1", "11\t0\t1\t1"),
    "qrels.dev.tsv": lines("12\t0\t2\t1"),
    "qidpidtriples.train.tsv": lines("10\t0\t2", "10\t0\t3", "11\t1\t0"),
}
DPR_ROW = {
    "dataset": "nq",
    "question": "who?",
    "answers": ["me"],
    "positive_ctxs": [{"title": "One", "text": "first", "score": 1000, "passage_id": "1"}],
    "negative_ctxs": [{"title": "Two", "text": "second", "score": 0, "passage_id": "2"}],
    "hard_negative_ctxs": [{"title": "", "text": "third", "score": 7.5, "passage_id": "3"}],
}
DPR = {
    "psgs_w100.tsv": lines("id\ttext\ttitle", "1\tfirst\tOne", '2\t"the ""second"""\tTwo', "3\tthird\t"),
    "nq-train.json": json.dumps([DPR_ROW, {**DPR_ROW, "question": "what?"}], indent=1).encode(),
    "nq-test.csv": lines("where?\t['here', \"there\"]", "when?\t['now']"),
}
PASSAGES = {
    "positive_passages": [{"docid": "d1", "title": "One", "text": "first", "score": 2.5}],
    "negative_passages": [{"docid": "d2", "title": "", "text": "second"}, {"docid": "d3", "text": "third"}],
}
TEVATRON = {
    "train.jsonl": jsonl(*({"query_id": f"q{n}", "query": f"{n}?", "answers": ["x"], **PASSAGES} for n in range(3)))
}
TEVATRON2 = {
    "train.jsonl": jsonl(
        {"query_id": "q1", "query_text": "one?", "positive_document_ids": ["d1"], "negative_document_ids": ["d2"]},
        {"query_id": "q2", "query_text": "two?", "positive_document_ids": ["d2", "d3"], "negative_document_ids": []},
    ),
    "corpus.jsonl": jsonl(*({"docid": f"d{n}", "title": "T", "text": f"text {n}"} for n in range(1, 4))),
}
FLAG = {
    "train.jsonl": jsonl(
        {"query": "one?", "pos": ["first"], "neg": ["second", "third"], "pos_scores": [0.9], "neg_scores": [0.1, 0.2]},
        {"query": "two?", "pos": ["second"], "neg": ["first"], "prompt": "find: "},
    )
}
TRIPLET_ROWS = [
    {"anchor": "one?", "positive": "first", "negative_1": "second", "negative_2": "third", "scores": [3.0, 1.0, 0.5]},
    {"anchor": "two?", "positive": "second", "negative_1": "first", "negative_2": "fourth", "scores": [2.0, 1.0, -0.5]},
]
PLAIN_ROWS = [{**row, "scores": json.dumps(row["scores"])} for row in TRIPLET_ROWS]


def _table(separator: str) -> bytes:
    columns = ("anchor", "positive", "negative_1", "negative_2")
    return lines(separator.join(columns), *(separator.join(str(row[one]) for one in columns) for row in TRIPLET_ROWS))


QUOTED = lines("anchor,positive,scores", '"one, ""1""?",first,0.5', "two?,second,0.25")

# ---- single files --------------------------------------------------------------------------------

RUN = {"run.trec": lines("q1 Q0 d1 1 9.5 tag", "q1 Q0 d2 2 -1e-3 tag", "q2 Q0 d1 1 0.5 tag", "q2 Q0 d3 2 0.25 tag")}
REVIEW = {
    "review.csv": lines(
        "query_id,passage_id,verdict,text", "q1,d2,relevant,second", "q1,d4,negative,x", "q2,d1,unsure,y"
    )
}
GRADES = {
    "grades.jsonl": jsonl(
        {"query_id": "q1", "passage_id": "d2", "grade": 2}, {"query_id": "q2", "docid": "d1", "label": "doubtful"},
        {"query_id": "q3", "positive_passages": [{"docid": "d4"}], "negative_passages": ["d1"]},
    )
}  # fmt: skip
GRADED_TABLE = {"grades.csv": lines("query_id,passage_id,grade,why", 'q1,d2,2,"so, yes"', "q1,d4,0,no", "q2,d1,1,")}
TERMS = {"terms.tsv": lines("d1\topens a lock", "d2\twhat is it", "d1\tand a door")}
TERMS_JSON = {"terms.jsonl": jsonl({"id": "d1", "terms": ["a lock", "a door"]}, {"_id": "d2", "terms": "what is it"})}
CONFIG = {
    "config.yaml": lines(
        "recipe: ance-tele", "learning_rate: 2e-5", "negatives_per_query: 7", "sources: [query, lookahead]", "seed: 42",
        "title_separator: '[SEP]'", "query_prompt: null", "restart: continue",
    )
}  # fmt: skip


def run_file(folder: Path, cache: Path) -> Found:
    from ance_tele.evaluate.run import Run

    run = Run.read_trec(folder / "run.trec")
    content = [run.query_ids, run.passage_ids, [scores.tolist() for scores in run.scores]]
    return Found(json.dumps(content), {"run.trec": sum(map(len, run.passage_ids))})


def review_file(folder: Path, cache: Path) -> Found:
    from ance_tele.data.review import read_review

    rows = read_review(folder / "review.csv")
    return Found(repr([(row.query_id, row.passage_id, row.verdict) for row in rows]), {})


def relabelled(folder: Path, cache: Path) -> Found:
    from ance_tele.data.relabelling import read_relabelled

    (path,) = folder.iterdir()
    found = read_relabelled(path)
    return Found(repr([(row.query_id, row.passage_id, row.verdict) for row in found.verdicts]), {})


def terms(folder: Path, cache: Path) -> Found:
    from ance_tele.data.expansion import expand
    from ance_tele.data.load import collection_from_dicts

    (path,) = folder.iterdir()
    corpus = {"d1": "a key", "d2": "a lock", "d3": "a door"}
    made = collection_from_dicts(corpus, {"q": "x"}, {"test": {"q": {"d1": 1}}}, cache=cache)
    expanded = expand(made, passages=path, cache=cache)
    return Found(repr([texts for _, texts in expanded.corpus.batches(expanded=True)]), {})


def config_file(folder: Path, cache: Path) -> Found:
    from ance_tele.cli.common import chosen_recipe
    from ance_tele.cli.flags import parse
    from ance_tele.cli.verbs import VERBS

    chosen = chosen_recipe(parse("run", VERBS["run"], ["--config", str(folder / "config.yaml")]))
    return Found(repr(chosen.settings()), {})


READERS = (
    Reader("BEIR", BEIR, collection("beir")),
    Reader("BEIR, lenient", BEIR, collection("beir", strict=False)),
    Reader("BEIR, gzip", zipped(BEIR), collection("beir")),
    Reader("BEIR, TREC qrels", TREC, collection("")),
    Reader("MS MARCO", MARCO, collection("marco")),
    Reader("MS MARCO, gzip, lenient", zipped(MARCO), collection("marco", strict=False)),
    Reader("DPR", DPR, collection("dpr")),
    Reader("DPR, gzip", zipped(DPR), collection("", strict=False)),
    Reader("Tevatron 1", TEVATRON, collection("tevatron")),
    Reader("Tevatron 2", TEVATRON2, collection("")),
    Reader("FlagEmbedding", FLAG, collection("flagembedding")),
    Reader("triplets, JSON lines", {"train.jsonl": jsonl(*TRIPLET_ROWS)}, collection("triplets")),
    Reader("triplets, CSV", {"train.csv": QUOTED}, collection("triplets")),
    Reader("triplets, CSV, gzip", zipped({"train.csv": _table(",")}), collection("")),
    Reader("triplets, TSV", {"train.tsv": _table("\t")}, collection("triplets")),
    Reader("triplets, Parquet", {"train.parquet": parquet(TRIPLET_ROWS)}, collection("triplets")),
    Reader("TREC run", RUN, run_file),
    Reader("review", REVIEW, review_file),
    Reader("grades, JSON lines", GRADES, relabelled),
    Reader("grades, CSV", GRADED_TABLE, relabelled),
    Reader("terms, TSV", TERMS, terms),
    Reader("terms, TSV, gzip", zipped(TERMS), terms),
    Reader("terms, JSON lines", TERMS_JSON, terms),
    Reader("--config", CONFIG, config_file),
)
