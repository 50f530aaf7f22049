"""Sections of a document: what stands under one heading, and the path of headings to it."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

from ance_tele.data.documents.blocks import Block, Document

LONGEST_ANCHOR = 100  # characters
LONGEST_PATH = 600  # characters
_SITE = re.compile(r"\s+[-–—|·:]\s|:\s")
_UNFIT = re.compile(r"[^\w.:-]+")
_ESCAPED = re.compile(r"[\s%#~]")


@dataclass(frozen=True)
class Section:
    """What stands under one heading, without the sections below it.

    Attributes:
        document: Path of the file.
        name: Id of the section: the path and, behind "#", the anchor of the heading.
        title: Of the document.
        path: The headings above it and its own, without that of the document.
        heading: Its own; "" before the first one.
        leaf: There are no sections below it.
        blocks: What it holds.
    """

    document: str
    name: str
    title: str
    path: tuple[str, ...]
    heading: str
    leaf: bool
    blocks: tuple[Block, ...]


def sections(document: str, read: Document) -> list[Section]:
    """Return the sections of a document in their order, those without text included.

    Example:
        >>> blocks = [Block("heading", "Keys", 1), Block("heading", "Lost keys", 2), Block("text", "Ask.")]
        >>> for section in sections("a b.md", Document("Keys", blocks)):
        ...     print(section.name, section.path, section.leaf, len(section.blocks))
        a%20b.md#keys () False 0
        a%20b.md#lost-keys ('Lost keys',) True 1
    """
    title = read.title or document.rpartition("/")[2].rpartition(".")[0].replace("_", " ").replace("-", " ")
    lead = next((block.text for block in read.blocks if block.kind == "heading"), "")
    if _begins_with(title, lead):
        title = lead
    base, taken = _path_id(document), Counter[str]()
    parts: list[tuple[Block | None, list[Block]]] = [(None, [])]
    for block in read.blocks:
        if block.kind == "heading":
            parts.append((block, []))
        else:
            parts[-1][1].append(block)
    found, above = [], list[Block]()
    for place, (heading, blocks) in enumerate(parts):
        if heading is None:
            if blocks:
                found.append(Section(document, base, title, (), "", len(parts) == 1, tuple(blocks)))
            continue
        above = [block for block in above if block.level < heading.level] + [heading]
        below = parts[place + 1][0] if place + 1 < len(parts) else None
        leaf = below is None or below.level <= heading.level
        path = tuple(block.text for block in above if block.text != title)
        name = f"{base}#{_anchor(heading, taken)}"
        found.append(Section(document, name, title, path, heading.text, leaf, tuple(blocks)))
    return found


def _begins_with(title: str, heading: str) -> bool:
    """Return whether a title is a heading, alone or with the name of a site behind it.

    >>> _begins_with("Keys - The Book", "Keys"), _begins_with("keys", "Keys"), _begins_with("Keys of doors", "Keys")
    (True, True, False)
    """
    rest = title[len(heading) :]
    same = heading != "" and title[: len(heading)].casefold() == heading.casefold()
    return same and (not rest or _SITE.match(rest) is not None)


def _path_id(document: str) -> str:
    """Return a path as the beginning of an id: what separates the parts of one is escaped."""
    escaped = _ESCAPED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), document)
    if len(escaped) <= LONGEST_PATH:
        return escaped
    digest = hashlib.blake2b(document.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{digest}...{escaped[-LONGEST_PATH + 100 :]}"


def _anchor(heading: Block, taken: Counter[str]) -> str:
    """Return an anchor that no earlier heading of the document has."""
    words = _UNFIT.sub("-", heading.anchor or heading.text.lower()).strip("-")[:LONGEST_ANCHOR] or "section"
    taken[words] += 1
    while taken[words] > 1:
        words = f"{words[:LONGEST_ANCHOR]}-{taken[words]}"
        taken[words] += 1
    return words
