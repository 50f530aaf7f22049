"""A folder of documents: no text is lost, sizes hold, ids stay, queries do not stand in their passages."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ance_tele.console.errors import UserError
from ance_tele.data.describe import describe
from ance_tele.data.documents.blocks import Block, Document
from ance_tele.data.documents.files import KINDS, read_documents
from ance_tele.data.documents.folder import write_documents
from ance_tele.data.documents.how import FromFolder
from ance_tele.data.documents.html import DEEPEST, read_html
from ance_tele.data.documents.left_out import LeftOut
from ance_tele.data.documents.markdown import read_markdown
from ance_tele.data.documents.packing import pack, words_in
from ance_tele.data.documents.passages import passages_of
from ance_tele.data.documents.plain import read_rst, read_text
from ance_tele.data.documents.queries import Query, ask, common, split
from ance_tele.data.documents.sections import sections
from ance_tele.data.load import load_collection


def shown(document: Document) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in document.blocks]


# ---- readers -------------------------------------------------------------------------------------

PAGE = """<!doctype html><html><head><title>Site - Keys</title><style>.x{}</style></head><body>
<header>Top banner</header><nav><a href=/>Home</a></nav>
<main><header><h1 id="keys">Keys<a class="headerlink" href="#keys">¶</a></h1></header>
<p>A key <em>opens</em> a lock&amp;door.<br>Next line</p><aside>Note that</aside>
<ul><li>one</li><li><p>two</p><p>more</p></li></ul>
<section id="how"><h2>How</h2><pre><span>def</span> f():
    return 1
</pre><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table></section>
<script>alert(1)</script><p hidden>secret</p></main><footer>Imprint</footer></body></html>"""


def test_a_page_is_its_content_in_blocks() -> None:
    read = read_html(PAGE)
    assert read.title == "Keys"
    assert shown(read) == [
        ("heading", "Keys"),
        ("text", "A key opens a lock&door. Next line"),
        ("text", "Note that"),
        ("item", "- one"),
        ("item", "- two"),
        ("text", "more"),
        ("heading", "How"),
        ("code", "def f():\n    return 1"),
        ("table", "a | b\n1 | 2"),
    ]
    assert [block.anchor for block in read.blocks if block.kind == "heading"] == ["keys", "how"]


def test_a_page_without_main_is_its_body_and_a_table_for_layout_is_none() -> None:
    layout = "<title>T</title><nav>x</nav><table><tr><td><h2>One</h2>text<td><ul><li>two</ul></table>"
    assert shown(read_html(layout)) == [("heading", "One"), ("text", "text"), ("item", "- two")]
    assert read_html(layout).title == "T"
    assert shown(read_html("")) == [] and shown(read_html("<p>a<p>b")) == [("text", "a"), ("text", "b")]


def test_elements_too_deep_in_each_other_are_refused_before_they_take_long() -> None:
    with pytest.raises(UserError, match="more than 2,000 deep"):
        read_html("<div>" * 200_000 + "x")
    with pytest.raises(UserError, match="deep"):
        read_html(("<b>" * 3000) + "x" + ("</b>" * 3000))
    assert shown(read_html("<p>" * 9000 + "x")) == [("text", "x")]
    assert shown(read_html("<div>" * (DEEPEST - 10) + "x")) == [("text", "x")]


def test_markdown() -> None:
    source = """---
title: "The keys"
tags: [x]
---
# Keys

See [the locks](locks.md) and `code`, <b>bold</b>. <!-- not this -->

| a | b |
|---|---|
| 1 | 2 |

```python
# no heading
x = 1

y = 2
```

## Lost ones {#lost}

1. ask
2. wait
"""
    read = read_markdown(source)
    assert read.title == "The keys"
    assert shown(read) == [
        ("heading", "Keys"),
        ("text", "See the locks and code, bold."),
        ("table", "a | b\n1 | 2"),
        ("code", "# no heading\nx = 1\n\ny = 2"),
        ("heading", "Lost ones"),
        ("item", "- ask"),
        ("item", "- wait"),
    ]
    assert read.blocks[4].anchor == "lost"
    assert shown(read_markdown(source.replace("\n", "\r\n"))) == shown(read)


@pytest.mark.parametrize(
    ("text", "title", "first"),
    [
        ("---\ntitle: >-\n  A folded\n  title\ntags: [x]\n---\nBody.", "A folded title", "Body."),
        ('---\ntitle: "Say \\"no\\"" # comment\n---\nBody.', 'Say "no"', "Body."),
        ('---\ntitle: The "best" way\n---\nBody.', 'The "best" way', "Body."),
        ("---\ntitle: C# for all # draft\n---\nBody.", "C# for all", "Body."),
        ("---\ntitle:\ntags: x\n---\nBody.", "", "Body."),
        ("---\n# made by hand\n\nlayout: page\ntitle: Page\n...\nBody.", "Page", "Body."),
        ('+++\ndate = 2024-01-01\ntitle = "Of Hugo"\n[params]\nx = 1\n+++\n\nBody.', "Of Hugo", "Body."),
        ("---\ntitle: Keys: a guide\ntags: x\n---\nBody.", "Keys: a guide", "Body."),  # no YAML, though often written
        ("---\nSee: a: text.\n\n---\n\nBody.", "", "See: a: text."),
        ("---\ntitle: 2024-01-01\n---\nBody.", "2024-01-01", "Body."),
        ("---\n---\nBody.", "", "Body."),
        ("---\n\nA text between rules.\n\n---\n\nBody.", "", "A text between rules."),
        ("---\nA text behind a rule.\n", "", "A text behind a rule."),
    ],
)
def test_front_matter(text: str, title: str, first: str) -> None:
    read = read_markdown(text)
    assert (read.title, read.blocks[0].text) == (title, first)


def test_what_a_style_hides_is_left_out() -> None:
    page = '<main><p style="color: red; DISPLAY : none">Not this.</p><p style="color: red">This.</p></main>'
    assert [block.text for block in read_html(page).blocks] == ["This."]


def test_restructured_text() -> None:
    source = """
.. _a-label:

=====
Keys
=====

.. comment that nobody reads

See :ref:`the locks <locks>`, :class:`~a.Lock`, ``code`` and `here <http://x>`_::

    x = 1

    y = 2

.. code-block:: python
   :caption: Z

   z = 3

.. versionadded:: 2
   New
   here.

.. toctree::

   locks

.. setting:: LOST

Lost
----
* one
* two
  more

==== ====
a    b
==== ====
1    2
==== ====
"""
    assert shown(read_rst(source)) == [
        ("heading", "Keys"),
        ("text", "See the locks, a.Lock, code and here:"),
        ("code", "x = 1\n\ny = 2"),
        ("code", "z = 3"),
        ("text", "2 New here."),
        ("heading", "Lost"),
        ("item", "* one"),
        ("item", "* two more"),
        ("table", "==== ====\na    b\n==== ====\n1    2\n==== ===="),
    ]
    assert [block.level for block in read_rst(source).blocks if block.kind == "heading"] == [1, 2]
    assert shown(read_text(source)) == shown(read_rst(source))


def test_plain_text_keeps_what_looks_like_markup() -> None:
    source = "Keys\n====\n.. is no comment:: here\n\n    indented\n\n-----\n\n*one* `two`"
    assert [text for _, text in shown(read_text(source))] == [
        "Keys",
        ".. is no comment:: here",
        "indented",
        "*one* `two`",
    ]


# ---- no text is lost -----------------------------------------------------------------------------

numbers = st.integers(0, 10_000)


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[tuple[str, int, list[str]]], int]:
    """Blocks (kind, level, words), every word once; and the size of passages."""
    blocks: list[tuple[str, int, list[str]]] = []
    count = 0
    for kind in draw(st.lists(st.sampled_from(["heading", "text", "item", "code", "nav"]), max_size=14)):
        size = draw(st.integers(1, 3 if kind == "heading" else 40))
        words = [
            f"wd{number}" + "." * draw(st.booleans()) * (kind != "heading") for number in range(count, count + size)
        ]
        count += size
        blocks.append((kind, draw(st.integers(1, 4)), words))
    return blocks, draw(st.integers(16, 40))


def as_markdown(blocks: list[tuple[str, int, list[str]]]) -> str:
    forms = {
        "heading": lambda level, text: f"{'#' * level} {text}\n",
        "text": lambda level, text: f"{text}\n",
        "item": lambda level, text: f"- {text}\n",
        "code": lambda level, text: "~~~\n" + text.replace(" ", "\n") + "\n~~~\n",
        "nav": lambda level, text: f"<nav>{text}</nav>\n",
    }
    return "\n".join(forms[kind](level, " ".join(words)) for kind, level, words in blocks)


def as_html(blocks: list[tuple[str, int, list[str]]]) -> str:
    tags = {"text": "p", "item": "li", "code": "pre", "nav": "nav"}
    parts = []
    for kind, level, words in blocks:
        tag = f"h{level}" if kind == "heading" else tags[kind]
        parts.append(f"<{tag}>{' '.join(words)}</{tag}>")
    return "<body>" + "".join(parts)


def as_rst(blocks: list[tuple[str, int, list[str]]]) -> str:
    parts = []
    for kind, level, words in blocks:
        text = " ".join(words)
        if kind == "heading":
            parts.append(f"{text}\n{'=-~^'[level - 1] * max(3, len(text))}\n")
        elif kind == "code":
            parts.append("::\n\n" + "\n".join(f"  {word}" for word in words) + "\n")
        elif kind == "nav":
            parts.append(f".. {text}\n")
        else:
            parts.append(f"{'- ' * (kind == 'item')}{text}\n")
    return "\n".join(parts)


@settings(max_examples=120, deadline=None)
@given(documents(), st.sampled_from([(as_markdown, read_markdown), (as_html, read_html), (as_rst, read_rst)]))
def test_passages_hold_every_word_and_keep_to_their_size(drawn: Any, form: Any) -> None:
    blocks, size = drawn
    write, read = form
    found = sections("a.md", read(write(blocks)))
    made = passages_of(found, size, words_in, {})
    held = {word.strip(".") for one in made.by_id.values() for word in f"{one.title} {one.text}".split()}
    # Headings under which there is no text anywhere are counted instead.
    bare = [section for section in found if section.leaf and not section.blocks]
    empty = {word for section in bare for part in (section.title, *section.path) for word in part.split()}
    assert made.counts["headings with nothing below"] == len(bare)
    lost = {word.strip(".") for kind, _, words in blocks if kind != "nav" for word in words} - held
    assert lost <= empty or made.counts["titles shortened to leave room for the text"]
    assert not held & {word.strip(".") for kind, _, words in blocks if kind == "nav" for word in words}
    for one in made.by_id.values():
        assert len(f"{one.title} {one.text}".split()) <= size
        assert one.id.split() == [one.id]
    assert len({section.name for section in found}) == len(found)
    whole = [
        text for kind, _, words in blocks if kind == "code" and len(words) <= size // 2 for text in [" ".join(words)]
    ]
    texts = [" ".join(one.text.split()) for one in made.by_id.values()]
    assert all(any(code in text for text in texts) for code in whole)  # a block that fits is not cut


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=200), st.sampled_from(list(KINDS.values())))
def test_any_text_is_read_in_the_bounds(text: str, read: Any) -> None:
    found = sections("x y.md", read(text))
    for one in passages_of(found, 16, words_in, {}).by_id.values():
        assert one.text.strip() and words_in([f"{one.title} {one.text}"])[0] <= 16
        assert one.id.split() == [one.id] and len(one.id) <= 1000


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab. 東\n"), max_size=120), st.sampled_from(["text", "code"]), st.integers(1, 9))
def test_packing_cuts_only_where_it_must(text: str, kind: Any, room: int) -> None:
    texts = list(pack([Block(kind, text)] if text.strip() else [], room, words_in))
    assert "".join("".join(texts).split()) == "".join(text.split())
    assert all(words_in([one])[0] <= room for one in texts)


def test_passages_of_numbers_alone_are_counted(tmp_path: Path) -> None:
    found = sections("a.txt", read_text("1.5e-03 2.5\n\n3 4\n"))
    assert passages_of(found, 16, words_in, {}).counts == {"passages without a word (numbers, signs)": 1}


def test_a_word_larger_than_a_passage_is_cut_between_characters() -> None:
    letters = "x" * 50
    texts = list(pack([Block("code", letters)], 8, lambda texts: [len(text) for text in texts]))
    assert texts == ["x" * 8] * 6 + ["xx"]


# ---- ids -----------------------------------------------------------------------------------------


def names(document: str, *headings: Block) -> list[str]:
    blocks = [one for heading in headings for one in (heading, Block("text", heading.text))]
    return [section.name for section in sections(document, Document("T", blocks))]


def test_ids_are_of_path_and_heading() -> None:
    one, two = Block("heading", "What is C++?", 1), Block("heading", "Über uns", 2, "about us")
    assert names("a/b c#.md", one, two, one) == [
        "a/b%20c%23.md#what-is-c",
        "a/b%20c%23.md#about-us",
        "a/b%20c%23.md#what-is-c-2",
    ]
    assert names("a.md", Block("heading", "?", 1)) == ["a.md#section"]
    long = names("x/" * 400 + "a.md", one)[0]
    assert len(long) < 700 and long != names("x/" * 401 + "a.md", one)[0]


def test_a_further_document_changes_no_id(tmp_path: Path) -> None:
    docs = folder(tmp_path / "docs")
    write_documents(docs, tmp_path / "one")
    (docs / "a-new-one.md").write_text("# New\n\n## What is new here\n\nThis is.\n")
    write_documents(docs, tmp_path / "two")
    before, after = ({row["_id"]: row for row in rows(tmp_path / name)} for name in ("one", "two"))
    assert after.keys() - before.keys() == {"a-new-one.md#what-is-new-here"}
    assert all(after[key] == row for key, row in before.items())


# ---- a folder ------------------------------------------------------------------------------------


def folder(path: Path, count: int = 12) -> Path:
    for number in range(count):
        topic = f"topic{number}"
        text = f"# About {topic}\n\n"
        for part in ("begin", "end"):
            text += (
                f"## How does {topic} {part}\n\nThe {topic} {part}s at first very slowly. "
                + f"word{number}{part} " * 20
                + "\n\n"
            )
        file = path / f"part{number % 3}" / f"{topic}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def rows(data: Path, name: str = "corpus.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / name).read_text("utf-8").splitlines()]


def judged(data: Path) -> dict[str, list[tuple[str, str]]]:
    found = {}
    for path in sorted((data / "qrels").iterdir()):
        found[path.stem] = [tuple(line.split("\t")[:2]) for line in path.read_text().splitlines()[1:]]
    return found  # type: ignore[return-value]


def test_a_folder_becomes_a_collection(tmp_path: Path) -> None:
    written = write_documents(folder(tmp_path / "docs"), tmp_path / "data")
    assert written.lines() == [
        "12 documents, 24 passages; queries: 20 train, 2 dev, 2 test",
        "queries: 24 made of headings; none was asked by people",
    ]
    found = load_collection(tmp_path / "data", tmp_path / "cache")
    assert len(found.corpus) == 24 and {name: len(of) for name, of in found.qrels.items()} == written.queries
    assert found.notes == {"queries are made, not asked by people (heading)": 24}
    note = (tmp_path / "data" / "SOURCE.md").read_text()
    assert "`docs`" in note and "at most 200 words" in note and "24 made of headings" in note


def test_the_passages_of_a_query_do_not_hold_it(tmp_path: Path) -> None:
    docs = folder(tmp_path / "docs")
    for make in ("headings", "sentences"):
        write_documents(docs, tmp_path / make, FromFolder(make=make, size=30))  # type: ignore[arg-type]
        write_documents(docs, tmp_path / f"{make}-whole", FromFolder(make=make, size=30, whole=True))  # type: ignore[arg-type]
        queries = {row["_id"]: row for row in rows(tmp_path / make, "queries.jsonl")}
        for data, stands in ((make, False), (f"{make}-whole", True)):
            texts = {row["_id"]: f"{row['title']} {row['text']}" for row in rows(tmp_path / data)}
            pairs = [pair for part in judged(tmp_path / data).values() for pair in part]
            assert len(pairs) >= 24
            for query, passage in pairs:
                assert (queries[query]["text"] in texts[passage]) is stands
        whole = rows(tmp_path / f"{make}-whole", "queries.jsonl")
        assert [{**row, "in_passage": True} for row in rows(tmp_path / make, "queries.jsonl")] == whole
        lines = [" ".join(line.split()) for line in describe(load_collection(tmp_path / f"{make}-whole"))]
        assert "warning 24 queries stand in the passages that are relevant to them, so figures are too good" in lines
        assert {row["made"] for row in queries.values()} == {make.rstrip("s").replace("sentence", "first sentence")}


def test_documents_of_dev_and_test_are_not_trained_on_and_the_order_of_files_is_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = folder(tmp_path / "docs")
    write_documents(docs, tmp_path / "one")
    of = {
        split: {passage.partition("#")[0] for _, passage in pairs} for split, pairs in judged(tmp_path / "one").items()
    }
    assert of["train"] | of["dev"] | of["test"] == {row["_id"].partition("#")[0] for row in rows(tmp_path / "one")}
    assert not of["train"] & of["dev"] and not of["train"] & of["test"] and not of["dev"] & of["test"]
    walk = os.walk
    monkeypatch.setattr(
        os, "walk", lambda *given, **named: reversed([(a, b, c[::-1]) for a, b, c in walk(*given, **named)])
    )
    write_documents(docs, tmp_path / "two")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv", "qrels/dev.tsv", "qrels/test.tsv", "SOURCE.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    docs = folder(tmp_path / "docs", 3)
    (docs / "binary.txt").write_bytes(b"a\0b")
    (docs / "latin.txt").write_bytes("Schlüssel".encode("latin-1"))
    (docs / "declared.html").write_bytes('<meta charset="latin-1"><h1>Schlüssel</h1>für alle'.encode("latin-1"))
    (docs / "wide.txt").write_bytes("wide text".encode("utf-16"))
    (docs / "empty.md").write_text("  \n")
    (docs / "large.txt").write_bytes(b"x" * ((1 << 24) + 1))
    (docs / "deep.html").write_text("<div>" * 3000)
    (docs / "picture.PNG").write_bytes(b"\x89PNG")
    (docs / ".git").mkdir()
    (docs / ".git" / "hidden.md").write_text("# hidden")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("# Secret\n\ntext")
    (docs / "link.md").symlink_to(outside / "secret.md")
    (docs / "linked").symlink_to(outside)
    (docs / "copy.md").write_text((docs / "part0" / "topic0.md").read_text())
    os.mkfifo(docs / "pipe.txt")
    left_out = LeftOut()
    read = {name for name, _ in read_documents(docs, left_out)}
    assert read == {"copy.md", "declared.html", "part0/topic0.md", "part1/topic1.md", "part2/topic2.md", "wide.txt"}
    assert left_out == {
        "files: binary": 1,
        "files: not UTF-8": 1,
        "files: empty": 1,
        "files: larger than 16 MiB": 1,
        "files: elements lie in each other more than 2,000 deep": 1,
        "files of another kind: .png": 1,
        "hidden folders": 1,
        "symbolic links": 2,
        "special files (pipes, devices)": 1,
    }
    lines = write_documents(docs, tmp_path / "data", FromFolder(make="none")).lines()
    assert "left out: 2 passages with the text of an earlier one" in lines
    assert "Schlüssel" in (tmp_path / "data" / "corpus.jsonl").read_text("utf-8")


# ---- queries -------------------------------------------------------------------------------------


def asked(source: str, make: Any = "headings") -> list[str]:
    found = sections("guide.md", read_markdown(source))
    return [one.query for one in ask(found, make, common(found), LeftOut()).values()]


def test_which_headings_are_queries() -> None:
    text = "\n\nSome text.\n\n"
    assert asked(f"# Guide\n\n## How to copy a key{text}") == ["How to copy a key"]
    assert asked(f"# Guide\n\n## Keys{text}") == ["Guide: Keys"]
    assert asked(f"# Guide{text}") == []  # one word, and nothing above
    assert asked(f"# The guide of keys{text}") == ["The guide of keys"]
    assert asked(f"# Guide\n\n## 1.2. How to copy keys{text}") == ["How to copy keys"]
    assert asked(f"# Guide\n\n## y and x{text}") == ["Guide: y and x"]
    assert asked(f"# Guide\n\n## All about keys{text}### Their many parts{text}") == ["Their many parts"]  # a leaf
    both = f"# Guide\n\n## Old\n\n### What is a key{text}## New\n\n### What is a key{text}"
    assert asked(both) == ["Old: What is a key", "New: What is a key"]
    assert asked(f"# Guide\n\n## What is a key{text}## What is a key{text}") == []
    assert asked(f"# Guide\n\n## {'very ' * 40}long{text}") == []
    assert asked(f"# 案内\n\n## 鍵のコピー方法{text}") == ["鍵のコピー方法"]


def test_which_first_sentences_are_queries() -> None:
    rest = "It does so day and night. " * 4
    assert asked(f"# Guide\n\nA key opens a lock quickly. {rest}", "sentences") == ["A key opens a lock quickly."]
    assert asked("# Guide\n\nA key opens a lock quickly. Yes.", "sentences") == []  # too little is left
    assert asked(f"# Guide\n\n- A key opens a lock quickly. {rest}", "both") == []
    assert asked(f"# Guide\n\n## How to copy a key\n\nA key opens a lock quickly. {rest}", "both") == [
        "How to copy a key"
    ]


def test_too_few_documents_to_divide(tmp_path: Path) -> None:
    docs = folder(tmp_path / "docs", 2)
    with pytest.raises(UserError, match=r"queries for 2 documents.*at least 3 are needed.*--dev 0 --test 0"):
        write_documents(docs, tmp_path / "data")
    assert write_documents(docs, tmp_path / "data", FromFolder(dev=0, test=0)).queries == {"train": 4}


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 500), min_size=3, max_size=60), st.floats(0, 0.4), st.floats(0, 0.4))
def test_no_split_is_empty_and_each_document_is_in_one(numbers: set[int], dev: float, test: float) -> None:
    queries = [Query(f"q{number}-{part}", "x", "heading", (f"p{number}",)) for number in numbers for part in range(2)]
    parts = split(queries, {f"p{number}": f"d{number}" for number in numbers}, dev, test, LeftOut())
    assert set(parts) == {"train", *(["dev"] if dev else []), *(["test"] if test else [])}
    assert sorted(query.id for part in parts.values() for query in part) == sorted(query.id for query in queries)
    of = {split: {query.passages[0] for query in part} for split, part in parts.items()}
    assert sum(map(len, of.values())) == len(numbers)


def test_generated_queries(tmp_path: Path) -> None:
    docs = folder(tmp_path / "docs")
    write_documents(docs, tmp_path / "passages", FromFolder(make="none"))
    assert not (tmp_path / "passages" / "queries.jsonl").exists()
    ids = [row["_id"] for row in rows(tmp_path / "passages")]
    lines = [{"passage_id": key, "query": f"what of  {key}?"} for key in ids] + [
        {"passage_id": "nowhere", "query": "x"},
        {"passage_id": ids[0], "query": " ?"},
        {"passage_id": ids[1], "query": f"What of {ids[1]}"},  # the same words as before
        *({"passage_id": key, "query": "asked everywhere"} for key in ids),
    ]
    file = tmp_path / "generated.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    written = write_documents(docs, tmp_path / "data", FromFolder(make="none", queries=file))
    assert written.made == {"generated": 24} and sum(written.queries.values()) == 24
    assert written.left_out == {
        "generated queries for passages that there are not": 1,
        "generated queries without a word": 1,
        "queries for documents of several splits": 1,
    }
    assert (tmp_path / "data" / "corpus.jsonl").read_bytes() == (tmp_path / "passages" / "corpus.jsonl").read_bytes()
    texts = {row["_id"]: row["text"] for row in rows(tmp_path / "data", "queries.jsonl")}
    assert all(
        texts[query] == f"what of {passage}?" for part in judged(tmp_path / "data").values() for query, passage in part
    )
    keep = write_documents(
        docs, tmp_path / "kept", FromFolder(queries=file), keep=lambda passages, queries: queries[::2]
    )
    assert keep.left_out["queries whose passage was not found (round trip)"] == 24
    assert re.search(r"\d+ generated, \d+ made of headings; none was asked by people", "\n".join(keep.lines()))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('{"passage_id": "x", "query": "y"}', "holds no query for any of the 24 passages"),
        ('{"id": "x", "query": "y"}', "line 1 has no field 'passage_id'"),
        ('{"passage_id": "x"}', "line 1 has no field 'query'"),
        ('{"passage_id": "x", "query": 3}', "line 1: 'query' must be a string"),
        ("nonsense", "line 1 is not JSON"),
        ("", "holds no query for any"),
    ],
)
def test_bad_generated_queries(tmp_path: Path, content: str, sentence: str) -> None:
    (tmp_path / "q.jsonl").write_text(content)
    with pytest.raises(UserError, match=re.escape(sentence)):
        write_documents(folder(tmp_path / "docs"), tmp_path / "data", FromFolder(queries=tmp_path / "q.jsonl"))
    assert not (tmp_path / "data").exists()
