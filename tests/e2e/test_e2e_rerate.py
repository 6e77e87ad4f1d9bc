"""Rating entries again through the whole system: ledger, roll-ups, Redis and alerts, whatever is cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from costledger.producers.prices import PriceBook
from costledger.producers.records import ChatDraft, Draft, build_chat_records, build_record
from costledger.schemas import encode_event
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.times import from_microseconds, rfc3339

USD = 10**12
HOUR = 3_600_000_000
DAY = 24 * HOUR
SHIPPED = PriceBook.load()

MAPS = """
[[price]]
service = "maps"
operations = ["geocode"]
unit = "call"
price = "0.0050000000000005"
effective_from = 2000-01-01
source = "tests"
"""
CHEAPER_IMAGES = """
[[price]]
service = "aws-rekognition"
operations = ["detectLabels"]
unit = "image"
price = "0.0001"
effective_from = 2000-01-01
source = "tests"
"""


class Calls:
    """Events as the SDK makes them, and what must have become of them."""

    def __init__(self, system, folder: Path) -> None:
        self.system = system
        self.records: list[dict] = []
        self.now = time.time_ns() // 1000
        self._folder = folder
        self._producer = Producer(
            {
                "bootstrap.servers": system.environment["COSTLEDGER_BOOTSTRAP_SERVERS"],
                "partitioner": "murmur2_random",
                "log_level": 0,
            }
        )

    def track(self, user: str, service: str, operation: str, quantity: Any, ago: int = 0, **other: Any) -> None:
        """One event, `ago` microseconds old."""
        at = from_microseconds(self.now - ago)
        draft = Draft(user_id=user, service=service, operation=operation, quantity=quantity, occurred_at=at, **other)
        self.records.append(build_record(draft, SHIPPED, "tests")[1])

    def chat(self, user: str) -> None:
        """One request to a language model."""
        draft = ChatDraft(
            user_id=user,
            provider="openai",
            model="gpt-4o",
            input_tokens=1201,
            output_tokens=77,
            cached_input_tokens=13,
            occurred_at=from_microseconds(self.now),
            metadata=None,
        )
        self.records += [record for _, record in build_chat_records(draft, SHIPPED, "tests")]

    def send(self) -> None:
        """Publish all."""
        for record in self.records:
            self._producer.produce(
                f"{self.system.topic_prefix}cost.events", encode_event(record), record["user_id"].encode()
            )
        assert self._producer.flush(20) == 0

    def lay_prices(self, *entries: str) -> PriceBook:
        """Lay a price file over the shipped prices, for all commands from here on; without entries, none."""
        path = self._folder / "own.toml"
        path.write_text('version = "own-1"\nunits = ["call"]\n' + "\n".join(entries))
        paths = [path] if entries else []
        self.system.environment["COSTLEDGER_PRICE_FILES"] = json.dumps([str(path) for path in paths])
        return PriceBook.load(*paths)

    def unpriced_days(self) -> int:
        """How many alerts of unpriced usage are due: one for each user, operation and day within the horizon."""
        return len(
            {
                (record["user_id"], record["operation"], period_at(PeriodKind.DAY, record["occurred_at"]).label)
                for record in self.records
                if record["amount"] is None and record["occurred_at"] > self.now - 40 * DAY
            }
        )

    def window(self, days: int = 60) -> list[str]:
        """The options for all but the oldest events."""
        return ["--from", rfc3339(self.now - days * DAY), "--to", rfc3339(self.now + 1)]

    def assert_everywhere(self, amounts: dict[str, int | None]) -> None:
        """Ledger, roll-ups, Redis and reconcile have each call once, with this amount for its event id."""
        system = self.system
        net, in_redis = defaultdict(int), defaultdict(int)
        unpriced = 0
        for record in self.records:
            amount = amounts[record["event_id"]]
            unpriced += amount is None
            net[record["user_id"], record["service"]] += amount or 0
            if record["occurred_at"] >= self.now - 40 * DAY:
                for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
                    in_redis[record["user_id"], kind, period_at(kind, record["occurred_at"]).label] += amount or 0
        report = system.await_reconciled()
        assert (report["difference_picodollars"], report["unpriced"]) == (0, unpriced)
        for table, count in (("entries", "NULL"), ("hourly_totals", "sum(events)"), ("daily_totals", "sum(events)")):
            rows = system.sql(f"SELECT user_id, service, coalesce(sum(amount), 0) FROM ledger.{table} GROUP BY 1, 2")
            assert {(user, service): int(usd * USD) for user, service, usd in rows} == dict(net)
            assert system.value(f"SELECT {count} FROM ledger.{table} LIMIT 1") in {None, len(self.records)}
        assert system.value("SELECT count(*) FROM analyst.costs WHERE unpriced") == unpriced
        found = {key: total for key, total in system.redis_totals().items() if total}
        assert found == {key: total for key, total in in_redis.items() if total}


@pytest.fixture
def calls(system, tmp_path) -> Calls:
    """No events yet."""
    return Calls(system, tmp_path)


def amounts_of(records: list[dict], book: PriceBook) -> dict[str, int | None]:
    """What each event costs by a book; the caller's own price where there is one."""
    amounts = {}
    for record in records:
        amounts[record["event_id"]] = record["amount"]
        if record["service"] in {"maps", "aws-rekognition"} and (record["amount"] is None or record["price_version"]):
            priced = book.price_nanounits(
                record["service"],
                record["operation"],
                record["quantity"],
                record["occurred_at"],
                record["unit"],
                record["metadata"],
            )
            if priced.amount_picodollars is not None:
                amounts[record["event_id"]] = priced.amount_picodollars
    return amounts


def unpriced_calls(calls: Calls, count: int) -> None:
    """Calls of three users without a price, over some hours."""
    for number in range(count):
        calls.track(f"user-{number % 3}", "maps", "geocode", number + 1, number * HOUR, unit="call")


def harmed(calls: Calls, step: str, number: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`costledger rerate` that gets a signal at a step."""
    return subprocess.run(
        [sys.executable, str(Path(__file__).with_name("rerate_process.py")), step, number, *arguments],
        env={**os.environ, **calls.system.environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_unpriced_and_wrongly_priced_calls_are_rated_again(system, calls) -> None:
    """A price that comes later, then another one: all totals follow to the picodollar, and a second time nothing changes."""
    system.start_all()
    unpriced_calls(calls, 9)
    calls.track("user-0", "maps", "geocode", 3, unit="call", unit_price="1")  # the caller's own price
    calls.track("user-0", "maps", "route", 3, unit="call")  # not in any book
    calls.track("user-1", "maps", "geocode", 3, 50 * DAY, unit="call")  # older than the horizon
    calls.track("user-2", "aws-rekognition", "detectLabels", 5, metadata={"album": "42"})
    calls.track("user-2", "aws-comprehend", "detectSentiment", 250, unit="character")
    calls.chat("user-1")
    calls.send()
    calls.assert_everywhere(amounts_of(calls.records, SHIPPED))
    alerts = "SELECT count(*) FROM ledger.alerts WHERE kind = 'UNPRICED_USAGE'"
    due = calls.unpriced_days()
    system.wait_until(lambda: system.value(alerts) >= due, 30, "alerts of unpriced usage")
    assert system.value(alerts) == due
    before = system.sql("SELECT alert_id FROM ledger.alerts ORDER BY 1")
    entries = len(calls.records)

    unchanged = system.run_json("rerate", *calls.window())
    assert (unchanged["ok"], unchanged["examined"], unchanged["corrections"]) == (True, entries - 1, 0)
    assert unchanged["posted"] == 0

    book = calls.lay_prices(MAPS)
    wanted = amounts_of(calls.records, book)
    differences = {
        user: sum((wanted[r["event_id"]] or 0) - (r["amount"] or 0) for r in calls.records if r["user_id"] == user)
        for user in ("user-0", "user-1", "user-2")
    }
    dry = system.run_json("rerate", *calls.window(), "--dry-run")
    assert (dry["dry_run"], dry["corrections"], dry["posted"], dry["recorded"]) == (True, 10, 0, 0)
    assert system.value("SELECT sum(next_offset) FROM ledger.sink_offsets") == entries
    assert system.run_json("reconcile", "--wait", "10")["consumed"] == entries
    table = {(row["user_id"], row["service"]): row for row in dry["changes"]}
    assert set(table) == {(user, "maps") for user in differences}
    for user, difference in differences.items():
        row = table[user, "maps"]
        assert row["amount_before_usd"] == "0.00"
        assert int(row["difference_usd"].replace(".", "").ljust(13, "0")) == difference
    assert (table["user-0", "maps"]["unpriced_before"], table["user-0", "maps"]["unpriced_after"]) == (4, 1)
    (left,) = dry["unrated"]
    assert (left["finding"], left["operation"], left["entries"]) == ("still unpriced", "route", 1)

    only = system.run_json("rerate", *calls.window(), "--user", "user-0", "--service", "maps", "--dry-run")
    assert [row["user_id"] for row in only["changes"]] == ["user-0"]
    assert system.run_json("rerate", *calls.window(49), "--dry-run")["corrections"] == 9

    done = system.run_json("rerate", *calls.window())
    assert (done["ok"], done["corrections"], done["posted"], done["recorded"]) == (True, 10, 20, 20)
    assert {key: done[key] for key in ("changes", "unrated")} == {key: dry[key] for key in ("changes", "unrated")}
    calls.assert_everywhere(wanted)
    again = system.run("rerate", *calls.window()).stdout
    assert "0 of" in again
    assert "still unpriced: maps route, per call: 1 entries" in again
    assert system.value("SELECT count(*) FROM ledger.entries") == entries + 20

    book = calls.lay_prices(MAPS.replace("0.0050000000000005", "0.0005"), CHEAPER_IMAGES)
    assert system.run_json("rerate", *calls.window())["corrections"] == 11
    calls.assert_everywhere(amounts_of(calls.records, book))

    calls.lay_prices()
    gone = system.run_json("rerate", *calls.window())
    assert gone["corrections"] == 1  # the images are back at the shipped price
    assert {(one["finding"], one["operation"], one["entries"]) for one in gone["unrated"]} == {
        ("no longer in the price book", "geocode", 10),
        ("still unpriced", "route", 1),
    }
    calls.assert_everywhere({**amounts_of(calls.records, book), calls.records[12]["event_id"]: 5 * 10**9})
    assert system.sql("SELECT alert_id FROM ledger.alerts ORDER BY 1") == before
    assert system.run_json("quarantine", "list")["waiting"] == {}


@pytest.mark.fault
@pytest.mark.slow
def test_a_run_that_is_cut_off_is_completed_by_the_next(system, calls) -> None:
    """Killed between reversing and new entries, or stopped by Ctrl-C, or doubled: in the end each call counts once."""
    _, sink, _ = system.start_all()
    unpriced_calls(calls, 30)
    calls.send()
    system.await_entries(30)
    book = calls.lay_prices(MAPS)
    wanted = amounts_of(calls.records, book)

    killed = harmed(calls, "between", "SIGKILL", *calls.window())
    assert killed.returncode == -signal.SIGKILL
    system.await_entries(37)
    assert system.value("SELECT count(*) FROM ledger.entries WHERE reverses_event_id IS NOT NULL") == 7
    assert system.await_reconciled()["unpriced"] == 23
    shown = system.run_json("rerate", *calls.window(), "--dry-run")
    assert (shown["completed"], shown["corrections"]) == (7, 23)

    stopped = harmed(calls, "between", "SIGINT", *calls.window(), "--json")
    assert stopped.returncode == 130, stopped.stderr
    document = json.loads(stopped.stdout)
    assert [document[name] for name in ("stopped", "completed", "corrections", "posted")] == [True, 7, 0, 7]
    assert "stopping after this step" in stopped.stderr
    system.await_entries(44)

    # Without a sink the ledger does not know of the first run: the second posts the same events again.
    system.stop(sink)
    for _ in range(2):
        done = system.run("rerate", *calls.window(), "--wait", "0", "--json", check=False)
        assert done.returncode == 1
        owed = json.loads(done.stdout)
        assert owed["posted"] == 46
        assert owed["lag_after"] > 0
    assert owed["lag_before"] == 46
    system.start("sink")
    calls.assert_everywhere(wanted)
    assert system.value("SELECT count(*) FROM ledger.entries") == 90
    assert system.value("SELECT sum(duplicates) FROM ledger.sink_offsets") == 46
    last = system.run_json("rerate", *calls.window())
    assert (last["corrections"], last["completed"], last["posted"]) == (0, 0, 0)
    assert system.run_json("quarantine", "list")["waiting"] == {}


@pytest.mark.slow
def test_two_runs_at_once_do_not_double(system, calls) -> None:
    """One does the work; the other does the rest of it, or is told to wait."""
    system.start_all()
    unpriced_calls(calls, 12)
    calls.send()
    system.await_entries(12)
    wanted = amounts_of(calls.records, calls.lay_prices(MAPS))
    runs = [
        subprocess.Popen(
            system.command("rerate", *calls.window()),
            env={**os.environ, **system.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [run.communicate(timeout=timedelta(minutes=2).total_seconds()) for run in runs]
    assert sorted(run.returncode for run in runs) in ([0, 0], [0, 1])
    for run, (_, error) in zip(runs, told, strict=True):
        assert run.returncode == 0 or "rated again by another process" in error
    calls.assert_everywhere(wanted)
    assert system.value("SELECT count(*) FROM ledger.entries") == 36
