"""Markdown to blocks, by way of HTML."""

import re

from ance_tele.data.documents.blocks import Block, Document
from ance_tele.data.documents.html import read_html

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*\n", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
_OWN_ANCHOR = re.compile(r"\s*\{\s*#([\w.:-]+)[^}]*\}\s*$")


def read_markdown(text: str) -> Document:
    """Return the blocks of CommonMark with tables; a title in the front matter is that of the document.

    Example:
        >>> [block.text for block in read_markdown("# One {#first}\\n\\nSee [this](http://x).\\n\\n- a\\n").blocks]
        ['One', 'See this.', '- a']
    """
    from markdown_it import MarkdownIt

    text, title = text.replace("\r\n", "\n"), ""
    if matter := _FRONT_MATTER.match(text):
        found = _TITLE.search(matter[1])
        title, text = (found[1].strip("\"'") if found else ""), text[matter.end() :]
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    read = read_html(html, fragment=True)
    blocks = [_own_anchor(block) if block.kind == "heading" else block for block in read.blocks]
    first = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), "")
    return Document(title or first, blocks)


def _own_anchor(block: Block) -> Block:
    found = _OWN_ANCHOR.search(block.text)
    return block._replace(text=block.text[: found.start()], anchor=found[1]) if found else block
