"""Entries out of the ledger into files: one snapshot, constant memory, exact amounts. See README.md."""

from costledger.sinks.export.output import Destination, file_output, stream_output
from costledger.sinks.export.request import Export, ExportFormat
from costledger.sinks.export.run import ExportFailed, ExportSummary, export_entries

__all__ = [
    "Destination",
    "Export",
    "ExportFailed",
    "ExportFormat",
    "ExportSummary",
    "export_entries",
    "file_output",
    "stream_output",
]
