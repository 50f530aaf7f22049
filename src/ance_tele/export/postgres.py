"""PostgreSQL with the extension pgvector."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ance_tele.console.errors import UserError
from ance_tele.export.target import Batch, Description, described, package, padded, without_password

# Most dimensions of a column of type vector, of an index on it, and of one on half-precision copies.
COLUMN, INDEX, HALF_INDEX = 16_000, 2_000, 4_000

# Candidates that a search by the index keeps; pgvector's default is 40.
EF_SEARCH = 100

TYPES = {"row": "int8", "id": "text", "title": "text", "text": "text", "embedding": "vector"}


class Postgres:
    """A table with row (primary key), id, title, text and embedding; its comment is the description.

    The address is that of libpq: ``postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE``; the password is better left
    to $PGPASSWORD or ~/.pgpass.
    """

    batch = 4096

    def __init__(self, place: str, table: str) -> None:
        psycopg = package("psycopg", "pgvector")
        self.adapters = package("pgvector.psycopg", "pgvector")
        self.place, self.table = place, table
        self.connection = psycopg.connect(place, autocommit=True, connect_timeout=10)
        self.connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self.adapters.register_vector(self.connection)

    def found(self) -> Mapping[str, Any] | None:
        """Return what the comment of the table says."""
        name = self.connection.execute("SELECT to_regclass(%s)::oid", [f'"{self.table}"']).fetchone()[0]
        if name is None:
            return None
        return described(self.connection.execute("SELECT obj_description(%s, 'pg_class')", [name]).fetchone()[0])

    def create(self, what: Description) -> None:
        """Create the table, and comment on it."""
        if what.dimension > COLUMN:
            raise UserError(
                f"A vector of pgvector has at most {COLUMN:,} dimensions, and these have {what.dimension:,}; "
                "export to another engine."
            )
        more = "title text NOT NULL, text text NOT NULL, " if what.texts else ""
        with self.connection.transaction():
            self.connection.execute(
                f'CREATE TABLE "{self.table}" (row bigint PRIMARY KEY, id text NOT NULL, {more}'
                f"embedding vector({what.dimension}) NOT NULL)"
            )
            comment = what.dumps().replace("'", "''")
            self.connection.execute(f"COMMENT ON TABLE \"{self.table}\" IS '{comment}'".encode())

    def drop(self) -> None:
        """Drop the table."""
        self.connection.execute(f'DROP TABLE "{self.table}"')

    def count(self) -> int:
        """Count the rows."""
        return int(self.connection.execute(f'SELECT count(*) FROM "{self.table}"').fetchone()[0])

    def write(self, batch: Batch) -> None:
        """Copy a batch in one transaction; zero characters, which PostgreSQL's texts cannot hold, are left out."""
        columns = {name: [value.replace("\0", "") for value in values] for name, values in batch.columns.items()}
        named = ["row", *columns, "embedding"]
        values = zip(batch.rows, *columns.values(), batch.vectors, strict=True)
        copy = f'COPY "{self.table}" ({", ".join(named)}) FROM STDIN WITH (FORMAT BINARY)'
        with self.connection.transaction(), self.connection.cursor().copy(copy) as stream:
            stream.set_types([TYPES[name] for name in named])
            for row in values:
                stream.write_row(row)

    def _dimension(self) -> int:
        return int((self.found() or {}).get("dimension", 0))

    def _terms(self) -> tuple[str, str]:
        """Return column and parameter as the index compares them: half precision above 2,000 dimensions."""
        dimension = self._dimension()
        cast = f"::halfvec({dimension})" if dimension > INDEX else ""
        return f"embedding{cast}", f"%s{cast}"

    def build(self) -> str | None:
        """Build an HNSW index for inner products; none above 4,000 dimensions."""
        dimension, (column, _) = self._dimension(), self._terms()
        if dimension > HALF_INDEX:
            return None
        kind = "halfvec" if dimension > INDEX else "vector"
        self.connection.execute(
            f'CREATE INDEX IF NOT EXISTS "{self.table}_hnsw" ON "{self.table}" USING hnsw (({column}) {kind}_ip_ops)'
        )
        self.connection.execute(f'ANALYZE "{self.table}"')
        return f"HNSW{' of half-precision copies' if kind == 'halfvec' else ''}, ef_search {EF_SEARCH}"

    def search(self, queries: np.ndarray, k: int, exact: bool) -> np.ndarray:
        """Search query by query, without the index or with nothing else."""
        column, parameter = ("embedding", "%s") if exact else self._terms()
        statement = f'SELECT row FROM "{self.table}" ORDER BY {column} <#> {parameter} LIMIT {k}'
        found = []
        with self.connection.transaction():
            for scan in ("indexscan", "indexonlyscan", "bitmapscan") if exact else ("seqscan",):
                self.connection.execute(f"SET LOCAL enable_{scan} = off")
            self.connection.execute(f"SET LOCAL hnsw.ef_search = {EF_SEARCH}")
            for query in queries:
                found.append([row for (row,) in self.connection.execute(statement, [query]).fetchall()])
        return padded(found, k)

    def code(self) -> tuple[list[str], str]:
        """Return lines with psycopg and pgvector; a password in the address is left out."""
        address = without_password(self.place)
        secret = "" if address == self.place else "  # the password: in $PGPASSWORD or ~/.pgpass"
        column, parameter = self._terms()
        return (
            ["import psycopg", "from pgvector.psycopg import register_vector"],
            f"connection = psycopg.connect({address!r}){secret}\n"
            "register_vector(connection)\n"
            f"connection.execute('SET hnsw.ef_search = {EF_SEARCH}')\n"
            f"found = connection.execute(\n"
            f"    'SELECT id, -({column} <#> {parameter}) FROM \"{self.table}\" '\n"
            f"    'ORDER BY {column} <#> {parameter} LIMIT 10',\n"
            "    (query, query),\n"
            ")\n"
            "for id, score in found:\n"
            "    print(id, score)\n"
            "connection.close()",
        )

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()
