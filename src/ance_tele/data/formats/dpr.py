"""DPR's files: the Wikipedia passages psgs_w100.tsv, retriever training sets in JSON, questions with answers in CSV."""

import ast
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.formats.examples import (
    Example,
    Part,
    Read,
    collect,
    find,
    none_found,
    part,
    split_of,
    stem,
    text_id,
)
from ance_tele.data.formats.fields import prompt_of, score_of, unread
from ance_tele.data.formats.objects import identifier, items, need, read_array, text
from ance_tele.data.formats.tables import read_tsv
from ance_tele.data.raw import Record

IDS = ("passage_id", "psg_id")
LONGEST_LITERAL = 1 << 20  # characters
HARD, EASY = "hard_negative_ctxs", "negative_ctxs"
KNOWN = ("dataset", "question", "answers", "positive_ctxs", HARD, EASY)


def read_dpr(place: Path) -> Read:
    """Read a folder of DPR's files, or one retriever training file.

    Args:
        place: Holds retriever training sets ``*train*.json``, ``*dev*.json`` (``question``, ``answers``,
            ``positive_ctxs``, ``negative_ctxs``, ``hard_negative_ctxs``), questions ``*test*.csv`` (question, tab,
            answers as a Python list) and ``psgs*.tsv`` (``id``, ``text``, ``title``), each plain or ``.gz``. Without
            ``psgs*.tsv`` the corpus is the passages met. Queries are numbered: ``train-17``; those of the same text in
            a split are one. Where a split has both a training set and a file of questions, the latter becomes a split
            of its own, ``dev-qa``. As in DPR, a question's negatives are its hard ones; where it has none, the others.
            A ``score`` of a passage is kept as a teacher's.
    """
    passages = [path for path in find(place, ".tsv") if path.name.startswith("psgs")][:1]
    sets = {path: split_of(path) for path in find(place, ".json", ".jsonl")}
    if place.is_file():
        sets = {path: split or "train" for path, split in sets.items()}
    questions = {path: split_of(path) for path in find(place, ".csv")}
    used: dict[str, Path] = {}
    parts: list[Part] = []
    for path, split in [*sets.items(), *questions.items()]:
        if split is None:
            continue
        name = f"{split}-qa" if path in questions and used.get(split) in sets else split
        if name in used:
            raise UserError(f"{place} holds two files for split '{name}' ({used[name].name}, {path.name}); keep one.")
        used[name] = path
        if path in sets:
            parts.append(part(name, [path], read_array, partial(parse, strict=bool(passages)), "element"))
        else:
            parts.append(part(name, [path], read_questions, _parse_question, "line"))
    if not parts:
        raise none_found(place, "*train*.json, *dev*.json or *test*.csv")
    if not passages and not any(path in sets for path in used.values()):
        raise none_found(place, "psgs*.tsv, which holds the passages")
    corpus = (passages[0].name, read_passages(passages[0])) if passages else None
    return collect(stem(place), parts, corpus), [*passages, *used.values()]


def parse(row: Mapping[str, Any], where: str, key: str, line: int, strict: bool = False) -> Example:
    """Parse a question; ``strict`` refuses passages without an id, which a corpus file cannot contain."""

    def passages(name: str) -> list[Record]:
        return [_context(one, f"{where}, {name}", line, strict) for one in items(row.get(name), where, name, dict)]

    need(row, where, "positive_ctxs")
    query = Record(key, "", text(need(row, where, "question"), where, "question"), line, prompt_of(row, where))
    answers = tuple(items(need(row, where, "answers"), where, "answers", str))
    hard = HARD if row.get(HARD) else EASY
    positives, negatives = passages("positive_ctxs"), passages(hard)
    easy = row.get(EASY) if hard == HARD else None
    scored = [one for name in ("positive_ctxs", hard) for one in row.get(name) or ()]
    return Example(
        query,
        positives,
        negatives,
        passages(EASY) if easy and not strict else (),
        answers,
        tuple(score_of(one.get("score"), where, "score") for one in scored),
        unread=(*unread(row, KNOWN), *((EASY,) if easy else ())),
    )


def _context(row: Mapping[str, Any], where: str, line: int, strict: bool) -> Record:
    title, body = text(row.get("title"), where, "title"), text(need(row, where, "text"), where, "text")
    given = need(row, where, *IDS) if strict or any(name in row for name in IDS) else text_id(body, title)
    return Record(identifier(given, where, IDS[0]), title, body, line)


def read_passages(path: Path) -> Iterator[Record]:
    """Yield the passages of a tab-separated file whose first line names ``id``, ``text`` and ``title``.

    Without it, fields are read in this order if the first one is a number.
    """
    names: list[str] = []
    for number, parts in read_tsv(path):
        where = f"{path.name} line {number}"
        if not names:
            numbered = len(parts) == 3 and parts[0].isdecimal()
            names = ["id", "text", "title"] if numbered else [name.strip() for name in parts]
            for name in ("id", "text"):
                need(dict.fromkeys(names), where, name)
            if not numbered:
                continue
        if len(parts) != len(names):
            raise UserError(
                f"{where} has {len(parts)} tab-separated fields; {len(names)} are needed: {', '.join(names)}."
            )
        row = dict(zip(names, parts, strict=True))
        yield Record(row["id"].strip(), row.get("title", ""), row["text"], number)


def read_questions(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the questions of a tab-separated file without a header: question, answers as a Python list of strings."""
    for number, parts in read_tsv(path):
        where = f"{path.name} line {number}"
        if len(parts) != 2:
            raise UserError(f"{where} has {len(parts)} tab-separated fields; two are needed: question, answers.")
        answers = _literal(parts[1].strip())
        yield number, {"question": parts[0], "answers": items(answers, where, "answers", str)}


def _literal(text: str) -> Any:
    """Return what a Python literal stands for; the text itself where it is none, or far too long to be one."""
    if len(text) > LONGEST_LITERAL:  # a tree of a hundred times as many bytes
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of "\\d" and the like
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def _parse_question(row: Mapping[str, Any], where: str, key: str, line: int) -> Example:
    return Example(Record(key, "", row["question"], line), [], [], answers=tuple(row["answers"]))
