"""A folder of documents to a collection in BEIR layout, with a note of what was made how."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ance_tele.console.errors import UserError
from ance_tele.data.documents.around import only_links, without_long_words, without_shared_ends
from ance_tele.data.documents.files import KINDS, read_documents
from ance_tele.data.documents.how import FromFolder
from ance_tele.data.documents.left_out import LeftOut, amount, reasons
from ance_tele.data.documents.packing import Sizes, words_in
from ance_tele.data.documents.passages import Passages, passages_of
from ance_tele.data.documents.queries import SHARED, Query, ask, common, made_queries, read_generated, split
from ance_tele.data.documents.sections import Section, sections
from ance_tele.data.formats.write import check_free
from ance_tele.store.files import atomic

Filter: TypeAlias = Callable[[Passages, list[Query]], list[Query]]
"""Passages and queries to the queries that are kept."""


@dataclass(frozen=True)
class Written:
    """What was written: counts; what was left out, by reason, with examples; headings too common, by documents."""

    documents: int
    passages: int
    queries: Mapping[str, int]
    made: Mapping[str, int]
    left_out: Mapping[str, int] = field(default_factory=dict)
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    common_headings: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return the counts as lines."""
        splits = ", ".join(f"{count:,} {split}" for split, count in self.queries.items()) or "none"
        made = ", ".join(f"{count:,} {_MADE[name]}" for name, count in self.made.items())
        found = [f"{amount(self.documents, 'documents')}, {amount(self.passages, 'passages')}; queries: {splits}"]
        found += [f"queries: {made}; none was asked by people"] if made else []
        found += [f"left out: {reason}" for reason in reasons(self.left_out, self.examples)]
        named = [f"{heading} ({count:,})" for heading, count in [*self.common_headings.items()][:MOST_NAMED]]
        more = ["..."] if len(self.common_headings) > MOST_NAMED else []
        return found + ([f"most shared headings, by documents: {', '.join([*named, *more])}"] if named else [])


MOST_NAMED = 6
"""Common headings that are named."""

_MADE = {
    "heading": "made of headings",
    "first sentence": "made of first sentences",
    "generated": "generated",
}


def write_documents(
    docs: Path,
    out: Path,
    how: FromFolder | None = None,
    sizes: Sizes = words_in,
    unit: str = "words",
    keep: Filter | None = None,
) -> Written:
    """Make a collection in BEIR layout of the documents below a folder (Markdown, HTML, reStructuredText, plain text).

    ``corpus.jsonl`` holds the passages, ``queries.jsonl`` the queries with the way each was ``made``, ``qrels/`` a file
    a split, ``SOURCE.md`` a note. The same files give the same collection.

    Args:
        docs: The folder.
        out: Must not be there yet, or be empty.
        how: Sizes, queries, splits.
        sizes: Counts what sizes are in.
        unit: What that is, for the note.
        keep: Decides which queries are kept.

    Raises:
        UserError: There is no such folder, no document in it, no query can be made, or ``out`` holds something.

    Example:
        >>> Path("docs").mkdir()
        >>> for name in ("Keys", "Locks", "Doors"):
        ...     page = f"# {name}\\n\\n## How to open {name}\\n\\nTurn it to the left, {name}.\\n"
        ...     _ = Path(f"docs/{name}.md").write_text(page)
        >>> for line in write_documents(Path("docs"), Path("my-documents")).lines():
        ...     print(line)
        3 documents, 3 passages; queries: 1 train, 1 dev, 1 test
        queries: 3 made of headings; none was asked by people
        >>> print(Path("my-documents/corpus.jsonl").read_text().splitlines()[0])
        {"_id": "Doors.md#how-to-open-doors", "title": "Doors", "text": "Turn it to the left, Doors."}
    """
    how = how or FromFolder()
    how.check()
    check_places(docs, out)
    left_out = LeftOut()
    read, found = _sections(docs, left_out)
    if not read:
        kinds = ", ".join(KINDS)
        why = "; ".join(reasons(left_out, left_out.examples)) or "nothing, it is empty"
        raise UserError(f"{docs} holds no document that can be read ({kinds}); left out: {why}.")
    usual = common(found)
    asked = ask(found, how.make, usual, left_out)
    hidden = {} if how.whole else {name: one.section for name, one in asked.items()}
    passages = passages_of(found, how.size, sizes, hidden)
    left_out += passages.counts
    if not passages.by_id:
        raise UserError(f"{docs} holds no text: {amount(read, 'documents')} read, and no passage came of them.")
    queries = made_queries(asked, passages, left_out)
    if how.queries is not None:
        queries += read_generated(how.queries, passages, left_out)
    if keep is not None:
        kept = keep(passages, queries)
        left_out["queries whose passage was not found (round trip)"] += len(queries) - len(kept)
        queries = kept
    if how.queries is None and how.make == "none":
        splits: dict[str, list[Query]] = {}
    elif not queries:
        why = "; ".join(reasons(left_out, left_out.examples)) or "no heading fits"
        raise UserError(f"No query is left ({why}); generate queries, or try --make both.")
    else:
        splits = split(queries, {one.id: one.document for one in passages.by_id.values()}, how.dev, how.test, left_out)
    made = Counter(query.made for part in splits.values() for query in part)
    counts = {name: len(part) for name, part in splits.items()}
    shared = usual if SHARED in left_out else {}
    written = Written(
        read, len(passages.by_id), counts, dict(sorted(made.items())), dict(+left_out), left_out.examples, shared
    )
    _write(out, passages, splits, how.whole, _source(docs, how, unit, keep is not None, written))
    return written


def _sections(docs: Path, left_out: LeftOut) -> tuple[int, list[Section]]:
    """Return how many documents a folder has, and their sections but those of links alone."""
    documents = [
        (name, without_long_words(document, left_out, name)) for name, document in read_documents(docs, left_out)
    ]
    found: list[Section] = []
    for name, document in without_shared_ends(documents):
        some = sections(name, document)
        if not some:
            left_out.add("documents without text", name)
        for section in some:
            if only_links(section):
                left_out.add("sections of nothing but links within the site", section.name)
            else:
                found.append(section)
    return len(documents), found


def check_places(docs: Path, out: Path) -> None:
    """Refuse what is no folder of documents, and a place to write to that holds something or lies in it.

    Raises:
        UserError: Names the place.
    """
    if not docs.is_dir():
        raise UserError(f"{docs} is not a folder; data from-folder takes a folder of documents.")
    check_free(out)
    if out.resolve().is_relative_to(docs.resolve()):
        raise UserError(f"{out} lies within {docs}, and would be read as documents the next time; name another folder.")


def _write(out: Path, passages: Passages, splits: Mapping[str, Sequence[Query]], whole: bool, source: str) -> None:
    with atomic(out) as target:
        target.mkdir()
        _lines(
            target / "corpus.jsonl", ({"_id": p.id, "title": p.title, "text": p.text} for p in passages.by_id.values())
        )
        if splits:
            every = (query for part in splits.values() for query in part)
            _lines(target / "queries.jsonl", (_row(query, whole) for query in every))
            (target / "qrels").mkdir()
        for name, part in splits.items():
            with (target / "qrels" / f"{name}.tsv").open("w", encoding="utf-8", newline="\n") as file:
                file.write("query-id\tcorpus-id\tscore\n")
                file.writelines(f"{query.id}\t{passage}\t1\n" for query in part for passage in query.passages)
        (target / "SOURCE.md").write_text(source, "utf-8")


def _row(query: Query, whole: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"_id": query.id, "text": query.text, "made": query.made}
    return {**row, "in_passage": True} if whole and query.made != "generated" else row


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


_HOW = {
    "headings": "Queries are headings of sections; the passages of such a section do not hold its heading.",
    "sentences": "Queries are first sentences of sections; the passages of such a section do not hold it.",
    "both": "Queries are headings, or else first sentences, of sections, whose passages do not hold them.",
    "none": "No query was made of the documents.",
}


def _source(docs: Path, how: FromFolder, unit: str, filtered: bool, written: Written) -> str:
    """Return the note on a collection: what was made, how, and what was left out."""
    lines = [
        f"Passages of the documents in `{docs.resolve().name}`, by headings, of at most {how.size:,} {unit}.",
        _HOW[how.make],
        *(["Passages hold what was made a query: this is to search in, not to measure on."] if how.whole else []),
        *([f"Other queries were generated (`{how.queries.name}`)."] if how.queries else []),
        *(["Queries that did not find their passage again were left out."] if filtered else []),
        "Documents of dev and test queries have no training query.",
    ]
    counts = "\n".join(f"- {line}" for line in written.lines())
    return "# Source\n\nMade by `ance-tele data from-folder`. " + " ".join(lines) + f"\n\n{counts}\n"
