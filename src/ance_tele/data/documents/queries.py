"""Queries made of the documents themselves: headings, and first sentences; and those that something else has made."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ance_tele.console.errors import UserError
from ance_tele.data.documents.how import Make
from ance_tele.data.documents.left_out import LeftOut, amount
from ance_tele.data.documents.packing import sentences, words_in
from ance_tele.data.documents.passages import Passages
from ance_tele.data.documents.sections import Section
from ance_tele.data.formats.objects import identifier, need, read_objects, text
from ance_tele.data.scripts import may_lack_spaces

FEWEST_WORDS = 3
"""Of a heading; a shorter one is asked for together with the one above it."""
MOST_WORDS = 30
FEWEST_LEFT = 15
"""Words that a section has besides its first sentence."""
MOST_PASSAGES = 5
"""Of a section whose heading is a query: what is longer is about more than its heading says."""
LEAST_COMMON = 5
"""Documents that a common heading stands in at least, besides more than a hundredth of all."""
SHARED = f"headings that at least {LEAST_COMMON} documents, and more than 1% of all, share"
_NUMBER = re.compile(r"^(?:\(?\d+(?:\.\d+)*[.)]?|[A-Z][.)])\s+")
_WORD = re.compile(r"[^\W_]{2,}")


class Query(NamedTuple):
    """A query, how it was made, and the passages that are relevant to it."""

    id: str
    text: str
    made: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A section, the query made of it, and the section without what the query says."""

    query: str
    made: str
    section: Section


def ask(found: Sequence[Section], make: Make, usual: Mapping[str, int], left_out: LeftOut) -> dict[str, Asked]:
    """Return by name the sections that a query can be made of.

    A heading is one if its section has no sections below it, whose titles it would be in. A short one, and one that
    another section has too, is asked for together with the heading above it; where that is not the only one either, it
    is left out. One that many documents have (``usual``, of :func:`common`) is never a query.

    Example:
        >>> from ance_tele.data.documents.blocks import Block
        >>> from ance_tele.data.documents.left_out import LeftOut
        >>> section = Section("a.md", "a.md#x", "Keys", ("Copy a key",), "Copy a key", True, (Block("text", "Go."),))
        >>> ask([section], "headings", {}, LeftOut())["a.md#x"].query
        'Copy a key'
    """
    ways: list[list[Asked]] = []
    for section in found:
        of = list(_of_heading(section, usual, left_out)) if make in ("headings", "both") else []
        sentence = _of_sentence(section) if make in ("sentences", "both") else None
        ways.append([*of, *([sentence] if sentence else [])])
    times = Counter(normal(asked.query) for of in ways for asked in of)
    made: dict[str, Asked] = {}
    for section, of in zip(found, ways, strict=True):
        unique = [asked for asked in of if times[normal(asked.query)] == 1]
        if unique:
            made[section.name] = unique[0]
        elif of:
            left_out[f"{of[0].made}s that more than one section has"] += 1
    return made


def common(found: Iterable[Section]) -> dict[str, int]:
    """Return the headings of at least 5 documents and more than 1% of all, with their documents; the commonest first.

    They name the parts of a kind of page (Synopsis, See also), and not what a page is about.
    """
    having: defaultdict[str, set[str]] = defaultdict(set)
    documents = set()
    for section in found:
        documents.add(section.document)
        having[_key(section.heading)].add(section.document)
    counts = {heading: len(of) for heading, of in having.items() if heading}
    least = max(LEAST_COMMON, len(documents) // 100 + 1)
    return {
        heading: count for heading, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count >= least
    }


def _own(heading: str) -> str:
    """Return a heading without its number and the marks around it."""
    return _NUMBER.sub("", heading).strip(" :#-")


def _key(heading: str) -> str:
    """Return what makes a heading the same as another: its words, or its signs if it has none."""
    return normal(_own(heading)) or _own(heading)


def normal(query: str) -> str:
    """Return the words of a query, which make it the same as another."""
    return " ".join(re.findall(r"\w+", query.casefold()))


def _of_heading(section: Section, usual: Mapping[str, int], left_out: LeftOut) -> Iterator[Asked]:
    """Yield the heading, unless it is short, and the heading behind the one above it."""
    if not section.heading or not section.blocks or not section.leaf:
        return
    own = _own(section.heading)
    above = [part for part in (section.title, *section.path) if part != section.heading]
    alone = words_in([own])[0] >= FEWEST_WORDS and sum(len(word) > 2 for word in _WORD.findall(own)) >= FEWEST_WORDS - 1
    if not _WORD.search(own):
        left_out["headings without a word"] += 1
        return
    if _key(own) in usual:
        left_out[SHARED] += 1
        return
    queries = [own] * (alone or may_lack_spaces(own)) + [f"{part}: {own}" for part in above[-1:]]
    fit = [query for query in queries if words_in([query])[0] <= MOST_WORDS]
    if not fit:
        left_out["headings of too many words" if queries else "headings of too few words"] += 1
    title = "" if section.title == section.heading else section.title
    without = replace(section, title=title, path=tuple(part for part in section.path if part != section.heading))
    for query in fit:
        yield Asked(query, "heading", without)


def _of_sentence(section: Section) -> Asked | None:
    if not section.blocks or section.blocks[0].kind != "text":
        return None
    first, *rest = section.blocks
    parts = sentences(first.text)
    query, left = parts[0], " ".join(parts[1:])
    remaining = (*([first._replace(text=left)] if left else []), *rest)
    few = sum(words_in([block.text for block in remaining])) < FEWEST_LEFT
    if few or not 2 * FEWEST_WORDS <= words_in([query])[0] <= MOST_WORDS or query[-1] == ":":
        return None
    return Asked(query, "first sentence", replace(section, blocks=remaining))


def made_queries(asked: Mapping[str, Asked], passages: Passages, left_out: LeftOut) -> list[Query]:
    """Return the queries of sections with the passages of these; of a first sentence, with the first passage.

    A section whose text only another document has kept makes none: the passage there has another title.
    """
    queries = []
    for name, one in asked.items():
        ids = tuple(dict.fromkeys(passages.of_section.get(name, ())))
        if one.made == "first sentence":
            ids = ids[:1]
        own = any(passages.by_id[key].document == one.section.document for key in ids)
        if len(ids) > MOST_PASSAGES:
            left_out[f"headings of more than {MOST_PASSAGES} passages"] += 1
        elif ids and not own:
            left_out[f"{one.made}s with the text of an earlier document"] += 1
        elif ids:
            queries.append(Query(f"{name}?{one.made.replace(' ', '-')}", one.query, one.made, ids))
    return queries


def read_generated(path: Path, passages: Passages, left_out: LeftOut) -> list[Query]:
    """Read generated queries: JSON lines of ``passage_id`` and ``query``; the same text is one query.

    Raises:
        UserError: A line is not as described, or none names a passage that there is.
    """
    if not path.is_file():
        raise UserError(f"{path} is not a file; --queries takes JSON lines of passage_id and query.")
    targets: dict[str, tuple[str, dict[str, None]]] = {}
    for number, row in read_objects(path):
        where = f"{path.name} line {number}"
        passage = identifier(need(row, where, "passage_id"), where, "passage_id")
        query = " ".join(text(need(row, where, "query"), where, "query").split())
        if passage not in passages.by_id:
            left_out["generated queries for passages that there are not"] += 1
        elif not normal(query):
            left_out["generated queries without a word"] += 1
        else:
            targets.setdefault(normal(query), (query, {}))[1][passage] = None
    if not targets:
        raise UserError(
            f"{path.name} holds no query for any of the {len(passages.by_id):,} passages; the ids are those of the "
            "corpus.jsonl that the same command writes with --make none."
        )
    return [Query(_query_id(words), query, "generated", tuple(ids)) for words, (query, ids) in targets.items()]


def _query_id(words: str) -> str:
    return "generated-" + hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def split(
    queries: Iterable[Query], document_of: Mapping[str, str], dev: float, test: float, left_out: LeftOut
) -> dict[str, list[Query]]:
    """Return queries by split; the documents of dev and test have none in training.

    Documents go by the hashes of their paths: the first ones are test, the next dev. A query whose passages are of
    documents of several splits is left out.

    Raises:
        UserError: There are too few documents.
    """
    found = list(queries)
    documents = {document_of[passage] for query in found for passage in query.passages}
    names = ("test",) * (test > 0) + ("dev",) * (dev > 0)
    if len(documents) <= len(names):
        raise UserError(
            f"There are queries for {amount(len(documents), 'documents')}, but those of "
            f"{', '.join(('train', *names))} must be apart: at least {len(names) + 1} are "
            "needed; divide the documents, or pass --dev 0 --test 0."
        )
    order = sorted(documents, key=lambda document: (_hash(document), document))
    sizes = {name: max(1, round(share * len(order))) for name, share in (("test", test), ("dev", dev)) if share}
    belongs: dict[str, str] = {}
    for name, size in sizes.items():
        for document in [one for one in order if one not in belongs][: min(size, len(order) - len(belongs) - 1)]:
            belongs[document] = name
    parts: defaultdict[str, list[Query]] = defaultdict(list)
    for query in found:
        of = {belongs.get(document_of[passage], "train") for passage in query.passages}
        if len(of) == 1:
            parts[of.pop()].append(query)
        else:
            left_out["queries for documents of several splits"] += 1
    return {name: parts[name] for name in ("train", "dev", "test") if parts[name]}


def _hash(document: str) -> bytes:
    return hashlib.blake2b(document.encode("utf-8", "surrogatepass"), digest_size=8).digest()
