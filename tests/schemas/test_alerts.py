"""The same decision has the same id, and its headers are CloudEvents."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from tests.schemas.samples import NOW_US, alert

from costledger.schemas import AlertKind, AlertState, Severity


@pytest.mark.parametrize(
    "change",
    [
        {"actual": 1},
        {"limit": None},
        {"occurred_at": NOW_US + 5},
        {"raised_at": NOW_US + 5},
        {"message": "other words"},
        {"severity": Severity.CRITICAL},
        {"late": True},
        {"threshold_percent": Decimal("75.0000")},
        {"threshold_percent": Decimal("7.5E+1")},
    ],
)
def test_what_is_no_part_of_the_decision_changes_no_id(change: dict[str, Any]) -> None:
    """A replay finds other totals or words, and the id stays; 75 and 75.0000 are the same percentage."""
    assert alert(**change).alert_id == alert().alert_id


@pytest.mark.parametrize(
    "change",
    [
        {"kind": AlertKind.FORECAST_EXCEEDED},
        {"state": AlertState.OK},
        {"user_id": "user-0002"},
        {"scope": "service:openai"},
        {"budget_version": 4},
        {"budget_version": None},
        {"budget_version": 0},
        {"period_start": 0},
        {"period_end": 1},
        {"threshold_percent": Decimal(90)},
        {"threshold_percent": None},
        {"threshold_percent": Decimal(0)},
    ],
)
def test_what_is_part_of_the_decision_changes_the_id(change: dict[str, Any]) -> None:
    """Another decision has another id."""
    assert alert(**change).alert_id != alert().alert_id


def test_the_id_is_pinned() -> None:
    """This value is in databases: a change would store every alert twice."""
    assert str(alert().alert_id) == "bce61ec7-3623-5e54-b47b-dfabb9c94e82"


def test_headers_are_cloudevents_binary_mode() -> None:
    """All required attributes, as UTF-8, with the broker's time of the event."""
    headers = dict(alert(user_id="jürgen").cloudevents_headers())
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": str(alert(user_id="jürgen").alert_id).encode(),
        "ce_source": b"/costledger/streams",
        "ce_type": b"costledger.v1.alert.budget_threshold",
        "ce_subject": "jürgen".encode(),
        "ce_time": b"2026-11-23T09:00:00.000001Z",
        "content-type": b"application/avro",
    }


@pytest.mark.parametrize(("total", "written"), [(2**63, 2**63 - 1), (-(2**63) - 1, -(2**63)), (5, 5)])
def test_totals_beyond_64_bits_are_written_as_the_nearest(total: int, written: int) -> None:
    """An alert never fails for want of bits."""
    record = alert(actual=total, limit=total).to_record()
    assert (record["actual"], record["limit"]) == (written, written)
