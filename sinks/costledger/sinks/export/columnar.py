"""Parquet files: typed columns, amounts as decimal128(38, 12), in row groups of a bounded size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from costledger.schemas.money import QUANTITY_DECIMALS, USD_DECIMALS
from costledger.sinks.database import Connection
from costledger.sinks.export.output import Destination
from costledger.sinks.export.request import Export
from costledger.sinks.queries import query

#: Rows that are fetched, converted and written together: what is in memory at a time.
ROW_GROUP_ROWS: Final = 10_000
_DECIMAL_DIGITS: Final = 38
_UNIT_PRICE: Final = 8


def parquet_schema() -> Any:
    """The `pyarrow.Schema` of an export. ImportError where the extra `parquet` is not installed.

    `unit_price` is decimal text: it may have more digits than any decimal type. `metadata` is a JSON object as text.
    """
    import pyarrow as pa

    time = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            pa.field("event_id", pa.string(), nullable=False),
            pa.field("occurred_at", time, nullable=False),
            *(pa.field(name, pa.string(), nullable=False) for name in ("user_id", "service", "operation", "category")),
            pa.field("quantity", pa.decimal128(_DECIMAL_DIGITS, QUANTITY_DECIMALS), nullable=False),
            pa.field("unit", pa.string(), nullable=False),
            pa.field("unit_price", pa.string()),
            pa.field("price_version", pa.string()),
            pa.field("amount", pa.decimal128(_DECIMAL_DIGITS, USD_DECIMALS)),
            *(pa.field(name, pa.string(), nullable=False) for name in ("currency", "source")),
            pa.field("reverses_event_id", pa.string()),
            pa.field("received_at", time),
            pa.field("recorded_at", time, nullable=False),
            pa.field("metadata", pa.string(), nullable=False),
        ]
    )


def write_parquet(
    connection: Connection, export: Export, destination: Destination, progress: Callable[[int], None]
) -> int:
    """Write the rows of the export; returns how many. Must be in a transaction (a server-side cursor)."""
    import pyarrow.parquet as pq

    schema = parquet_schema()
    rows = 0
    with (
        connection.cursor(name="export") as cursor,
        pq.ParquetWriter(destination, schema, compression="zstd") as writer,
    ):
        cursor.itersize = ROW_GROUP_ROWS
        cursor.execute(query("export_entries"), export.parameters())
        while group := cursor.fetchmany(ROW_GROUP_ROWS):
            rows += len(group)
            writer.write_table(_table(group, schema), row_group_size=ROW_GROUP_ROWS)
            # Before the next group is fetched: two of them are never in memory together.
            del group
            progress(rows)
    return rows


def _table(group: list[tuple[Any, ...]], schema: Any) -> Any:
    import pyarrow as pa

    arrays = []
    for number, field in enumerate(schema):
        column = [row[number] for row in group]
        if number == _UNIT_PRICE:
            column = [None if price is None else f"{price:f}" for price in column]
        arrays.append(pa.array(column, field.type))
    return pa.Table.from_arrays(arrays, schema=schema)
