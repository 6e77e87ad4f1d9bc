"""FOCUS's own validator finds nothing in our exports but what is its own fault, rule by rule, with the reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.sinks.conftest import Ledger, Topic, make_event, random_events
from tests.sinks.export.exporting import BILL, cells, exported, store
from tests.sinks.export.focus_validation import NotInstalled, failures, installed, unexplained

from costledger.producers.importers import read_focus
from costledger.schemas.events import Category, CostEvent
from costledger.schemas.settings import Settings
from costledger.sinks.export import Export, ExportFormat

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validator(request: pytest.FixtureRequest) -> Path:
    """The validator's Python; skipped by name with the reason where it cannot be installed."""
    try:
        return installed()
    except NotInstalled as problem:
        if os.environ.get("COSTLEDGER_TEST_REQUIRE"):
            pytest.fail(f"COSTLEDGER_TEST_REQUIRE is set, but FOCUS's validator could not be installed: {problem}")
        pytest.skip(f"{request.node.name} needs FOCUS's validator, which could not be installed: {problem}")


def own_events(seed: int) -> list[CostEvent]:
    """Events of our own services: every category, with and without a price, corrected ones among them."""
    at = datetime.now(UTC) - timedelta(days=2)
    one = make_event("ann", occurred_at=at)
    taken_back = make_event(
        "ann",
        occurred_at=at,
        quantity=-one.quantity,
        amount=-(one.amount or 0),
        reverses_event_id=one.event_id,
    )
    others = [make_event("bob", category=category, amount=amount) for category, amount in CATEGORIES.items()]
    return [*random_events(seed, 200), one, taken_back, *others]


CATEGORIES = {Category.PURCHASE: 10**12, Category.TAX: 10**11, Category.CREDIT: -(10**11), Category.ADJUSTMENT: -1}


def test_the_validator_has_nothing_against_the_real_bill(
    validator: Path, ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable, tmp_path: Path
) -> None:
    """The bill, imported and exported again."""
    if not BILL.exists():
        pytest.skip(f"no real data in {BILL.parent}: set COSTLEDGER_REAL_DATA")
    store(ledger, topic, settings, start_sink, list(read_focus(BILL).events()))
    data, _ = exported(
        ledger.url, Export(ExportFormat.FOCUS, datetime(2024, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC))
    )
    file = tmp_path / "bill.csv"
    file.write_bytes(data)
    found = failures(validator, file)
    assert unexplained(found, cells(data)) == []


def test_the_validator_has_nothing_against_our_own_events(
    validator: Path, ledger: Ledger, topic: Topic, settings: Settings, start_sink: Callable, tmp_path: Path, seed: int
) -> None:
    """Events of our own; and a file that is wrong is not excused."""
    store(ledger, topic, settings, start_sink, own_events(seed))
    start = datetime.now(UTC) - timedelta(days=60)
    data, summary = exported(ledger.url, Export(ExportFormat.FOCUS, start, datetime.now(UTC)))
    assert summary.rows > 150
    file = tmp_path / "own.csv"
    file.write_bytes(data)
    rows = cells(data)
    assert unexplained(failures(validator, file), rows) == []
    assert {row["ChargeCategory"] for row in rows} == {category.value.capitalize() for category in Category}
    # What the validator does not look at: a tax has neither SKU nor price nor pricing quantity.
    (tax,) = (row for row in rows if row["ChargeCategory"] == "Tax")
    none = (
        "SkuId",
        "SkuPriceId",
        "ListUnitPrice",
        "ContractedUnitPrice",
        "PricingCategory",
        "PricingQuantity",
        "PricingUnit",
    )
    assert {tax[name] for name in none} == {""}
    assert {row["ChargeClass"] for row in rows} == {"", "Correction"}

    lines = data.decode().splitlines(keepends=True)
    header = lines[0].rstrip("\n").split(",")
    broken = lines[1].split(",")
    broken[header.index("BilledCost")] = ""
    broken[header.index("BillingCurrency")] = "dollars"
    broken[header.index("ChargePeriodStart")] = "yesterday"
    file.write_text("".join([lines[0].replace("ServiceName", "Service"), ",".join(broken), *lines[2:]]))
    assert {
        "BilledCost_NotNull",
        "BillingCurrency_IsCurrencyCode",
        "ChargePeriodStart_IsDateTime",
        "ServiceName_Required",
    } <= set(unexplained(failures(validator, file), rows))
