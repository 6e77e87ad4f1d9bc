"""Reports as people and programs see them. Pure."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.sinks.reports.content import (
    Comparison,
    FileAnalysis,
    FileUser,
    Line,
    Lines,
    Report,
    Totals,
    Watermark,
    change_percent,
    divided,
    median,
    percent_of,
)
from costledger.sinks.reports.document import canonical, from_document, to_document
from costledger.sinks.reports.periods import ReportKind, report_period
from costledger.sinks.reports.rendering import FORMATS, render, subject
from costledger.sinks.reports.rendering.presentation import money, shortened
from costledger.sinks.reports.store import StoredReport

USD = 10**12


def stored(name: str = "user-1", *, revision: int = 1, complete: bool = True) -> StoredReport:
    line = Line(name=name, service=None, users=1, events=3, unpriced=1, amount=12 * USD + 345_678_901_234)
    report = Report(
        period=report_period(ReportKind.WEEKLY, date(2026, 11, 23), "Europe/Vienna"),
        totals=Totals(active_users=2, events=3, unpriced=1, amount=line.amount, maximum=line.amount, maximum_user=name),
        services=Lines(shown=(line,), others=Line(name="others", events=1, unpriced=0, amount=-1), others_count=4),
        operations=Lines(shown=(replace(line, service="openai"),)),
        users=(line,),
        comparison=Comparison(previous=10 * USD, usual=None, usual_periods=0),
        alerts=(("HOURLY_SPIKE", 2),),
        watermark=Watermark(complete=complete, missing=0 if complete else 17, positions=((0, 5),), problem=None),
        files=FileAnalysis(
            key="file_id",
            limit=USD,
            users_with_files=3,
            files=9,
            users_above=12,
            above=(FileUser(user_id=name, amount=12 * USD, files=7),),
            users_without_files=2,
            amount_without_files=5,
        ),
    )
    return StoredReport(report, revision, datetime(2026, 11, 23, 9, tzinfo=UTC))


def test_a_report_reads_the_same_everywhere() -> None:
    """Text, HTML, CSV and JSON have the same figures; people's are rounded, programs' are not."""
    found = {form: render(stored(), form) for form in FORMATS}
    assert subject(stored()) == "Weekly cost analysis 2026-11-16 to 2026-11-22: 12.35 USD"
    for form in ("text", "html"):
        for text in ("12.35 USD", "10.00 USD (+23.46 %)", "2 hourly spike", "1.71", "The first 1 of 12.", "4 others"):
            assert text in found[form]
    rows = list(csv.DictReader(found["csv"].splitlines()))
    assert {row["usd"] for row in rows if row["section"] == "total"} == {"12.345678901234"}
    assert [row["usd"] for row in rows if row["section"] == "usd_per_file_above_limit"] == ["1.714285714286"]
    document = json.loads(found["json"])
    assert document["totals"]["total"] == "12.345678901234"
    assert document["files"]["above"][0]["per_file"] == "1.714285714286"


def test_a_report_says_what_is_wrong_with_it() -> None:
    """Behind, without prices, provisional, made anew: one sees it."""
    for form in ("text", "html"):
        text = render(stored(complete=False), form)
        assert "Incomplete" in text
        assert "17 messages" in text
        assert "1 events have no known price" in text
        assert "Provisional" in render(stored(revision=0), form)
        assert "revision 3" in render(stored(revision=3), form)
    assert subject(stored(complete=False)).endswith("(incomplete)")


class Elements(HTMLParser):
    """Which elements there are."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the library passes it
        self.found.add(tag)


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '"><img src=x onerror=y>', "a\r\nBcc: x@example.org", "=1+1", "@sum", "x" * 128],
)
def test_a_name_is_only_a_name(name: str) -> None:
    """Users choose their ids: no element, no header, no formula, no second line comes of one."""
    elements = Elements()
    elements.feed(render(stored(name), "html"))
    assert not elements.found & {"script", "img", "a", "link", "iframe", "form"}
    assert len(subject(stored(name)).splitlines()) == 1
    assert not any(line.startswith("Bcc") for line in render(stored(name), "text").splitlines())
    for row in csv.DictReader(render(stored(name), "csv").splitlines(keepends=True)):
        assert not (row["name"] or "").startswith(("=", "@", "+", "-"))


@given(st.integers(-(10**30), 10**30))
def test_money_for_people(amount: int) -> None:
    """Near enough to the amount, and 0 only for nothing."""
    shown = money(amount)
    assert (shown == "0.00") == (amount == 0)
    if shown.startswith(("<", ">")):
        assert abs(amount) < 10**6
        return
    error = abs(int(float(shown.replace(",", "")) * USD) - amount)
    assert error <= max(5 * 10**9 if abs(amount) >= USD else 5 * 10**5, abs(amount) // 10**14) + 10**4


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**12))
def test_quotients_are_rounded_once(amount: int, count: int) -> None:
    """To the nearest, ties to even, exact at any size."""
    quotient = divided(amount, count)
    assert abs(2 * (quotient * count - amount)) <= count
    if abs(2 * (quotient * count - amount)) == count:
        assert quotient % 2 == 0


@given(st.lists(st.integers(-(10**20), 10**20), max_size=9))
def test_the_median_is_in_the_middle(amounts: list[int]) -> None:
    """Half are not above it, half not below."""
    middle = median(amounts)
    assert (middle is None) == (not amounts)
    if middle is not None:
        assert sum(amount <= middle for amount in amounts) * 2 >= len(amounts) - len(amounts) % 2
        assert sum(amount >= middle for amount in amounts) * 2 >= len(amounts) - len(amounts) % 2


def test_shares_and_changes() -> None:
    """Two decimals; none of nothing, or of a whole that credits have made negative."""
    assert (str(percent_of(1, 3)), percent_of(1, 0), percent_of(1, -1)) == ("33.33", None, None)
    assert (str(change_percent(150, 100)), str(change_percent(0, 3))) == ("50.00", "-100.00")
    assert (change_percent(1, 0), change_percent(1, None)) == (None, None)
    assert str(change_percent(10**40, 1)) == f"{10**42 - 100}.00"


@given(st.text(max_size=200))
def test_names_fit_in_a_line(name: str) -> None:
    """At most 60 characters, all of them visible."""
    assert len(shortened(name)) <= 60
    assert shortened(name).isprintable()


@given(name=st.text(min_size=1, max_size=128), amount=st.integers(-(10**30), 10**30))
def test_a_document_is_the_report(name: str, amount: int) -> None:
    """Back and forth without a loss, also through JSON text."""
    report = stored(name).report
    report = replace(report, totals=replace(report.totals, amount=amount, maximum=-amount))
    assert from_document(json.loads(canonical(to_document(report)))) == report
