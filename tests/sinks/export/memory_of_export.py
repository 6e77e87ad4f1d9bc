"""Exports March 2026 of a ledger in a process of its own and prints how much memory that took at most, in KiB."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from tests.sinks.export.exporting import month

from costledger.sinks.database import connect
from costledger.sinks.export import ExportFormat, export_entries, file_output


def main(database_url: str, kind: str, path: str) -> None:
    """Export, then print rows and KiB."""
    with file_output(Path(path)) as destination, connect(database_url, "tests", 10) as connection:
        summary = export_entries(connection, month(ExportFormat(kind)), destination)
    sys.stdout.write(f"{summary.rows} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
