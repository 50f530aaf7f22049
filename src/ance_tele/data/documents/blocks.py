"""What every kind of document is read as: a title, and blocks in their order."""

from typing import Literal, NamedTuple

Kind = Literal["heading", "text", "item", "code", "table"]


class Block(NamedTuple):
    """A heading, a paragraph, an item of a list, a block of code or a table.

    Attributes:
        level: Of a heading, from 1.
        anchor: Of a heading: the name that links to it have, "" without.
        links: All of its words are links within the site.
    """

    kind: Kind
    text: str
    level: int = 0
    anchor: str = ""
    links: bool = False


class Document(NamedTuple):
    """One file: its title ("" if it says none) and its blocks."""

    title: str
    blocks: list[Block]
