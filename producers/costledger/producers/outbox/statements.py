"""The SQL of the outbox, from the files in `sql`, with the name of the table put in as an identifier."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

from costledger.schemas.errors import InvalidValue, SettingsError

if TYPE_CHECKING:
    from psycopg import sql

Statement = Literal[
    "create_table",
    "check_table",
    "insert_row",
    "insert_guarded",
    "undo_guarded",
    "claim_rows",
    "delete_rows",
    "status",
]

_TABLE: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z_][a-z0-9_]{0,62})?")


def require_psycopg() -> None:
    """Raise `SettingsError` where psycopg 3, which the outbox needs, is not installed."""
    try:
        import psycopg  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise SettingsError(
            f"the outbox needs psycopg 3, which cannot be imported ({error}): pip install 'costledger[outbox]'"
        ) from error


def check_table_name(table: str) -> str:
    """The name, if it is one that the setting `outbox_table` may have; else `InvalidValue`."""
    if _TABLE.fullmatch(table) is None:
        raise InvalidValue(
            "outbox_table", table, "a table's name in lower case, at most 63 characters, with its schema before a dot"
        )
    return table


@cache
def statement(name: Statement, table: str) -> sql.Composed:
    """The statement in `sql/<name>.sql` for a table, which may have its schema before a dot."""
    from psycopg import sql

    text = (files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")
    return sql.SQL(text).format(table=sql.Identifier(*check_table_name(table).split(".")))


def create_table_text(table: str) -> str:
    """The statements that create the table, as text for the user's own migrations."""
    return statement("create_table", table).as_string(None)
