"""Put the pages together and build the site: ``python -m docsite.build [FOLDER]``, by default build/docsite."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from docsite.pages import ROOT, index, relinked, sources
from docsite.reference import generated


def stage(out: Path) -> dict[str, str]:
    """Write mkdocs.yml and all pages into a folder, from which the site is built; return the pages by name."""
    shutil.rmtree(out, ignore_errors=True)
    folder = out / "docs"
    (folder / "images").mkdir(parents=True)
    shutil.copy(ROOT / "mkdocs.yml", out)
    for beside in (ROOT / "docs" / "site.css", Path(__file__).with_name("iframe-worker.js")):
        shutil.copy(beside, folder)
    files = sources()
    names = {path: name for name, path in files.items()}

    def image(path: Path) -> str:
        shutil.copy(path, folder / "images" / path.name)
        return f"images/{path.name}"

    made = generated()
    pages = {name: relinked(path.read_text("utf-8"), path, names, image) for name, path in files.items()} | made
    for name, text in pages.items():
        (folder / name).write_text(text, "utf-8")
    (folder / "llms.txt").write_text(index(lambda name: name.replace(".md", ".html"), made), "utf-8")
    return pages


def committed_index() -> str:
    """Return llms.txt as it lies in the repository: with links to the files of written pages."""
    files = sources()
    return index(lambda name: files[name].relative_to(ROOT).as_posix() if name in files else "", generated())


def build(out: Path) -> None:
    """Build the site of a staged folder into its folder site, strictly.

    Zensical takes the script by which search works from file:// from a server; here it lies in the site. Cells of
    tables and short pieces of code get classes by their length, for docs/site.css.

    Raises:
        CalledProcessError: A link leads nowhere, or another warning; Zensical has printed it.
    """
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=out, check=True)
    for page in (out / "site").rglob("*.html"):
        text = page.read_text("utf-8").replace("https://unpkg.com/iframe-worker/shim", "iframe-worker.js")
        page.write_text(CODE.sub(r'<code class="short">\1</code>', CELL.sub(_sized, text)), "utf-8")


CODE = re.compile(r"<code>([^<]{1,28})</code>")
CELL = re.compile(r"<td(?P<style>[^>]*)>(?P<content>.*?)</td>", re.DOTALL)


def _sized(cell: re.Match[str]) -> str:
    """Return a cell of a table with a class by the length of its text, which docs/site.css gives a width."""
    length = len(re.sub(r"<sup>.*?</sup>|<[^>]*>", "", cell["content"]).strip())
    size = "short" if length <= 18 else "medium" if length <= 60 else "long"
    return f'<td class="{size}"{cell["style"]}>{cell["content"]}</td>'


def main(words: list[str]) -> int:
    """Build the site strictly: a link that leads nowhere is an error."""
    out = Path(words[0] if words else ROOT / "build" / "docsite")
    pages = stage(out)
    (ROOT / "llms.txt").write_text(committed_index(), "utf-8")
    try:
        build(out)
    except subprocess.CalledProcessError as error:
        return error.returncode
    words_of = sum(len(text.split()) for text in pages.values())
    print(f"{len(pages)} pages, {words_of:,} words: {out / 'site' / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
