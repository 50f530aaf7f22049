"""`ance-tele data from-folder` and `data from-csv`: collections of what is none yet."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ance_tele.cli.common import echo
from ance_tele.cli.flags import Flag, Given, Result
from ance_tele.console.errors import UserError
from ance_tele.console.garbage import importing
from ance_tele.data.documents.how import FromFolder, Make
from ance_tele.paper.settings import start_of

if TYPE_CHECKING:
    from ance_tele.data.documents.folder import Filter
    from ance_tele.data.documents.packing import Sizes
    from ance_tele.data.documents.passages import Passages
    from ance_tele.data.documents.queries import Query
    from ance_tele.data.formats.pairs import Pairs

_FOLDER, _CSV, _BOTH = "data from-folder", "data from-csv", "data from-folder and from-csv"

_Depth = Annotated[int | None, (1, 1 << 20)]

FLAGS = (
    Flag("--out", "the folder to write", heading=_BOTH),
    Flag("--dev", "share of documents, or of the queries of a table, for dev: 0.1", float | None, heading=_BOTH),
    Flag("--test", "the same for test: 0.1", float | None, heading=_BOTH),
    Flag("--size", "words (of --model: tokens) of a passage at most, title included: 200", int | None, heading=_FOLDER),
    Flag("--make", "make queries of headings (by default), first sentences, both, none", Make | None, heading=_FOLDER),
    Flag("--queries", "generated queries: JSON lines of passage_id and query", heading=_FOLDER),
    Flag("--round_trip", "keep queries that find their passage among so many", _Depth, heading=_FOLDER),
    Flag(
        "--whole",
        "leave in passages what was made a query: to search in, not to measure on",
        bool,
        False,
        heading=_FOLDER,
    ),
    Flag("--query", "column of the query", heading=_CSV),
    Flag("--passage", "column of the passage", heading=_CSV),
    Flag("--title", "column of its title", heading=_CSV),
    Flag("--score", "column of a number that says how relevant it is", heading=_CSV),
    Flag("--relevant_from", "relevant is a score of at least: 1", float | None, heading=_CSV),
    Flag("--query_id", "column of the query's id", heading=_CSV),
    Flag("--passage_id", "column of the passage's id", heading=_CSV),
    Flag("--delimiter", "what separates the columns: , (tab in .tsv)", heading=_CSV),
)
_OF_FOLDER = ("size", "make", "queries", "round_trip", "whole")
_OF_CSV = ("query", "passage", "title", "score", "relevant_from", "query_id", "passage_id", "delimiter")
_OF_BOTH = ("out", "dev", "test")
_OF_CONVERT = ("target", "episode")
KINDS = {
    "from-folder": (*_OF_FOLDER, *_OF_BOTH, "model"),
    "from-csv": (*_OF_CSV, *_OF_BOTH, "lenient"),
    "convert": (*_OF_CONVERT, "lenient"),
    "": ("model", "lenient"),
}


def check_flags(given: Given) -> None:
    """Refuse flags that belong to another kind of `data`.

    Raises:
        UserError: There is one, or the kind is misspelt.
    """
    meant = next((name for name in KINDS if name and _letters(name) == _letters(given.data)), "")
    if meant and meant != given.data and not Path(given.data).exists():
        raise UserError(f"There is no data {given.data}; did you mean data {meant}?")
    kind = given.data if given.data in KINDS else ""
    for name in (*_OF_FOLDER, *_OF_CSV, *_OF_BOTH, *_OF_CONVERT, "model", "lenient"):
        if getattr(given, name) not in (None, False) and name not in KINDS[kind] and (kind or name not in _OF_CONVERT):
            of = " and ".join(
                f"data {other}" if other else "data DATA" for other, names in KINDS.items() if name in names
            )
            what = repr(getattr(given, name)) if name in ("target", "source") else f"--{name}"
            raise UserError(f"{what} belongs to {of}, not to data {kind or 'DATA'}; leave it out.")


def _letters(name: str) -> str:
    return "".join(filter(str.isalpha, name.casefold()))


def _given(given: Given, *names: str) -> dict[str, Any]:
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _places(given: Given, what: str) -> tuple[Path, Path]:
    if not given.source or not given.out:
        raise UserError(f"data {given.data} takes {what} and where to write: data {given.data} {what} --out DATA.")
    return Path(given.source), Path(given.out)


def check_raw(given: Given) -> None:
    """Refuse what `data from-folder` and `data from-csv` refuse before they read all of it.

    Raises:
        UserError: A place, a flag or a column is wrong.
    """
    if given.data == "from-csv":
        from ance_tele.data.formats.pairs import check_table
        from ance_tele.data.formats.write import check_free

        path, out, table = _table(given)
        check_table(path, table)
        check_free(out)
        return
    from ance_tele.data.documents.folder import check_places

    docs, out, _ = _folder(given)
    check_places(docs, out)


def _folder(given: Given) -> tuple[Path, Path, FromFolder]:
    """Return the folder of documents, where to write, and how."""
    docs, out = _places(given, "DOCS")
    if given.round_trip and given.make == "none" and not given.queries:
        raise UserError("--round_trip needs queries: pass --queries FILE, or another --make than none.")
    generated = {"queries": Path(given.queries), "make": given.make or "none"} if given.queries else {}
    how = FromFolder(**{**_given(given, "size", "make", "dev", "test"), **generated}, whole=given.whole)
    how.check()
    return docs, out, how


def from_folder(given: Given) -> Result:
    """Make a collection of a folder of documents."""
    from ance_tele.data.documents.folder import write_documents
    from ance_tele.data.documents.packing import words_in

    docs, out, how = _folder(given)
    sizes, unit, how = _in_tokens(given.model, how, given.size) if given.model else (words_in, "words", how)
    written = write_documents(docs, out, how, sizes, unit, _round_trip(given.round_trip, given.model))
    echo(f"{out}: {written.lines()[0]}")
    for line in written.lines()[1:]:
        echo(line)
    if not written.queries:
        echo(f"Generate queries for {out / 'corpus.jsonl'} and pass them, with the same words, as --queries FILE.")
    return {"written": out, **vars(written)}


def _in_tokens(model: str, how: FromFolder, size: int | None) -> "tuple[Sizes, str, FromFolder]":
    """Return what counts the tokens of a model, what they are called, and a size that the model does not cut."""
    with importing():  # loads torch
        from ance_tele.encode.passage_sizes import passage_sizes

    sizes, longest = passage_sizes(start_of(model))
    if how.size > longest and size is not None:
        raise UserError(f"size is {size}, but {model} reads {longest} tokens of a passage; make it at most that.")
    return sizes, f"tokens of {Path(model).name}", replace(how, size=min(how.size, longest))


def _round_trip(k: int | None, model: str | None) -> "Filter | None":
    """Return what keeps the queries that find one of their passages among the first k."""
    if k is None:
        return None

    def keep(passages: "Passages", queries: "list[Query]") -> "list[Query]":
        with importing():  # loads torch
            from ance_tele.evaluate.round_trip import found_again

        texts = {one.id: (one.title, one.text) for one in passages.by_id.values()}
        kept = found_again(texts, [(one.text, one.passages) for one in queries], k, model and start_of(model))
        return [query for query, keeps in zip(queries, kept.tolist(), strict=True) if keeps]

    return keep


def _table(given: Given) -> "tuple[Path, Path, Pairs]":
    """Return the table, where to write, and which columns hold what."""
    from ance_tele.data.formats.pairs import Pairs

    path, out = _places(given, "FILE")
    if not given.query or not given.passage:
        raise UserError(f"--query and --passage are needed: the columns of {path.name} that hold query and passage.")
    if given.relevant_from is not None and not given.score:
        raise UserError("--relevant_from needs --score, the column of the numbers that it goes by.")
    how = Pairs(given.query, given.passage, **_given(given, *(name for name in (*_OF_CSV[2:], "dev", "test"))))
    return path, out, how


def from_csv(given: Given) -> Result:
    """Make a collection of a table of pairs."""
    from ance_tele.data.formats.pairs import write_pairs

    path, out, how = _table(given)
    lines = list(write_pairs(path, out, how, not given.lenient))
    echo(str(out))
    for line in lines:
        echo(line)
    return {"written": out, "lines": lines}
