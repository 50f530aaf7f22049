"""Folders of pages of one kind: headings and titles that they share, redirects, lists of links, copies."""

import json
import re
import time
from pathlib import Path

import pytest

from ance_tele.console.display import Display
from ance_tele.console.errors import UserError
from ance_tele.data.documents.around import LONGEST_WORD, only_links, without_long_words, without_shared_ends
from ance_tele.data.documents.blocks import Block, Document
from ance_tele.data.documents.folder import Written, write_documents
from ance_tele.data.documents.how import FromFolder
from ance_tele.data.documents.html import read_html
from ance_tele.data.documents.left_out import LeftOut
from ance_tele.data.documents.markdown import read_markdown
from ance_tele.data.documents.packing import words_in
from ance_tele.data.documents.passages import passages_of
from ance_tele.data.documents.queries import SHARED, ask, common, made_queries
from ance_tele.data.documents.sections import Section, sections


def section(document: str, heading: str, text: str = "Some text.", title: str = "") -> Section:
    name = f"{document}#{heading}"
    return Section(document, name, title or document, (heading,), heading, True, (Block("text", text),))


def texts(data: Path, name: str) -> list[str]:
    return [json.loads(line)["text"] for line in (data / name).read_text("utf-8").splitlines()]


# ---- headings ------------------------------------------------------------------------------------


def test_a_heading_is_common_from_five_documents_and_more_than_a_hundredth_on() -> None:
    def shared_by(sharing: int, documents: int) -> dict[str, int]:
        return common([section(f"{n}.md", "See also" if n < sharing else f"Own {n}") for n in range(documents)])

    assert shared_by(4, 20) == {} and shared_by(5, 20) == {"see also": 5}
    assert shared_by(5, 500) == {} and shared_by(6, 500) == {"see also": 6}
    again = [section("a.md", "See also")] * 9
    assert common(again) == {}  # of one document


def test_a_common_heading_is_no_query_in_whatever_case_and_not_behind_the_one_above_it() -> None:
    found = [section(f"{n}.md", heading) for n, heading in enumerate(("SEE ALSO", "See also", "3. See Also:") * 2)]
    found += [section(f"{n}.md", f"How to mend part {n}") for n in range(6)]
    left_out = LeftOut()
    assert [one.query for one in ask(found, "headings", common(found), left_out).values()] == [
        f"How to mend part {n}" for n in range(6)
    ]
    assert left_out == {SHARED: 6}


def pages(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for n in range(count):
        body = f"# tool{n}\n\n## Exit status\n\nIt is {n} at most.\n\n## How tool{n} is called\n\nBy its name, {n}.\n"
        (folder / f"{n}.md").write_text(body)
    return folder


def test_the_commonest_headings_are_named_where_they_are_counted(tmp_path: Path) -> None:
    written = write_documents(pages(tmp_path / "docs"), tmp_path / "data")
    note = (tmp_path / "data" / "SOURCE.md").read_text("utf-8").splitlines()
    assert written.lines()[2:] == [
        "left out: 6 headings that at least 5 documents, and more than 1% of all, share",
        "most shared headings, by documents: exit status (6)",
    ]
    assert [f"- {line}" for line in written.lines()] == note[-4:]
    assert sorted(texts(tmp_path / "data", "queries.jsonl")) == [f"How tool{n} is called" for n in range(6)]


def test_a_section_that_another_document_has_kept_makes_no_query() -> None:
    text = "The same text of twelve words or more, in each of the two documents."
    found = [section("a.md", "What to read next", text), section("b.md", "Where to read more", text)]
    left_out = LeftOut()
    asked = ask(found, "headings", common(found), left_out)
    hidden = {name: one.section for name, one in asked.items()}
    queries = made_queries(asked, passages_of(found, 50, words_in, hidden), left_out)
    assert [(query.text, query.passages) for query in queries] == [("What to read next", ("a.md#What to read next",))]
    assert left_out == {"headings with the text of an earlier document": 1}


# ---- counts --------------------------------------------------------------------------------------


def test_counts_are_in_the_singular_for_one_and_name_three_files() -> None:
    counts = {"files: empty": 5, "symbolic links": 1, "queries for documents of several splits": 1}
    examples = {"files: empty": ["a", "b", "c"], "symbolic links": ["x"]}
    assert Written(1, 1, {"train": 2}, {}, counts, examples).lines() == [
        "1 document, 1 passage; queries: 2 train",
        "left out: 5 files: empty (a, b, c, ...)",
        "left out: 1 query for documents of several splits",
        "left out: 1 symbolic link (x)",
    ]


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    docs = pages(tmp_path / "docs")
    (docs / "sub").mkdir()
    for n in range(5):
        (docs / "sub" / f"e{n}.md").write_text("\n")
    (docs / "nul.txt").write_bytes(b"a\0")
    (docs / "link.md").symlink_to(docs / "1.md")
    lines = write_documents(docs, tmp_path / "data", FromFolder(make="none")).lines()
    assert lines[1:] == [
        "left out: 1 file: binary (nul.txt)",
        "left out: 5 files: empty (sub/e0.md, sub/e1.md, sub/e2.md, ...)",
        "left out: 1 symbolic link (link.md)",
    ]


# ---- titles --------------------------------------------------------------------------------------


def titles(read: dict[str, str]) -> list[str]:
    cut = without_shared_ends([(name, Document(title, [])) for name, title in read.items()])
    return [document.title for _, document in cut]


def test_the_name_of_the_site_is_cut_from_titles() -> None:
    book = {f"book/part{n % 2}/{n}.html": f"Page {n} - of it | The Book" for n in range(5)}
    others = {f"book/{n}.html": f"Chapter {n}" for n in range(10)}
    assert titles(book | others) == [f"Page {n} - of it" for n in range(5)] + [f"Chapter {n}" for n in range(10)]
    assert titles(book | others | {"book/last.html": "Last"})[0] == "Page 0 - of it | The Book"  # 5 of 16: no third
    elsewhere = {f"{n}.html": f"Page {n}" for n in range(90)}
    assert titles(book | elsewhere)[0] == "Page 0 - of it"  # those of other folders do not count
    assert titles({f"{n}.html": f"Page {n} - The Book" for n in range(4)})[0] == "Page 0 - The Book"


def test_a_title_that_begins_with_the_first_heading_is_not_repeated() -> None:
    page = "<title>Keys - The Book</title><main><h2>Keys</h2>Text<h3>Lost keys</h3>Ask.</main>"
    found = sections("keys.html", read_html(page))
    assert [(one.title, one.path) for one in found] == [("Keys", ()), ("Keys", ("Lost keys",))]
    other = sections("keys.html", read_html(page.replace("Keys - ", "Keysmith - ")))
    assert [(one.title, one.path[0]) for one in other] == [("Keysmith - The Book", "Keys")] * 2


# ---- what is no passage --------------------------------------------------------------------------


def test_a_page_that_only_redirects_is_left_out() -> None:
    to = '<meta http-equiv="Refresh" content="0; URL=new.html"><body><p>Redirecting to <a href=new.html>new</a>'
    with pytest.raises(UserError, match="only a redirect"):
        read_html(to)
    assert read_html(to + " word" * 40).blocks  # a page of its own
    assert read_html(to.replace("0; URL=new.html", "30")).blocks  # it loads itself again


def test_a_section_of_links_within_the_site_is_known() -> None:
    source = (
        "# Keys\n\n## Contents\n\n- [Locks](locks.md), [doors](#doors)\n- [*Old* keys](../old.md)\n\n"
        "## See\n\n- [The shop](https://example.org)\n\n## Also\n\n- [Locks](locks.md) of today\n\n"
        "## Code\n\n```\n[Locks](locks.md)\n```\n\n## None\n"
    )
    found = sections("keys.md", read_markdown(source))
    assert [one.heading for one in found if only_links(one)] == ["Contents"]


def test_sections_of_links_and_redirects_are_counted(tmp_path: Path) -> None:
    docs = pages(tmp_path / "docs")
    (docs / "index.md").write_text("# Where to find which tool\n\n- [tool 0](0.md)\n- [tool 1](1.md)\n")
    (docs / "old.html").write_text('<meta http-equiv=refresh content="0;url=0.md">Moved.')
    lines = write_documents(docs, tmp_path / "data").lines()
    assert "left out: 1 section of nothing but links within the site (index.md#where-to-find-which-tool)" in lines
    assert "left out: 1 file: only a redirect (old.html)" in lines
    assert not [one for one in texts(tmp_path / "data", "corpus.jsonl") if "Moved" in one or "tool 0" in one]
    assert "Where to find which tool" not in texts(tmp_path / "data", "queries.jsonl")


def test_a_word_is_cut_where_it_is_too_long_unless_it_is_a_text_without_spaces() -> None:
    left_out = LeftOut()
    blocks = [Block("code", f"data: {'x' * 3_000} end"), Block("text", "x" * LONGEST_WORD), Block("text", "字" * 3_000)]
    read = without_long_words(Document("T", blocks), left_out, "a.md")
    assert [block.text for block in read.blocks] == [f"data: {'x' * 2_000} end", "x" * 2_000, "字" * 3_000]
    assert left_out == {"ends of words longer than 2,000 characters": 1}


# ---- progress ------------------------------------------------------------------------------------


def test_cutting_shows_how_far_it_is_and_a_log_gets_lines(tmp_path: Path) -> None:
    def slowly(given: list[str]) -> list[int]:
        time.sleep(0.005)
        return words_in(given)

    lines: list[str] = []
    with Display(lines.append, silence=0.05, terminal=False).shown():
        write_documents(pages(tmp_path / "docs"), tmp_path / "data", sizes=slowly)
    said = [line for line in lines if line.startswith("cutting passages ")]
    assert said and re.match(r"cutting passages \d+ of \d+ characters", said[0])
