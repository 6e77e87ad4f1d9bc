"""NUL, lone surrogates, bad UTF-8, bidi controls and a megabyte in every text of every message: refused once, or kept whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from tests.fault.hostile import texts
from tests.fault.hostile.conftest import HostileSystem
from tests.schemas.samples import alert
from tests.sinks.conftest import make_event

from costledger.producers import CostTracker
from costledger.schemas.budgets import Budget
from costledger.schemas.codec import encode_alert, encode_budget, encode_event
from costledger.schemas.errors import InvalidEvent

FINE_IN_METADATA = ["\u202euser", "\u2028", " ", ""]
STR_TEXTS = ["a\x00b", "\ud800", "\udfffab", *FINE_IN_METADATA, "x" * 2**20]


@pytest.mark.fault
def test_hostile_texts_in_every_message(hostile: HostileSystem) -> None:
    """Events, budgets and alerts with them are put aside once with a reason, their neighbours land, and nobody stops.

    As keys of messages they do no harm: keys are not read.
    """
    workers = hostile.start_all()
    bad_events = list(texts.events())
    fine = [one for one in bad_events if one[0].startswith("metadata") and one[1] in texts.FINE_IN_METADATA]
    neighbours = [make_event(f"user-{number:03d}") for number in range(len(bad_events))]
    bad_keys = [*texts.TEXTS.values(), None, b""]
    # Each of a user of its own, for the real-time totals are right only while a user has one key.
    under_bad_keys = [(key, make_event(f"key-{number}")) for number, key in enumerate(bad_keys)]
    messages: list[tuple[bytes | None, bytes]] = []
    for (_, _, bad), good in zip(bad_events, neighbours, strict=True):
        messages += [(b"ann", bad), (good.user_id.encode(), encode_event(good.to_record()))]
    messages += [(key, encode_event(event.to_record())) for key, event in under_bad_keys]
    hostile.send_raw(messages)
    _send_budgets(hostile)
    _send_alerts(hostile)
    hostile.await_read()
    hostile.await_entries(len(neighbours) + len(under_bad_keys) + len(fine))
    _check_refusals(hostile, refused_events=len(bad_events) - len(fine))
    hostile.await_reconciled()
    for worker in workers:
        hostile.stop(worker)


def _send_budgets(hostile: HostileSystem) -> None:
    good = Budget(user_id="user-000", version=1, monthly_budget=10**12)
    messages: list[tuple[bytes | None, bytes | None]] = [
        (b"user-000", message) for _, _, message in texts.budgets("user-000")
    ]
    # Deletions, under keys that no user has.
    messages += [(text, None) for text in texts.TEXTS.values()]
    hostile.send_raw([*messages, (b"user-000", encode_budget(good))], "cost.budgets")


def _send_alerts(hostile: HostileSystem) -> None:
    messages: list[tuple[bytes | None, bytes | None]] = [(b"user-0001", message) for _, _, message in texts.alerts()]
    hostile.send_raw([*messages, (b"user-0001", encode_alert(replace(alert(), message="the last")))], "cost.alerts")


def _check_refusals(hostile: HostileSystem, refused_events: int) -> None:
    budgets = len(list(texts.budgets("user-000"))) + len(texts.TEXTS)
    refused = Counter(
        reason
        for _, _, reason in hostile.sql(
            'SELECT DISTINCT partition, "offset", reason FROM ledger.quarantine WHERE topic = %s', hostile.events_topic
        )
    )
    assert sum(refused.values()) == refused_events
    assert (
        hostile.value("SELECT count(*) FROM ledger.quarantine WHERE topic = %s", hostile.events_topic) == refused_events
    )
    # None of them came as far as PostgreSQL, which knows no NUL.
    assert refused["data_error"] == 0
    alerts = len(list(texts.alerts())) + 1
    hostile.wait_until(
        lambda: hostile.value("SELECT count(*) FROM ledger.alerts WHERE message = 'the last'") == 1,
        30,
        "the last alert",
    )
    stored = hostile.value("SELECT count(*) FROM ledger.alerts")
    aside = hostile.value(
        "SELECT count(*) FROM ledger.quarantine WHERE topic = %s", f"{hostile.topic_prefix}cost.alerts"
    )
    assert stored + aside == alerts
    assert aside >= len(texts.ALERT_FIELDS) * (len(texts.TEXTS) - len(texts.FINE_IN_METADATA))
    hostile.wait_until(
        lambda: len(hostile.dead_letters()) == refused_events + budgets,
        30,
        "a dead letter of each refused event and budget",
    )
    places = Counter(
        (headers[b"topic"], headers[b"partition"], headers[b"offset"])
        for headers in ({name.encode(): value for name, value in one.headers()} for one in hostile.dead_letters())
    )
    assert set(places.values()) == {1}


def test_no_hostile_text_passes_the_sdk() -> None:
    """An event with such a text is refused where it is made, by the field's name, and the host goes on.

    Metadata may hold any text that PostgreSQL can.
    """
    fields = [*texts.EVENT_FIELDS[1:9], "metadata key", "metadata value"]
    dropped = []
    tried = []
    with CostTracker(bootstrap_servers="127.0.0.1:1", flush_timeout_seconds=0, on_error=dropped.append) as tracker:
        for field, text in product(fields, STR_TEXTS):
            is_metadata = field.startswith("metadata")
            if is_metadata and text in FINE_IN_METADATA:
                continue
            changes = (
                {"metadata": {text: "v"} if field.endswith("key") else {"k": text}} if is_metadata else {field: text}
            )
            tracker.emit(replace(make_event("ann"), **changes))
            tried.append(field.split()[0])
        assert tracker.stats()["rejected"] == len(tried)
    assert [one.__cause__.field.split("[")[0] for one in dropped] == tried
    assert {type(one.__cause__) for one in dropped} == {InvalidEvent}
