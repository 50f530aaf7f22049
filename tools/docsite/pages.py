"""Which pages the site has, where they lie in the repository, and how their links are rewritten."""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
# Pages that are not in docs/: name on the site, file of the repository.
ELSEWHERE = {
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
    "laboratory.md": "benchmarks/laboratory/README.md",
    "laboratory-table1.md": "benchmarks/laboratory/table1.md",
    "findings.md": "findings/README.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without making the Python objects that it names."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def config() -> dict[str, Any]:
    """Return mkdocs.yml."""
    loaded: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), _Loader)
    return loaded


def nav() -> dict[str, list[tuple[str, str]]]:
    """Return the sections of the site: for each its pages, as titles and names."""

    def leaves(entries: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for entry in entries:
            ((title, what),) = entry.items()
            if isinstance(what, str):
                yield title, what
            else:
                yield from leaves(what)

    found: dict[str, list[tuple[str, str]]] = {}
    for entry in config()["nav"]:
        ((title, what),) = entry.items()
        found[title] = [(title, what)] if isinstance(what, str) else list(leaves(what))
    return found


def sources() -> dict[str, Path]:
    """Return the written pages: name on the site, file."""
    inside = {path.name: path for path in sorted((ROOT / "docs").glob("*.md"))}
    dated = {f"results-{path.name}": path for path in sorted((ROOT / "benchmarks" / "results").glob("*.md"))}
    return inside | {name: ROOT / where for name, where in ELSEWHERE.items()} | dated


def relinked(text: str, file: Path, names: dict[Path, str], image: Callable[[Path], str]) -> str:
    """Return a page of the repository as a page of the site.

    Links to other pages become links of the site; of a link to a file that the site does not have the text stays.
    Nested lists are indented as Python-Markdown needs them.

    Args:
        text: The page.
        file: Where it lies.
        names: Of each file that is a page, the name on the site.
        image: Copies an image to the site, and returns its name there.
    """

    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if re.match(r"[a-z]+:|#", target):
            return found[0]
        path, hash_, anchor = target.partition("#")
        there = Path(posixpath.normpath(file.parent.joinpath(path).as_posix()))
        if there in names:
            return f"[{words}]({names[there]}{hash_}{anchor})"
        if picture and there.is_file():
            return f"![{words}]({image(there)}{hash_}{anchor})"
        return words if there.exists() else found[0]

    return "".join(
        part if part.startswith("```") else re.sub(r"(?m)^  ([-*] )", r"    \1", LINK.sub(link, part))
        for part in re.split(r"(?ms)(^```.*?^```$)", text)
    )


def described(text: str) -> tuple[str, str]:
    """Return title and first sentence of a page: what llms.txt says of it."""
    title, _, rest = text.partition("\n")
    rest = re.sub(r"(?ms)^```.*?^```$|^[#<|!].*?$", "", rest)
    first = next(part for part in re.split(r"\n\s*\n", rest) if part.strip())
    plain = re.sub(r"\*{1,2}(\S[^*]*)\*{1,2}", r"\1", LINK.sub(r"\2", " ".join(first.split())))
    return title.lstrip("# "), re.split(r"(?<=[.!?])\s", plain)[0].removesuffix(":").removesuffix(".") + "."


def index(link: Callable[[str], str], generated: dict[str, str]) -> str:
    """Return llms.txt: every page of the site with a line on it.

    Args:
        link: The address of a page by its name on the site; "" where there is none.
        generated: The text of the pages that are made at build time.
    """
    written = sources()
    home = described(written["index.md"].read_text("utf-8"))[1]
    lines = ["# ance-tele", "", f"> {home}"]
    for section, pages in nav().items():
        lines += ["", f"## {section}", ""]
        for _, name in pages:
            text = generated[name] if name in generated else written[name].read_text("utf-8")
            title, line = described(text)
            address = link(name)
            lines.append(f"- [{title}]({address}): {line}" if address else f"- {title} (on the site): {line}")
    return "\n".join(lines) + "\n"
