"""Output of the commands: text and tables for people, one JSON document for machines, both on stdout.

Progress and complaints go to stderr.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer

if TYPE_CHECKING:
    from rich.console import Console

#: Columns of tables that are not written to a terminal.
_PIPED_COLUMNS: Final = 200
_PROGRESS_EVERY_SECONDS: Final = 5.0

#: The option that every command with a result has.
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of text.")]


def out() -> Console:
    """The console for results, on stdout. Names are printed as they are, without markup."""
    return _console(stderr=False)


def err() -> Console:
    """The console for progress, on stderr."""
    return _console(stderr=True)


def program() -> str:
    """What to type for this command: `costledger`, or the path it was called by where PATH has no such command."""
    return "costledger" if shutil.which("costledger") else shlex.quote(sys.argv[0])


def say(text: str) -> None:
    """A line of progress on stderr."""
    sys.stderr.write(f"{text}\n")  # in one piece: services are started by several threads
    sys.stderr.flush()


def print_json(document: object) -> None:
    """The one JSON document of a command with `--json`: money and times as text, never as floats."""
    print(json.dumps(document, indent=2, ensure_ascii=False, default=_plain), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> None:
    """A table on stdout; numbers are right-aligned, and columns that are empty in every row are left out."""
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    shown = [i for i in range(len(columns)) if not cells or any(row[i] not in {None, ""} for row in cells)]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for index in shown:
        numeric = bool(cells) and all(isinstance(row[index], (int, Decimal)) for row in cells)
        table.add_column(columns[index], justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text("" if row[i] is None else str(row[i])) for i in shown))
    out().print(table)


@contextmanager
def row_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr where that is a terminal; elsewhere a line every few seconds. Takes rows done and rows in all."""
    console = err()
    if console.is_terminal:
        from rich.progress import Progress

        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda rows, of: bar.update(task, completed=rows, total=of)
        return
    said_at = time.monotonic()

    def say_sometimes(rows: int, of: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= _PROGRESS_EVERY_SECONDS:
            said_at = time.monotonic()
            say(f"{rows} of {of} rows")

    yield say_sometimes


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPED_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (UUID, Path)):
        return str(value)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
