"""The documents keep up with the code: names, commands, snippets, links, quoted sentences, figures."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from subprocess import CalledProcessError

import pytest
import yaml
from docsite import build
from docsite.pages import config, described, nav, relinked, sources
from docsite.picture import write
from docsite.reference import command_line, every_sentence, generated, python, settings

import ance_tele
from ance_tele.cli.convert import KINDS
from ance_tele.cli.flags import parse
from ance_tele.cli.verbs import VERBS
from ance_tele.console.errors import UserError
from ance_tele.data.load import NAMED, READERS
from ance_tele.experiments.reproduce import TABLES
from ance_tele.experiments.rows import figures
from ance_tele.paper.published import CHECKPOINTS
from ance_tele.paper.settings import STARTS
from ance_tele.recipes import RECIPES
from ance_tele.settings import setting_kinds

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
README, SKILL = ((ROOT / name).read_text("utf-8") for name in ("README.md", "SKILL.md"))
# What was not written to be carried out word by word, and what its commands stand for.
WITHOUT_COMMANDS = {"docs/decisions.md"}
WRITTEN = {"README.md": README, "SKILL.md": SKILL, **PAGES}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"(?m)^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


COMMANDS = [
    (page, re.split(r" (?:2?>|\|) ", line)[0].strip())  # without what the shell does with the output
    for page, text in WRITTEN.items()
    for block in blocks(text, "(?:sh|bash)")
    for line in block.replace("\\\n", " ").splitlines()
    if "ance-tele " in line and not line.startswith("#") and page not in WITHOUT_COMMANDS
]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_documented(name: str) -> None:
    assert f"`{name}`" in PAGES["docs/recipes.md"]


@pytest.mark.parametrize("name", ["table1", *TABLES])
def test_every_table_is_documented(name: str) -> None:
    assert f"| `{name}` |" in PAGES["docs/experiments.md"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_stands_in_the_readme(verb: str) -> None:
    assert f"ance-tele {verb}" in README or f"make {verb}" in README


def test_every_format_is_documented() -> None:
    for name in (*READERS, *KINDS):
        assert f"| `{name}` |" in PAGES["docs/formats.md"], name
    for name in NAMED:
        assert f"| `{name}:" in PAGES["docs/formats.md"], name


def test_every_published_checkpoint_has_its_command() -> None:
    experiments = PAGES["docs/experiments.md"]
    for checkpoint in CHECKPOINTS:
        assert checkpoint.query in experiments and checkpoint.passage in experiments
    for start in STARTS:
        assert start == "bert-base-uncased" or start in experiments


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 120 and README.index("idea-light.svg") < 500


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda value: value[:60])
def test_commands_are_understood(page: str, line: str) -> None:
    words = [word for word in shlex.split(line, comments=True) if word not in ("...", "…")]
    at = next(i for i, word in enumerate(words) if word.rpartition("/")[2] == "ance-tele" and word != "--data")
    verb, *rest = words[at + 1 :]
    try:
        given = parse(verb, VERBS[verb], rest)
    except UserError as error:
        assert "..." in line and "are required" in str(error), f"{page}: {error}"
    else:
        assert set(given.settings) <= {flag.key for flag in VERBS[verb].flags if flag.setting}, page


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 100 and {page for page, _ in COMMANDS} >= {"README.md", "SKILL.md", "docs/tutorial.md"}
    assert {line.split("ance-tele ")[1].split()[0] for _, line in COMMANDS} >= set(VERBS) - {
        "recipes",
        "demo",
        "completion",
    }


@pytest.mark.parametrize("page", [page for page, text in WRITTEN.items() if "```python" in text])
def test_snippets_name_what_there_is(page: str) -> None:
    for code in blocks(WRITTEN[page], "python"):
        compile(code, page, "exec")
    for name in re.findall(r"(?:\bat|ance_tele)\.([A-Za-z]\w+)\b(?=[(`])", WRITTEN[page]):
        assert name in ance_tele.__all__ or find_spec(f"ance_tele.{name}"), f"{page}: at.{name}"


@pytest.mark.parametrize("page", sorted(set(PAGES) - {"docs/decisions.md"}))
def test_code_fits_the_column_of_the_site(page: str) -> None:
    for block in blocks(PAGES[page], "(?:sh|bash|python)"):
        for line in block.splitlines():
            assert len(line) <= 98, line


def test_what_the_documents_link_to_is_there() -> None:
    files = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "llms.txt", *(ROOT / "benchmarks").rglob("*.md")]
    for page in (*files, *(ROOT / "docs").glob("*.md"), ROOT / "findings" / "README.md"):
        for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(#[^)]+)?\)", page.read_text("utf-8")):
            there = page.parent / target if target else page
            if "only" not in anchor:
                assert there.exists() or there.name in generated(), f"{page.name} links to {target}"
            if anchor and there.suffix == ".md" and there.exists():
                headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", there.read_text("utf-8")))
                assert anchor[1:] in {slug(heading) for heading in headings}, f"{page.name} links to {target}{anchor}"


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_paths_to_documents_in_the_code_are_there() -> None:
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        for name in re.findall(r"\bdocs/([\w-]+\.md)\b", path.read_text("utf-8")):
            if path.name not in ("folder.py", Path(__file__).name) and name != "datasets.md":
                assert f"docs/{name}" in PAGES, f"{path.name} names docs/{name}"


def test_quoted_sentences_are_the_packages_own() -> None:
    def plain(text: str) -> str:
        return re.sub(r"…\W*(?=…)", "", text.replace("\\", ""))

    source = "\n".join(" ".join(text) for text in every_sentence().values())
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py"))
    rows = re.findall(r"(?m)^\| (.+?) \| .+ \| .+ \|$", PAGES["docs/troubleshooting.md"])
    quoted = [row for row in rows if row not in ("message", "---")]
    assert len(quoted) > 45
    for sentence in quoted:
        parts = [part.strip(" '(){}.,:;") for part in plain(sentence).split("…")]
        for part in filter(None, parts):
            assert part in source or part in code, f"{sentence}: {part}"


def plain_cells(line: str) -> list[str]:
    """Return the cells of a table's line without letters of significance and bold type."""
    return [re.sub(r"<sup>.*?</sup>|\*", "", cell).strip() for cell in line.split("|")]


def test_the_results_are_those_of_the_laboratory_and_the_paper() -> None:
    laboratory = (
        (ROOT / "benchmarks" / "laboratory" / "README.md").read_text("utf-8").partition("from minilm-0, three seeds")[0]
    )
    facts = yaml.safe_load((ROOT / "src" / "ance_tele" / "paper" / "facts.yaml").read_text("utf-8"))
    published = facts["table3"]["bert-base"]
    rows = re.findall(r"(?m)^\| `(.+?)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", PAGES["docs/results.md"])
    assert {name for name, *_ in rows} == set(published)
    for name, *ours, first, second in rows:
        assert [float(first), float(second)] == published[name]
        (line,) = re.findall(rf"(?m)^\| \w \| {re.escape(name)} \|(.*)$", laboratory)
        cells = plain_cells(line)
        assert cells[2:4] == ours


def test_the_short_table_1_is_that_of_the_laboratory_and_the_paper() -> None:
    whole = (ROOT / "benchmarks" / "laboratory" / "table1.md").read_text("utf-8")
    rows = re.findall(
        r"(?m)^\| (\S+) \| (bert|condenser|cocondenser|dpr) \| (.+?) \| (.+?) \| ([\d.]+) \|$", PAGES["docs/results.md"]
    )
    assert len(rows) == 8
    for name, start, *ours, marco in rows:
        assert round(100 * figures(name)["MARCO MRR@10"], 1) == float(marco)
        (line,) = re.findall(rf"(?m)^\| \w \| {name} \| {start} \|(.*)$", whole)
        cells = plain_cells(line)
        assert [cells[0], cells[2], cells[5]] == [*ours, marco]


def test_the_index_is_current() -> None:
    assert (ROOT / "llms.txt").read_text("utf-8") == build.committed_index(), "make docs writes it"


def test_the_picture_is_current(tmp_path: Path) -> None:
    for path in write(tmp_path):
        assert len(path.read_bytes()) > 10_000 and (ROOT / "docs" / "images" / path.name).is_file()
        assert "<text" not in path.read_text() and "http://www.w3.org/1999/xlink" in path.read_text()


def test_generated_pages_hold_every_flag_setting_and_name() -> None:
    line, values, names = command_line(), settings(), python()
    for name, verb in VERBS.items():
        part = line.partition(f"## ance-tele {name}\n")[2].partition("\n## ")[0]
        assert all(f"`{flag.name}`" in part for flag in verb.flags), name
    assert all(f"| `{name}` |" in values for name in setting_kinds())
    assert all(f"### at.{name}\n" in names for name in ance_tele.__all__ if name != "__version__")


def test_every_page_has_its_place() -> None:
    placed = [name for pages in nav().values() for _, name in pages]
    assert len(placed) == len(set(placed))
    assert set(placed) == {name for name in sources() if not name.startswith("results-")} | set(generated())
    assert config()["theme"]["font"] is False


def test_links_are_those_of_the_site(tmp_path: Path) -> None:
    page, other, source = tmp_path / "docs" / "a.md", tmp_path / "b" / "README.md", tmp_path / "src" / "x.py"
    for path in (page, other, source):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    text = (
        "[t](../b/README.md#x) [`x.py`](../src/x.py) [u](https://a.b) [w](gone.md)\n"
        "```sh\n[k](../src/x.py)\n```\n- a\n  - b\n"
    )
    made = relinked(text, page, {other: "b.md"}, str)
    assert made == "[t](b.md#x) `x.py` [u](https://a.b) [w](gone.md)\n```sh\n[k](../src/x.py)\n```\n- a\n    - b\n"
    assert described("# T\n\n![p](p.svg)\n\n*One* [two](b.md): `three`. Four.\n") == ("T", "One two: `three`.")


@pytest.mark.skipif(find_spec("zensical") is None, reason="pip install 'ance-tele[docs]'")
def test_the_site_is_built_strictly(tmp_path: Path) -> None:
    pages = build.stage(tmp_path / "site")
    build.build(tmp_path / "site")
    made = tmp_path / "site" / "site"
    assert {name.replace(".md", ".html") for name in pages} < {path.name for path in made.glob("*.html")}
    assert "unpkg.com" not in (made / "index.html").read_text() and (made / "iframe-worker.js").is_file()
    assert '<td class="short" style="text-align: right;">' in (made / "results.html").read_text()
    assert '<td class="long">' in (made / "troubleshooting.html").read_text()
    broken = tmp_path / "site" / "docs" / "index.md"
    broken.write_text(broken.read_text() + "\n[nowhere](nowhere.md)\n")
    with pytest.raises(CalledProcessError):
        build.build(tmp_path / "site")
