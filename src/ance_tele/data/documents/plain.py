"""reStructuredText and plain text to blocks, by lines: headings are underlined, paragraphs apart by blank lines.

Not docutils: what Sphinx adds (roles, directives) it refuses, and it would read the files that a document names.
"""

import re
from collections import deque
from textwrap import dedent

from ance_tele.data.documents.blocks import Block, Document

_RULE = re.compile(r"([=\-~^\"'`#*+.:_<>!$%&(),/;?@\[\\\]{|}])\1{2,}\s*$")
_DIRECTIVE = re.compile(r"\.\. (?:\|[^|]*\| )?([\w:+.-]+)::(?:\s+(.*))?$")
_IS_RST = re.compile(r"^(?:\.\. (?:[\w:+.-]+::|_[^:\n]+:)|.*:[\w:+.-]+:`[^`]+`|.*``[^`\n]+``)", re.MULTILINE)
_TABLE = re.compile(r"\+[-=+]{3,}\+\s*$|={2,}(?: +={2,})+\s*$")
_ITEM = re.compile(r"(?:[-*+•]|\(?(?:\d+|#|[a-z])[.)])\s+\S")
_CODE = frozenset(
    [
        "code",
        "code-block",
        "sourcecode",
        "parsed-literal",
        "doctest",
        "testcode",
        "testoutput",
        "prompt",
        "math",
        "console",
    ]
)
_NO_TEXT = frozenset(
    [
        "toctree",
        "index",
        "contents",
        "highlight",
        "meta",
        "raw",
        "include",
        "literalinclude",
        "image",
        "default-role",
        "role",
        "currentmodule",
        "module",
        "py:module",
        "py:currentmodule",
        "sectionauthor",
        "tabularcolumns",
    ]
)
_ROLE = re.compile(r":[a-zA-Z][\w:+.-]*:`([^`]*)`")
_LINK = re.compile(r"`([^`<]+?)\s*<[^`>]*>`__?")
_TARGET = re.compile(r"^[~!]|\s*<[^<>]*>$")
_LITERAL = re.compile(r"``(.+?)``")
_STRONG = re.compile(r"(?<![\w*])(\*{1,2})(?=\S)([^*]+?)(?<=\S)\1(?![\w*])")


def read_rst(text: str) -> Document:
    """Return the blocks of reStructuredText, with the roles and directives of Sphinx or without.

    Of directives, code is a block of code, what has no text (such as ``toctree``) is left out, and of all others
    argument and content are text. Comments, labels and options are left out.

    Example:
        >>> source = "One\\n===\\n\\nSee :ref:`this <x>`::\\n\\n    x = 1\\n\\n.. note:: Take *care*.\\n"
        >>> [(block.kind, block.text) for block in read_rst(source).blocks]
        [('heading', 'One'), ('text', 'See this:'), ('code', 'x = 1'), ('text', 'Take care.')]
    """
    return _Reader(rst=True).read(text)


def read_text(text: str) -> Document:
    """Return the blocks of plain text; one with directives, labels, roles or ``literals`` is read as reStructuredText.

    Example:
        >>> [(block.kind, block.text) for block in read_text("Notes\\n-----\\none\\ntwo\\n\\nthree").blocks]
        [('heading', 'Notes'), ('text', 'one two'), ('text', 'three')]
    """
    return _Reader(rst=_IS_RST.search(text) is not None).read(text)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


class _Reader:
    """Takes the lines of a document one after the other; the content of a directive goes back to them, dedented."""

    def __init__(self, rst: bool) -> None:
        self.rst = rst
        self.blocks: list[Block] = []
        self.styles: list[str] = []
        self.target: Block | None = None  # what a directive without content has made

    def read(self, text: str) -> Document:
        """Return the title, which is the first heading, and the blocks."""
        self.lines = deque(line.rstrip() for line in text.expandtabs().splitlines())
        while self.lines:
            if not self.lines[0]:
                self.lines.popleft()
            elif not (self._heading() or (self.rst and self._marked())):
                self._paragraph()
        title = next((block.text for block in self.blocks if block.kind == "heading"), "")
        return Document(title, self.blocks)

    def _heading(self) -> bool:
        lines = self.lines
        over = bool(_RULE.match(lines[0])) and len(lines) > 2 and lines[2] == lines[0] and bool(lines[1].strip())
        if over:
            mark, title = lines[0][0] * 2, lines[1].strip()
        elif len(lines) > 1 and _RULE.match(lines[1]) and lines[0][0] != " " and not _RULE.match(lines[0]):
            mark, title = lines[1][0], lines[0]
            if len(lines[1]) < len(title) - 2:
                return False
        else:
            return False
        for _ in range(3 if over else 2):
            lines.popleft()
        if self.blocks and self.blocks[-1] is self.target:
            self.blocks.pop()  # it named this heading for references
        if mark not in self.styles:
            self.styles.append(mark)
        self.blocks.append(Block("heading", self._inline(title), self.styles.index(mark) + 1))
        return True

    def _marked(self) -> bool:
        """Take a directive, a comment or a label."""
        line = self.lines[0]
        if line != ".." and not line.startswith(".. "):
            return False
        self.lines.popleft()
        found, content = _DIRECTIVE.match(line), self._indented()
        if found is None or found[1] in _NO_TEXT:
            return True
        while content and re.match(r"\s*:[\w-]+:(?:\s|$)", content[0]):
            content.pop(0)
        if found[1] in _CODE:
            self._add("code", "\n".join(content).strip("\n"))
        elif not content and found[2]:
            self._add("text", self._inline(found[2]))
            self.target = self.blocks[-1]
        else:
            first = [found[2]] if found[2] else []
            apart = [""] if first and not content[0] else []  # else the paragraph goes on in the content
            self.lines.extendleft(reversed([*first, *apart, *content, ""]))
        return True

    def _indented(self) -> list[str]:
        """Take the indented lines that come now, blank ones within them included; dedented."""
        taken: list[str] = []
        while self.lines and (not self.lines[0] or self.lines[0][0] == " "):
            taken.append(self.lines.popleft())
        return dedent("\n".join(taken)).strip("\n").split("\n") if any(taken) else []

    def _paragraph(self) -> None:
        if _TABLE.match(self.lines[0].strip()):
            self._add("table", "\n".join(self._until_blank()))
            return
        if _RULE.match(self.lines[0]) and (len(self.lines) == 1 or not self.lines[1]):
            self.lines.popleft()  # a line across the page
            return
        taken = self._until_blank()
        code = self.rst and taken[-1].endswith("::")
        if code:
            taken[-1] = taken[-1][:-2] if taken[-1] == "::" or taken[-1].endswith(" ::") else taken[-1][:-1]
        self._add_lines(taken)
        if code:
            self._add("code", "\n".join(self._indented()))

    def _until_blank(self) -> list[str]:
        taken = [self.lines.popleft()]
        while self.lines and self.lines[0] and not (self.rst and self.lines[0].startswith(".. ")):
            if (
                len(self.lines) > 1
                and self.lines[0][0] != " "
                and _RULE.match(self.lines[1])
                and not _TABLE.match(taken[0])
            ):
                break  # a heading without a blank line before it
            taken.append(self.lines.popleft())
        return taken

    def _add_lines(self, lines: list[str]) -> None:
        """Add a paragraph, or the items of a list."""
        start = 0
        for place in range(1, len(lines) + 1):
            if place == len(lines) or _ITEM.match(lines[place].strip()):
                text = " ".join(" ".join(lines[start:place]).split())
                self._add("item" if _ITEM.match(text) else "text", self._inline(text))
                start = place

    def _inline(self, text: str) -> str:
        if not self.rst or ("`" not in text and "*" not in text):
            return text
        text = _ROLE.sub(lambda found: _TARGET.sub("", found[1]) or found[1], text)
        return _STRONG.sub(r"\2", _LITERAL.sub(r"\1", _LINK.sub(r"\1", text)))

    def _add(self, kind: str, text: str) -> None:
        if text.strip():
            self.blocks.append(Block(kind, text))  # type: ignore[arg-type]
