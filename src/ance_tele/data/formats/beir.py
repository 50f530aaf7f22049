"""BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv, each plain or gzipped; with answers, questions.jsonl."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ance_tele.console.errors import UserError, printable
from ance_tele.data.formats.examples import Read
from ance_tele.data.formats.fields import passage_of, query_of, score_of
from ance_tele.data.formats.lines import read_fields
from ance_tele.data.formats.objects import identifier, items, need, read_objects
from ance_tele.data.formats.trec import read_trec_qrels
from ance_tele.data.grades import whole_grade
from ance_tele.data.notes import IN_PASSAGES, MADE
from ance_tele.data.raw import ANY_SPLIT, Answered, Judgement, Listed, RawCollection, Record
from ance_tele.data.splits import our_splits

# What the third column is called; a first line of anything else is a judgement, and refused if its grade is none.
_HEADER = re.compile(r"score|rel|grade|label|judg|rating|value|qrel", re.IGNORECASE)


def read_beir(folder: Path) -> Read:
    """Read a folder in BEIR layout.

    Args:
        folder: Holds ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl`` (``_id``, ``text``) and
            ``qrels/SPLIT.tsv`` (query id, passage id, grade; with or without a header) or ``qrels/SPLIT.trec``
            (TREC's four fields), each plain or ``.gz``.
            Answer strings, where there are any, are in ``questions.jsonl`` (``_id``, ``text``, ``answers``: a list);
            ``questions/SPLIT.jsonl`` puts its questions into the split, judged or not. A query's ``prompt`` (or
            ``instruction``) is kept; queries that say how they were ``made``, or that they are
            ``in_passage`` (a relevant passage holds them), are counted. ``given.jsonl`` has
            negatives and a teacher's scores: ``_id``, ``negatives`` (ids), ``scores`` (by id).
    """
    corpus, queries = (_find(folder, name) for name in ("corpus.jsonl", "queries.jsonl"))
    qrels, trec = _by_split(folder / "qrels", ".tsv"), _by_split(folder / "qrels", ".trec")
    questions = _by_split(folder / "questions", ".jsonl")
    if not qrels and not trec and not questions:
        raise UserError(
            f"{folder / 'qrels'} holds no .tsv or .tsv.gz file; at least one split of judgements is needed."
        )
    anywhere, given = (_optional(folder, name) for name in ("questions.jsonl", "given.jsonl"))
    names = our_splits([*trec, *qrels, *questions])
    answers = {names[split]: (f"questions/{path.name}", read_questions(path)) for split, path in questions.items()}
    if anywhere:
        answers[ANY_SPLIT] = anywhere[0].name, read_questions(anywhere[0])
    judged = {names[split]: (f"qrels/{path.name}", read_trec_qrels(path)) for split, path in trec.items()}
    judged |= {names[split]: (f"qrels/{path.name}", read_qrels(path)) for split, path in qrels.items()}
    notes = Counter[str]()
    raw = RawCollection(
        folder.resolve().name,
        (passage_of(row, f"{corpus.name} line {number}", number, "_id") for number, row in read_objects(corpus)),
        _read_queries(queries, notes),
        judged,
        corpus.name,
        queries.name,
        answers,
        {ANY_SPLIT: (given[0].name, read_given(given[0]))} if given else {},
        notes=notes,
    )
    return raw, [corpus, queries, *qrels.values(), *trec.values(), *questions.values(), *anywhere, *given]


def _read_queries(path: Path, notes: Counter[str]) -> Iterator[Record]:
    """Yield the queries of a file; those ``made``, or ``in_passage``, are counted in ``notes``."""
    for number, row in read_objects(path):
        if isinstance(made := row.get("made"), str) and made:
            notes[f"{MADE} ({printable(made, 60)})"] += 1
        if row.get("in_passage") is True:
            notes[IN_PASSAGES] += 1
        yield query_of(row, f"{path.name} line {number}", number, "_id")


def _optional(folder: Path, name: str) -> list[Path]:
    return [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()][:1]


def _find(folder: Path, name: str) -> Path:
    for path in _optional(folder, name):
        return path
    found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise UserError(f"{folder} holds no {name} or {name}.gz (found: {found}); a BEIR-layout folder needs it.")


def _by_split(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the files of a folder by split, which is the name without its suffix; hidden ones are none."""
    files: dict[str, Path] = {}
    for path in sorted(folder.glob(f"*{suffix}*")):
        if path.name.endswith((suffix, f"{suffix}.gz")) and not path.name.startswith("."):
            files.setdefault(path.name.removesuffix(".gz").removesuffix(suffix), path)
    return files


def read_questions(path: Path) -> Iterator[Answered]:
    """Yield the answers of a file with one question per line."""
    for number, row in read_objects(path):
        where = f"{path.name} line {number}"
        answers = items(need(row, where, "answers"), where, "answers", str)
        yield Answered(identifier(need(row, where, "_id"), where, "_id"), tuple(answers), number)


def read_given(path: Path) -> Iterator[Listed]:
    """Yield the scored passages and the negatives of a file with one query per line."""
    for number, row in read_objects(path):
        where = f"{path.name} line {number}"
        query, scores = identifier(need(row, where, "_id"), where, "_id"), row.get("scores") or {}
        if not isinstance(scores, dict):
            raise UserError(f"{where}: 'scores' must hold a score by passage id, got {scores!r:.60}.")
        known = {key: score_of(score, where, "scores") for key, score in scores.items()}
        for key, score in known.items():
            yield Listed(query, key, False, score, False, number)
        for key in items(row.get("negatives"), where, "negatives", str):
            yield Listed(query, key, True, known.get(key, math.nan), False, number)


def read_qrels(path: Path) -> Iterator[Judgement]:
    """Yield the judgements of a tab-separated file: query id, passage id, grade; a header is passed over."""
    first = True
    needed = "three are needed: query id, passage id, grade (TREC's four fields go into a file named SPLIT.trec)"
    for number, (query, passage, grade) in read_fields(path, 3, needed, "\t"):
        header, first = first and _HEADER.search(grade) is not None, False
        if not header:
            whole = whole_grade(grade, f"{path.name} line {number}")
            yield Judgement(query.strip(), passage.strip(), whole, number)
