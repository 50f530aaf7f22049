"""HTML to blocks; what surrounds the content of a page (navigation, scripts, footers) is left out."""

import re
from typing import Any

from ance_tele.console.errors import UserError
from ance_tele.data.documents.blocks import Block, Document, Kind

DEEPEST = 2000
"""Elements within each other: the parser takes time that grows with the square of it."""

MOST_OF_A_REDIRECT = 30
"""Words of a page that is left out because it redirects."""

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_NEVER = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "footer",
        "svg",
        "math",
        "canvas",
        "iframe",
        "object",
        "audio",
        "video",
        "button",
        "select",
        "textarea",
        "dialog",
        "head",
        "title",
        "-comment",
    ]
)
_AROUND = frozenset(("header", "aside"))  # of a page; within the content they belong to it
_ROLES = frozenset(("navigation", "search", "banner", "contentinfo", "menu", "menubar", "toolbar"))
_CLASSES = frozenset(("headerlink", "sphinxsidebar", "breadcrumb", "breadcrumbs", "sr-only", "skip-link"))
_INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdi",
        "bdo",
        "big",
        "cite",
        "code",
        "data",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "img",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
        "ruby",
        "rt",
        "rp",
        "input",
    ]
)
_STRUCTURED = "h1, h2, h3, h4, h5, h6, pre, ul, ol, dl, table table"
# Elements that need no end, or have none, so that their starts say nothing of the depth.
_OPEN = frozenset(
    [
        "p",
        "li",
        "dt",
        "dd",
        "td",
        "th",
        "tr",
        "thead",
        "tbody",
        "tfoot",
        "option",
        "optgroup",
        "colgroup",
        "col",
        "rp",
        "rt",
        "area",
        "base",
        "br",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "source",
        "track",
        "wbr",
        "html",
        "head",
        "body",
    ]
)
_HIDDEN = re.compile(r"(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SCHEME = re.compile(r"\s*[a-zA-Z][a-zA-Z0-9+.-]*:")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9-]*)[^>]*?(/?)>")


def read_html(text: str, fragment: bool = False) -> Document:
    """Return the blocks of a page: of its ``main`` element, or its only ``article``, else of its body.

    Args:
        text: The page.
        fragment: It is content alone, of which nothing is looked for.

    Raises:
        UserError: Elements lie in each other more than :data:`DEEPEST` deep, or the page only leads to another.

    Example:
        >>> page = "<title>T</title><nav>Home</nav><main><h1 id=a>One</h1>some <b>text</b><pre>x = 1</pre></main>"
        >>> for block in read_html(page).blocks:
        ...     print(block)
        Block(kind='heading', text='One', level=1, anchor='a', links=False)
        Block(kind='text', text='some text', level=0, anchor='', links=False)
        Block(kind='code', text='x = 1', level=0, anchor='', links=False)
    """
    from selectolax.lexbor import LexborHTMLParser

    if _depth(text) > DEEPEST:
        raise UserError(f"elements lie in each other more than {DEEPEST:,} deep")
    tree = LexborHTMLParser(text)
    root = tree.body if fragment else _content(tree)
    blocks = _Reader(inside=fragment or root is not tree.body).read(root) if root is not None else []
    if not fragment and _redirects(tree) and sum(len(block.text.split()) for block in blocks) <= MOST_OF_A_REDIRECT:
        raise UserError("only a redirect")
    named = next((block.text for block in blocks if block.kind == "heading" and block.level == 1), "")
    title = tree.css_first("title")
    return Document(named or (_flat(title.text()) if title is not None else ""), blocks)


def _depth(text: str) -> int:
    """Return how deep elements lie in each other at most, by their tags."""
    depth = deepest = 0
    for end, name, closed in _TAG.findall(text):
        if name.lower() not in _OPEN and not closed:
            depth = max(0, depth - 1) if end else depth + 1
            deepest = max(deepest, depth)
    return deepest


def _content(tree: Any) -> Any:
    """Return the element that holds the content of a page."""
    mains = tree.css("main, [role=main]")
    articles = tree.css("article")
    return mains[0] if mains else articles[0] if len(articles) == 1 else tree.body


def _redirects(tree: Any) -> bool:
    """Return whether a browser leaves the page for another by itself."""
    refresh = (node.attributes for node in tree.css("meta[http-equiv]"))
    return any(
        (given.get("http-equiv") or "").lower() == "refresh" and "url" in (given.get("content") or "").lower()
        for given in refresh
    )


def _flat(text: str) -> str:
    return " ".join(text.split())


def _children(node: Any) -> list[Any]:
    """Return the children of an element, the last one first."""
    found, child = [], node.last_child
    while child is not None:
        found.append(child)
        child = child.prev
    return found


_END_OF_LINK = object()


def _within_site(link: Any) -> bool:
    """Return whether a link leads to a place in the page, or to another page by a relative path."""
    to = link.attributes.get("href") or ""
    return bool(to) and not to.startswith("//") and not _SCHEME.match(to)


class _Reader:
    """Collects the blocks below an element, without recursion; ``inside`` says that it is the content of a page."""

    def __init__(self, inside: bool) -> None:
        self.inside = inside
        self.blocks: list[Block] = []
        self.words: list[str] = []
        self.kind: Kind = "text"
        self.in_link = self.besides = False  # within a link; there are words besides links

    def read(self, root: Any) -> list[Block]:
        """Return the blocks; each is collected until the element that holds it begins or ends another."""
        stack = _children(root)
        while stack:
            node = stack.pop()
            if node is None:
                self._flush()
                self.kind = "text"
            elif node is _END_OF_LINK:
                self.in_link = False
            elif node.tag == "-text":
                text = node.text(deep=False)
                self.words.append(text)
                self.besides |= not self.in_link and any(map(str.isalnum, text))
            elif not self._left_out(node):
                self._enter(node, stack)
        self._flush()
        return self.blocks

    def _left_out(self, node: Any) -> bool:
        if node.tag in _NEVER or (node.tag in _AROUND and not self.inside):
            return True
        given = node.attributes
        if not given:
            return False
        classes = set((given.get("class") or "").split())
        styled = _HIDDEN.search(given.get("style") or "")
        hidden = "hidden" in given or given.get("aria-hidden") == "true" or styled is not None
        return hidden or (given.get("role") or "") in _ROLES or bool(classes & _CLASSES)

    def _enter(self, node: Any, stack: list[Any]) -> None:
        tag = node.tag
        if tag in _INLINE:
            if tag == "a" and _within_site(node):
                self.in_link = True
                stack.append(_END_OF_LINK)
            stack += _children(node)
            return
        if tag == "br":
            self.words.append("\n")
            return
        self._flush()
        if tag in _HEADINGS:
            text = _flat(_text(node))
            if text:
                self.blocks.append(Block("heading", text, _HEADINGS[tag], _anchor(node)))
        elif tag == "pre":
            self._add("code", _text(node).strip("\n").rstrip())
        elif tag == "table" and node.css_first(_STRUCTURED) in (None, node):
            cells = ([_flat(_text(cell)) for cell in row.css("th, td")] for row in node.css("caption, tr"))
            rows = [" | ".join(row) for row in cells]
            caption = node.css_first("caption")
            self._add("table", "\n".join(filter(None, [_flat(_text(caption)) if caption is not None else "", *rows])))
        else:
            self.kind = "item" if tag == "li" else self.kind
            stack.append(None)
            stack += _children(node)

    def _flush(self) -> None:
        text = _flat("".join(self.words))
        self.words.clear()
        if text:
            links = not self.besides and any(map(str.isalnum, text))
            self.blocks.append(Block(self.kind, f"- {text}" if self.kind == "item" else text, links=links))
            self.kind = "text"
        self.besides = False

    def _add(self, kind: Kind, text: str) -> None:
        if text.strip():
            self.blocks.append(Block(kind, text))


def _text(node: Any) -> str:
    """Return the text below an element, without what is left out of every page."""
    words, stack = [], _children(node)
    while stack:
        child = stack.pop()
        if child.tag == "-text":
            words.append(child.text(deep=False))
        elif child.tag == "br":
            words.append("\n")
        elif child.tag not in _NEVER and "headerlink" not in (child.attributes.get("class") or ""):
            if child.tag not in _INLINE:
                words.append(" ")
            stack += _children(child)
    return "".join(words)


def _anchor(heading: Any) -> str:
    """Return the id of a heading, of an element in it, or of the section that it opens; "" without."""
    inner = heading.css_first("[id], a[name]")
    around = heading.parent
    section = around.tag == "section" or "section" in (around.attributes.get("class") or "").split()
    for node in (heading, inner, around if section else None):
        if node is not None:
            found = node.attributes.get("id") or (node.attributes.get("name") if node.tag == "a" else None)
            if found:
                return found
    return ""
