"""`/api/reports`: what the scheduler has made, as it was made, for analysts."""

from __future__ import annotations

import csv
import json
from datetime import date
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient
from tests.fixtures.fix_api import bearer
from tests.sinks.reports.report_model import COMPLETE, utc

from costledger.schemas.settings import Settings
from costledger.sinks.database import connect
from costledger.sinks.reports import ReportKind, StoredReport, report_period
from costledger.sinks.reports.reading import read_report
from costledger.sinks.reports.rendering import render
from costledger.sinks.reports.store import add_report

ANALYST = bearer("ann", "analyst")


@pytest.fixture
def stored(api_ledger: psycopg.Connection[Any], api_settings: Settings) -> dict[ReportKind, StoredReport]:
    """A daily and a weekly report of one user."""
    api_ledger.execute(
        "INSERT INTO ledger.daily_totals VALUES ('u', %s, 'openai', 'input-tokens', 3, 1, 7, 1.25)",
        (utc(2026, 11, 22).date(),),
    )
    with connect(api_settings.database_url.get_secret_value(), "tests", 10) as connection:
        return {
            kind: add_report(
                connection, read_report(connection, api_settings, report_period(kind, day, "UTC"), COMPLETE)
            )
            for kind, day in ((ReportKind.DAILY, date(2026, 11, 22)), (ReportKind.WEEKLY, date(2026, 11, 23)))
        }


def test_a_report_is_the_stored_one(api_client: TestClient, stored: dict[ReportKind, StoredReport]) -> None:
    """The document, the table and the text are those of the command."""
    for kind, path in ((ReportKind.DAILY, "daily/2026-11-22"), (ReportKind.WEEKLY, "weekly/2026-11-23")):
        answer = api_client.get(f"/api/reports/{path}", headers=ANALYST)
        assert answer.status_code == 200
        assert answer.json() == stored[kind].document() == json.loads(render(stored[kind], "json"))
        assert answer.json()["totals"]["total"] == "1.25"
    table = api_client.get("/api/reports/daily/2026-11-22?format=csv", headers=ANALYST)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert next(csv.DictReader(table.text.splitlines()))["usd"] == "1.25"
    text = api_client.get("/api/reports/daily/2026-11-22?format=text", headers=ANALYST)
    assert text.text == render(stored[ReportKind.DAILY], "text")
    assert text.headers["content-type"] == "text/plain; charset=utf-8"


def test_reports_are_listed(api_client: TestClient, stored: dict[ReportKind, StoredReport]) -> None:
    """The newest first, of one kind or of both."""
    everything = api_client.get("/api/reports", headers=ANALYST).json()["reports"]
    assert [(one["kind"], one["date"], one["total"]) for one in everything] == [
        ("weekly", "2026-11-23", "1.25"),
        ("daily", "2026-11-22", "1.25"),
    ]
    daily = api_client.get("/api/reports?kind=daily&limit=1", headers=ANALYST).json()["reports"]
    assert daily == everything[1:]


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("daily/2026-11-22", {}, 401),
        ("daily/2026-11-22", bearer("u"), 403),
        ("daily/2026-11-22", bearer("o", "operator"), 404),
        ("weekly/2026-11-22", ANALYST, 404),
        ("hourly/2026-11-22", ANALYST, 422),
        ("daily/2026-02-30", ANALYST, 422),
        ("daily/1763942400", ANALYST, 422),
        ("daily/2026-11-22T00:00:00", ANALYST, 422),
        ("daily/1999-01-01", ANALYST, 404),
        ("daily/2026-11-22?format=pdf", ANALYST, 422),
        ("?limit=0", ANALYST, 422),
        ("?limit=1", bearer("u"), 403),
    ],
)
def test_what_is_refused(api_client: TestClient, path: str, headers: dict[str, str], status: int) -> None:
    """Everybody's costs are for analysts and operators; what was not made is not made by asking."""
    url = f"/api/reports{path}" if path.startswith("?") else f"/api/reports/{path}"
    answer = api_client.get(url, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
