"""Markdown to blocks, by way of HTML."""

import re

import yaml

from ance_tele.data.documents.blocks import Block, Document
from ance_tele.data.documents.html import read_html

_YAML = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TITLE = re.compile(r"""^title[ \t]*[:=][ \t]*(["']?)(.*?)\1[ \t]*$""", re.MULTILINE)
_OWN_ANCHOR = re.compile(r"\s*\{\s*#([\w.:-]+)[^}]*\}\s*$")


def read_markdown(text: str) -> Document:
    """Return the blocks of CommonMark with tables; a title in the front matter is that of the document.

    Example:
        >>> [block.text for block in read_markdown("# One {#first}\\n\\nSee [this](http://x).\\n\\n- a\\n").blocks]
        ['One', 'See this.', '- a']
    """
    from markdown_it import MarkdownIt

    title, text = _front_matter(text.replace("\r\n", "\n"))
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    read = read_html(html, fragment=True)
    blocks = [_own_anchor(block) if block.kind == "heading" else block for block in read.blocks]
    first = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), "")
    return Document(title or first, blocks)


def _front_matter(text: str) -> tuple[str, str]:
    """Return the title in the front matter of a text (YAML, or TOML as Hugo has it), and the text behind it.

    >>> _front_matter("---\\ntitle: 'It''s a key' # new\\n---\\nText"), _front_matter("---\\nNo field.\\n\\n---\\nText")
    (("It's a key", 'Text'), ('', '---\\nNo field.\\n\\n---\\nText'))
    """
    if matter := _TOML.match(text):
        return _line(matter[1]), text[matter.end() :]
    if matter := _YAML.match(text):
        try:
            fields = yaml.safe_load(matter[1])
        except (yaml.YAMLError, ValueError, RecursionError):
            title = _line(matter[1])
            return (title, text[matter.end() :]) if title else ("", text)
        if fields is None or isinstance(fields, dict):  # else a text between two rules
            title = (fields or {}).get("title", "")  # a number or date as it is written
            return title if isinstance(title, str) else _line(matter[1]), text[matter.end() :]
    return "", text


def _line(fields: str) -> str:
    """Return the title of fields by its line alone, for TOML, and for YAML with an error in it."""
    found = _TITLE.search(fields)
    return found[2] if found else ""


def _own_anchor(block: Block) -> Block:
    found = _OWN_ANCHOR.search(block.text)
    return block._replace(text=block.text[: found.start()], anchor=found[1]) if found else block
