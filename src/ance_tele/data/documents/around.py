"""What documents hold besides what they say: the site's name in titles, lists of links, encoded data in one line."""

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile

from ance_tele.data.documents.blocks import Document
from ance_tele.data.documents.left_out import LeftOut
from ance_tele.data.documents.sections import Section
from ance_tele.data.scripts import may_lack_spaces

LONGEST_WORD = 2000  # characters
FEWEST_TITLES = 5
LEAST_SHARE = 1 / 3
"""Of the documents of a folder, whose titles end in the name of the site; others have a first heading as title."""
_LONG = re.compile(rf"(?<!\S)\S{{{LONGEST_WORD + 1},}}")
_END = re.compile(r"(?<=\S)\s+[-–—|·]\s+((?:(?!\s[-–—|·]\s).)+)$")


def without_shared_ends(read: Sequence[tuple[str, Document]]) -> list[tuple[str, Document]]:
    """Return documents, with their paths, without what titles share behind a dash or bar: the name of the site.

    An end is cut if at least 5 titles have it and a third of the documents in the folder that they are in.

    Example:
        >>> read = [(f"{page}.html", Document(f"{page} - The Book", [])) for page in "abcde"]
        >>> [document.title for _, document in without_shared_ends(read)]
        ['a', 'b', 'c', 'd', 'e']
    """
    having: defaultdict[str, list[str]] = defaultdict(list)
    for name, document in read:
        if end := _END.search(document.title):
            having[end[1]].append(name)
    shared = set()
    for end_text, names in having.items():
        if len(names) >= FEWEST_TITLES:
            folder = _folder_of(names)
            if len(names) >= LEAST_SHARE * sum(name.startswith(folder) for name, _ in read):
                shared.add(end_text)
    cut = []
    for name, document in read:
        end = _END.search(document.title) if shared else None
        title = document.title[: end.start()] if end and end[1] in shared else document.title
        cut.append((name, document._replace(title=title)))
    return cut


def _folder_of(names: Sequence[str]) -> str:
    """Return the path, "/" at its end, of the deepest folder that holds all of the files; "" for the uppermost."""
    parts = [name.split("/")[:-1] for name in names]
    common = takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    return "".join(f"{level[0]}/" for level in common)


def without_long_words(document: Document, left_out: LeftOut, name: str) -> Document:
    """Return a document in which nothing without spaces is longer than 2,000 characters, scripts without any apart."""

    def cut(word: re.Match[str]) -> str:
        if may_lack_spaces(word[0]):
            return word[0]
        left_out.add(f"ends of words longer than {LONGEST_WORD:,} characters", name)
        return word[0][:LONGEST_WORD]

    return document._replace(blocks=[block._replace(text=_LONG.sub(cut, block.text)) for block in document.blocks])


def only_links(section: Section) -> bool:
    """Return whether a section holds nothing but links within the site, such as a table of contents."""
    return bool(section.blocks) and all(block.links for block in section.blocks)
