"""CSV and FOCUS files: PostgreSQL formats the rows, so that no amount passes through a number of another kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from costledger.sinks.database import Connection
from costledger.sinks.export.output import Destination
from costledger.sinks.export.request import Export, ExportFormat
from costledger.sinks.queries import query

_CHUNK_BYTES: Final = 1 << 20
#: Always in quotes, so that a semicolon or a line end in them begins no cell of its own in any spreadsheet. A null never
#: is: `,,` is no value and `,"",` an empty text.
_QUOTED: Final = {
    ExportFormat.CSV: "user_id service operation unit price_version source metadata",
    ExportFormat.FOCUS: (
        "AvailabilityZone BillingAccountId BillingAccountName ChargeClass ChargeDescription ChargeFrequency "
        "CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus "
        "CommitmentDiscountType ConsumedUnit InvoiceIssuerName PricingCategory PricingUnit ProviderName PublisherName "
        "RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName SkuId SkuPriceId "
        "SubAccountId SubAccountName Tags"
    ),
}
_QUERIES: Final = {ExportFormat.CSV: "export_csv", ExportFormat.FOCUS: "export_focus"}


def write_delimited(
    connection: Connection, export: Export, destination: Destination, progress: Callable[[int], None]
) -> int:
    """Copy the rows of the export, with a header, in UTF-8; returns how many. Memory is that of one chunk."""
    quoted = ", ".join(f'"{name}"' for name in _QUOTED[export.format].split()).encode()
    options = b"FORMAT csv, HEADER, ENCODING 'UTF8', FORCE_QUOTE (" + quoted + b")"
    statement = b"COPY (" + query(_QUERIES[export.format]) + b") TO STDOUT (" + options + b")"
    parameters = {**export.parameters(), "marked": export.marked}
    with connection.cursor() as cursor:
        chunk = bytearray()
        rows = -1  # the header is none
        with cursor.copy(statement, parameters) as copy:
            for row in copy:
                chunk += row
                rows += 1
                if len(chunk) >= _CHUNK_BYTES:
                    destination.write(bytes(chunk))
                    chunk.clear()
                    progress(rows)
        destination.write(bytes(chunk))
        return cursor.rowcount
