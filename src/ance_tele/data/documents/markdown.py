"""Markdown to blocks, by way of HTML."""

import re

from ance_tele.data.documents.blocks import Block, Document
from ance_tele.data.documents.html import read_html

_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)|\+\+\+[ \t]*\n(?P<toml>.*?)^\+\+\+)[ \t]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
# The first line of front matter, and not of a text between two rules, names a field (or is empty, in front of none).
_FIELD = re.compile(r"\s*(?:#.*\n\s*)*(?:[\"']?[\w.-]+[\"']?[ \t]*[:=](?:\s|$|[\"'])|\[|\Z)")
_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(?:[>|][-+\d]*[ \t]*\n((?:[ \t]+.*\n|\n)+)|(.*))", re.MULTILINE)
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^']|'')*)'")
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
    matter = _FRONT_MATTER.match(text)
    if matter is None:
        return "", text
    fields = matter["yaml"] if matter["yaml"] is not None else matter["toml"]
    if not _FIELD.match(fields):
        return "", text
    found = _TITLE.search(fields)
    return _value(found) if found else "", text[matter.end() :]


def _value(title: re.Match[str]) -> str:
    """Return the text of a field, of several lines or one, which may be quoted or have a comment behind it."""
    if title[1] is not None:
        return " ".join(title[1].split())
    if quoted := _QUOTED.match(title[2]):
        double, single = quoted.groups()
        return re.sub(r"\\(.)", r"\1", double) if double is not None else single.replace("''", "'")
    return re.sub(r"(?:^|\s)#.*", "", title[2]).strip()


def _own_anchor(block: Block) -> Block:
    found = _OWN_ANCHOR.search(block.text)
    return block._replace(text=block.text[: found.start()], anchor=found[1]) if found else block
