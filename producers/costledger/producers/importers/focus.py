"""A cloud bill in FOCUS 1.x columns -> cost events, one for each row.

| event | column |
|---|---|
| amount | BilledCost, exactly: more than 12 decimals are an error |
| user | the user column (SubAccountId); `unallocated` where it is NULL |
| service | ServiceName |
| operation | SkuId; where it is NULL, the charge category in lower case (`tax`, `credit`, ...) |
| category | ChargeCategory; the sign of BilledCost is kept |
| occurred at | ChargePeriodStart, UTC where it has no offset |
| quantity, unit | ConsumedQuantity and ConsumedUnit; where NULL, PricingQuantity and PricingUnit; else 1 `charge` |

A quantity with more than 9 decimals is rounded to 1e-9, and its text kept in the metadata. Of the other
columns, those with a value go into the metadata under their own names, the most useful ones first, as far as
32 keys and 4 KiB reach; the report counts what was left out, by column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from costledger.producers.importers.rows import Row, file_digest, read_rows, shift_us
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import METADATA_BYTES_MAX, METADATA_KEYS_MAX, Category, CostEvent
from costledger.schemas.ids import derived_event_id
from costledger.schemas.money import NANOUNITS_PER_UNIT, from_nanounits, round_to_nanounits, to_picodollars
from costledger.schemas.times import from_microseconds, rfc3339

USER_COLUMN_DEFAULT: Final = "SubAccountId"
UNALLOCATED: Final = "unallocated"

_COST: Final = "BilledCost"
_CURRENCY: Final = "BillingCurrency"
_CATEGORY: Final = "ChargeCategory"
_START: Final = "ChargePeriodStart"
_SERVICE: Final = "ServiceName"
_SKU: Final = "SkuId"
_QUANTITIES: Final = (("ConsumedQuantity", "ConsumedUnit"), ("PricingQuantity", "PricingUnit"))
_REQUIRED: Final = (_COST, _CURRENCY, _CATEGORY, _START, _SERVICE)
_CATEGORIES: Final = {category.value.capitalize(): category for category in Category}
#: Times that move together with ChargePeriodStart.
_OTHER_TIMES: Final = frozenset({"ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"})
#: Columns that are in the event itself; ConsumedQuantity comes back where rounding changed it.
_IN_THE_EVENT: Final = frozenset({_COST, _CURRENCY, _CATEGORY, _START, _SERVICE, _SKU, "ConsumedUnit"})
#: The order in which metadata is kept: what a query needs to tell charges apart, then money, then the rest.
_USEFUL_FIRST: Final = (
    "ChargeClass",
    "ChargePeriodEnd",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
    "ConsumedQuantity",
    "PricingQuantity",
    "PricingUnit",
    "SubAccountId",
    "SubAccountName",
    "ProviderName",
    "ServiceCategory",
    "ResourceId",
    "RegionId",
    "ChargeDescription",
    "Tags",
    "ChargeFrequency",
    "PricingCategory",
    "SkuPriceId",
    "BillingAccountId",
    "BillingAccountName",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "PublisherName",
    "InvoiceIssuerName",
    "CommitmentDiscountId",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "ResourceType",
    "ResourceName",
    "ListUnitPrice",
    "ContractedUnitPrice",
)
_COLUMN_OF_FIELD: Final = {
    "service": _SERVICE,
    "operation": _SKU,
    "occurred_at": _START,
    "unit": "ConsumedUnit or PricingUnit",
}


@dataclass(slots=True)
class FocusReport:
    """What reading a bill through found: `left_out` counts rows by the column that did not fit in the metadata."""

    rows: int = 0
    unallocated: int = 0
    rounded_quantities: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class FocusBill:
    """A bill that was read through once and found right; `events` reads it again."""

    path: Path
    user_column: str
    source: str
    digest: bytes
    shift_us: int
    report: FocusReport

    def events(self) -> Iterator[CostEvent]:
        """The events in the order of the file."""
        return _events(self, FocusReport())


def read_focus(
    path: Path,
    *,
    user_column: str = USER_COLUMN_DEFAULT,
    shift_to: datetime | None = None,
    source: str = "import-focus",
) -> FocusBill:
    """Read a bill through and check every row before any event is made.

    Raises `ImportRowError` naming file, line, column, value and limit, `OSError` where the file cannot be read.
    """
    latest = max((row.time_us(_START) for row in read_rows(path, (*_REQUIRED, user_column))), default=None)
    report = FocusReport()
    bill = FocusBill(path, user_column, source, file_digest(path), shift_us(latest, shift_to), report)
    for _ in _events(bill, report):
        pass
    return bill


def _events(bill: FocusBill, report: FocusReport) -> Iterator[CostEvent]:
    for row in read_rows(bill.path, (*_REQUIRED, bill.user_column)):
        yield _event_of(row, bill, report)


def _event_of(row: Row, bill: FocusBill, report: FocusReport) -> CostEvent:
    occurred_at_us = row.time_us(_START) + bill.shift_us
    category = _category_of(row)
    quantity, unit, quantity_column, rounded = _quantity_of(row)
    user_id = row.text(bill.user_column)
    report.rows += 1
    report.unallocated += user_id is None
    report.rounded_quantities += rounded
    # The quantity's own text is needed only where the event does not say the same.
    unneeded = _IN_THE_EVENT | {bill.user_column} | ({quantity_column} if not rounded else set())
    event = CostEvent(
        event_id=derived_event_id(occurred_at_us, "focus", bill.digest, str(row.index), bill.user_column),
        user_id=user_id or UNALLOCATED,
        service=row.required(_SERVICE),
        operation=row.text(_SKU) or category.value.lower(),
        category=category,
        quantity=quantity,
        unit=unit,
        amount=_amount_of(row),
        occurred_at=from_microseconds(occurred_at_us),
        source=bill.source,
        metadata=_metadata_of(row, unneeded, bill.shift_us, report),
    )
    return row.checked(event, {**_COLUMN_OF_FIELD, "user_id": bill.user_column})


def _category_of(row: Row) -> Category:
    text = row.required(_CATEGORY)
    if text not in _CATEGORIES:
        raise row.error(_CATEGORY, text, f"one of {', '.join(_CATEGORIES)}")
    return _CATEGORIES[text]


def _amount_of(row: Row) -> int:
    currency = row.required(_CURRENCY)
    if currency != "USD":
        raise row.error(_CURRENCY, currency, "USD")
    try:
        return to_picodollars(row.required(_COST), _COST)
    except InvalidValue as error:
        raise row.error(_COST, error.value, error.limit) from error


def _quantity_of(row: Row) -> tuple[int, str, str, bool]:
    """The quantity in 1e-9 units, its unit, the column it came from, and whether rounding changed it."""
    for column, unit_column in _QUANTITIES:
        text = row.text(column)
        if text is not None:
            try:
                nanounits = round_to_nanounits(text, column)
            except InvalidValue as error:
                raise row.error(column, error.value, error.limit) from error
            return nanounits, row.text(unit_column) or "unit", column, _differs(text, nanounits)
    return NANOUNITS_PER_UNIT, "charge", "", False


def _differs(text: str, nanounits: int) -> bool:
    return Decimal(text.strip()) != from_nanounits(nanounits)


def _metadata_of(row: Row, unneeded: frozenset[str], moved_us: int, report: FocusReport) -> dict[str, str]:
    """What fits, the most useful first; a value too long for what is left makes room for shorter ones."""
    names: list[str] = [name for name in _USEFUL_FIRST if name in row.cells]
    names += [name for name in row.cells if name not in _USEFUL_FIRST]
    metadata: dict[str, str] = {}
    bytes_left = METADATA_BYTES_MAX
    for name in names:
        value = None if name in unneeded else row.text(name)
        if value is None:
            continue
        if name in _OTHER_TIMES:
            value = rfc3339(row.time_us(name) + moved_us)
        size = len(name.encode()) + len(value.encode())
        if len(metadata) == METADATA_KEYS_MAX or size > bytes_left:
            report.left_out[name] += 1
            continue
        metadata[name] = value
        bytes_left -= size
    return metadata
