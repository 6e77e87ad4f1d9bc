"""The SQL that the parts of this package run, one statement a file in `sql/queries`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def query(name: str) -> bytes:
    """The statement in `sql/queries/<name>.sql`. Bytes, which psycopg takes for a statement that is no literal."""
    return (files(__package__) / "sql" / "queries" / f"{name}.sql").read_bytes()
