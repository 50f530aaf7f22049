"""Which engine an address names."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ance_tele.console.errors import UserError
from ance_tele.export.files import Files
from ance_tele.export.lance import Lance
from ance_tele.export.milvus import Milvus
from ance_tele.export.postgres import Postgres
from ance_tele.export.qdrant import Qdrant
from ance_tele.export.target import Engine, asking, without_password

Opening = Callable[[str, str], Engine]
"""Opens an address for a table of this name."""

ENGINES: dict[str, Opening] = {
    "qdrant": Qdrant,
    "qdrant+https": Qdrant,
    "postgresql": Postgres,
    "postgres": Postgres,
    "lancedb": Lance,
    "milvus": Milvus,
}
SERVERS = ("qdrant", "qdrant+https", "postgresql", "postgres")

# Names that all engines take as they are.
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,47}")


def engine_of(to: str) -> tuple[Opening, str]:
    """Return what opens the engine that an address names, and the address without its password, for messages.

    Raises:
        UserError: There is no such engine, or the address names no place.

    Example:
        >>> engine_of("postgresql://me:secret@db/texts")[1], engine_of("vectors")[0] is Files
        ('postgresql://me@db/texts', True)
    """
    scheme, colon, place = to.partition(":")
    if colon and scheme in ENGINES:
        server = place.startswith("//")
        if not place.strip("/") or (server and scheme not in (*SERVERS, "lancedb")):
            raise UserError(f"{to} names no place; such as {_FORMS}.")
        if not server and scheme in SERVERS and scheme != "qdrant":
            raise UserError(f"{to} is no address of a server; such as {_FORMS}.")
        return ENGINES[scheme], without_password(to) if server else to
    if "://" in to:
        raise UserError(f"{without_password(to)} is no engine that vectors can be exported to; --to takes {_FORMS}.")
    return Files, to


def kept_in(to: str) -> str:
    """Return the path, or the URL of the server, at which an address keeps its tables.

    >>> kept_in("lancedb:vectors"), kept_in("vectors"), kept_in("qdrant://db:6333")
    ('vectors', 'vectors', 'qdrant://db:6333')
    """
    scheme, colon, place = to.partition(":")
    return place if colon and scheme in ENGINES and not place.startswith("//") else to


_FORMS = (
    "a folder, qdrant://HOST:6333, qdrant+https://HOST, qdrant:FOLDER, postgresql://USER@HOST/DATABASE, "
    "lancedb:FOLDER, milvus:FILE.db"
)


@contextmanager
def opened(to: str, table: str) -> Iterator[Engine]:
    """Open an engine at an address, for a table of this name, and close it at the end; its errors become sentences.

    Raises:
        UserError: There is no such engine, it cannot be reached, its package is missing, or the block failed.
    """
    start, place = engine_of(to)
    if not _TABLE.fullmatch(table):
        raise UserError(
            f"The table '{table}' is not a name that all engines take: up to 48 letters of English, digits and _, with "
            "no digit first; give another --table."
        )
    with asking(place):
        engine = start(to, table)
        try:
            yield engine
        finally:
            engine.close()
