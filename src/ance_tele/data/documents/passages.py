"""Sections to passages: title, id, text of bounded size; copies of earlier ones are dropped."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ance_tele.console.progress import progress
from ance_tele.data.copies import plain
from ance_tele.data.documents.packing import Sizes, pack
from ance_tele.data.documents.sections import Section

SEPARATOR = " > "
_NUMBERS = re.compile(r"(?:[\W\d_]|(?<=\d)[eE](?=[+-]?\d))*")
LEAST_OF_A_COPY = 12
"""Words of a text that is a copy whatever its title; a shorter one must have the title of the other, too."""


class Passage(NamedTuple):
    """A passage as it is written, and the document that it is from."""

    id: str
    title: str
    text: str
    document: str


@dataclass
class Passages:
    """The passages of a folder.

    Attributes:
        by_id: In the order of documents.
        of_section: Ids of the passages of each section; of a copy, the id of the passage that is kept.
        counts: Of what was left out or shortened.
    """

    by_id: dict[str, Passage] = field(default_factory=dict)
    of_section: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def passages_of(
    found: Sequence[Section],
    size: int,
    sizes: Sizes,
    hidden: Mapping[str, Section],
) -> Passages:
    """Return the passages of sections.

    Args:
        found: The sections.
        size: The most that title and text of a passage have together.
        sizes: What it is counted in.
        hidden: By name, what stands for a section: without the heading or sentence that is a query for it.
    """
    made, kept = Passages(), dict[str, str]()
    shown = [hidden.get(one.name, one) for one in found]
    lengths = [sum(len(block.text) for block in one.blocks) for one in shown]
    with progress("cutting passages", sum(lengths), "characters") as advance:
        for section, length in zip(shown, lengths, strict=True):
            _add(made, kept, section, size, sizes)
            advance(length)
    made.counts = +made.counts
    return made


def _add(made: Passages, kept: dict[str, str], section: Section, size: int, sizes: Sizes) -> None:
    """Add the passages of a section; ``kept`` has the id of each text that there is already."""
    if not section.blocks:
        made.counts["headings with nothing below"] += section.leaf
        return
    title, shortened = _title(section, size, sizes)
    made.counts["titles shortened to leave room for the text"] += shortened
    room = size - sizes([title])[0]
    ids = made.of_section.setdefault(section.name, [])
    for number, text in enumerate(_bounded(section, title, room, size, sizes), start=1):
        key = f"{section.name}~{number}" if number > 1 else section.name
        content = plain("" if len(text.split()) >= LEAST_OF_A_COPY else title, text)
        if _NUMBERS.fullmatch(text):
            made.counts["passages without a word (numbers, signs)"] += 1
            continue
        first = kept.setdefault(content, key)
        if first == key:
            made.by_id[key] = Passage(key, title, text, section.document)
        else:
            made.counts["passages with the text of an earlier one"] += 1
        ids.append(first)


def _bounded(section: Section, title: str, room: int, size: int, sizes: Sizes) -> Sequence[str]:
    """Return texts that are within ``size`` together with the title, whatever tokens arise where the two meet."""
    while True:
        texts = list(pack(section.blocks, room, sizes))
        if room <= 1 or max(sizes([f"{title} {text}" for text in texts])) <= size:
            return texts
        room -= 1


def _title(section: Section, size: int, sizes: Sizes) -> tuple[str, bool]:
    """Return the title of a section, at most half of a passage, and whether it was shortened.

    The heading nearest to the text stays, and that of the document where there is room for it.
    """
    parts = [*dict.fromkeys(filter(None, (section.title, *section.path)))]
    whole = SEPARATOR.join(parts)
    shorter = [whole, SEPARATOR.join([*parts[:1], *parts[1:][-1:]]), *parts[-1:]]
    for title in shorter:
        if sizes([title])[0] <= size // 2:
            return title, title != whole
    words = shorter[-1].split()
    while words and sizes([" ".join(words)])[0] > size // 2:
        words = words[: len(words) * 3 // 4]
    return " ".join(words), True
