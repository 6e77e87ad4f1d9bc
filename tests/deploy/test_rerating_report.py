"""What `rerate` shows: every entry that changes or cannot be rated, in exact decimal text."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from costledger.deploy.commands import rerate as command
from costledger.deploy.rerating import Poster
from costledger.deploy.rerating_report import Rerating
from costledger.producers.prices import PriceBook
from costledger.producers.records import Draft, build_record
from costledger.producers.rerating import completed, rerate
from costledger.schemas.errors import Unavailable
from costledger.schemas.events import EventRecord
from costledger.schemas.settings import load_settings
from costledger.sinks.candidates import Window

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SHIPPED = PriceBook.load()


@pytest.fixture
def maps(tmp_path: Path) -> PriceBook:
    """A book with a price for one more operation."""
    path = tmp_path / "maps.toml"
    path.write_text(
        'version = "maps-1"\nunits = ["call"]\n[[price]]\nservice = "maps"\noperations = ["geocode"]\nunit = "call"\n'
        'price = "0.000000000001"\neffective_from = 2000-01-01\nsource = "tests"\n'
    )
    return PriceBook.load(path)


def tracked(user: str, operation: str, book: PriceBook = SHIPPED, **metadata: str) -> EventRecord:
    """The record of three calls."""
    draft = Draft(user_id=user, service="maps", operation=operation, quantity=3, occurred_at=NOW, metadata=metadata)
    return build_record(draft, book, "tests")[1]


def rated(book: PriceBook, *records: EventRecord, dry_run: bool = False) -> Rerating:
    """The result of rating these again."""
    result = Rerating(Window(NOW, NOW + timedelta(hours=1)), book.version, dry_run)
    for record in records:
        result.note(record, rerate(record, book))
    return result


def test_each_user_and_service_has_its_difference(maps: PriceBook, capsys: pytest.CaptureFixture[str]) -> None:
    """Exact to the last picodollar, with what stays unpriced beside it."""
    records = [
        tracked("ann", "geocode"),
        tracked("ann", "geocode"),
        tracked("ann", "route", model="m"),
        tracked("bob", "route"),
    ]
    result = rated(maps, *records, dry_run=True)
    document = result.to_document()
    assert document["changes"] == [
        {
            "user_id": "ann",
            "service": "maps",
            "entries": 2,
            "unpriced_before": 3,
            "unpriced_after": 1,
            "amount_before_usd": "0.00",
            "amount_after_usd": "0.000000000006",
            "difference_usd": "0.000000000006",
        },
        {
            "user_id": "bob",
            "service": "maps",
            "entries": 0,
            "unpriced_before": 1,
            "unpriced_after": 1,
            "amount_before_usd": "0.00",
            "amount_after_usd": "0.00",
            "difference_usd": "0.00",
        },
    ]
    assert (document["examined"], document["corrections"], document["difference_usd"]) == (4, 2, "0.000000000006")
    assert {(one["finding"], one["model"], one["entries"]) for one in document["unrated"]} == {
        ("still unpriced", "m", 1),
        ("still unpriced", None, 1),
    }
    assert result.ok
    command._show(result, 60)
    shown = capsys.readouterr().out
    assert "0.000000000006" in shown
    assert "still unpriced: maps route of m, per unit: 1 entries" in shown
    assert "2 of 4 entries would change" in shown
    assert "dry run" in shown


def test_a_completed_call_comes_back_with_its_price(maps: PriceBook) -> None:
    """Until then it was taken back: before it there is nothing, also no unpriced entry."""
    result = rated(maps)
    result.note_completed(completed(tracked("ann", "geocode"), maps))
    result.note_completed(completed(tracked("ann", "route"), maps))
    (row,) = result.to_document()["changes"]
    assert (row["entries"], row["unpriced_before"], row["unpriced_after"]) == (2, 0, 1)
    assert row["difference_usd"] == "0.000000000003"
    assert (result.completed, result.corrections) == (2, 0)


def test_what_cannot_be_corrected_is_loud(maps: PriceBook, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named with the reason, the rest is counted, and the result is not ok; what has left the book is told."""
    full = {f"k{number}": "" for number in range(32)}
    result = rated(maps, *(tracked("ann", "geocode", **full) for _ in range(25)))
    assert not result.ok
    assert (result.uncorrectable, result.corrections) == (25, 0)
    gone = tracked("ann", "geocode", maps)
    result.note(gone, rerate(gone, SHIPPED))
    command._show(result, 60)
    shown = capsys.readouterr().out
    assert shown.count("metadata is '33 keys'") == 20
    assert "CANNOT be corrected: 5 more entries" in shown
    assert "no longer in the price book: maps geocode, per call: 1 entries" in shown


def test_what_the_sink_has_not_written_is_said(maps: PriceBook, capsys: pytest.CaptureFixture[str]) -> None:
    """With what to do about it; the result is not ok."""
    result = rated(maps, tracked("ann", "geocode"))
    result.posted, result.recorded, result.lag_after = 2, 0, 2
    assert not result.ok
    command._show(result, 7)
    assert "still 2 events to write after 7 s" in capsys.readouterr().out


def test_a_stop_is_remembered() -> None:
    """Once asked for, it stays so."""
    result = rated(SHIPPED)
    answers = iter([False, True, False])
    assert [result.asked_to_stop(lambda: next(answers)) for _ in range(3)] == [False, True, True]
    assert not result.ok


def test_a_table_has_an_end(maps: PriceBook, capsys: pytest.CaptureFixture[str]) -> None:
    """The largest differences are shown, and the others counted."""
    records = [tracked(f"user-{number:03d}", "geocode") for number in range(203)]
    records.append(tracked("user-202", "geocode"))
    result = rated(maps, *records)
    command._show(result, 60)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("user-202")
    assert "and 3 more users and services" in " ".join(lines)


def test_an_unchanged_entry_leaves_no_trace() -> None:
    """It is counted as looked at, and no more."""
    result = rated(SHIPPED)
    draft = Draft(user_id="a", service="aws-s3", operation="get", quantity=1, occurred_at=NOW)
    record = build_record(draft, SHIPPED, "tests")[1]
    result.note(record, rerate(record, SHIPPED))
    assert (result.examined, result.changes, result.ok) == (1, {}, True)


def test_what_kafka_does_not_confirm_is_an_error(maps: PriceBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is taken for posted that was not acknowledged, and the next step is not taken."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("COSTLEDGER_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}")
    monkeypatch.setenv("COSTLEDGER_DELIVERY_TIMEOUT_SECONDS", "1")
    correction = rerate(tracked("ann", "geocode"), maps).correction
    assert correction is not None
    poster = Poster(load_settings(), maps)
    try:
        with pytest.raises(Unavailable, match=r"Kafka confirmed 0 of 2 entries \(cost event .*the same command"):
            poster.post(correction)
    finally:
        poster.close()
    assert poster.posted == 0
