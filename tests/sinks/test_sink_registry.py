"""A sink while its schema registry is away: it rests between its questions, says so, and goes on by itself."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Running, Topic, make_event

from costledger.schemas.codec import encode_event
from costledger.schemas.errors import Unavailable
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.schemas.settings import Settings
from costledger.sinks import batch, rows

LATER = b"later"


def test_a_sink_whose_registry_is_away_rests_between_its_questions(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    start_sink: Callable[..., Running],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks about once a second, not as often as it can; other partitions go on meanwhile."""
    asked: list[float] = []
    registry_is_there = threading.Event()
    payload = encode_event(make_event("late").to_record())

    def read_or_wait(given: bytes, received_us: int | None) -> ReadEvent:
        if given != LATER:
            return read_event(given, received_us)
        if not registry_is_there.is_set():
            asked.append(time.monotonic())
            raise Unavailable("the registry is away")
        return read_event(payload, received_us)

    for module in filter(None, (batch, rows, sys.modules.get("costledger.sinks._rows"))):
        monkeypatch.setattr(module, "read_event", read_or_wait)
    sink = start_sink(settings)
    topic.send_to(0, [(b"late", LATER)])
    wait_until(lambda: asked, 30, "the registry is asked")
    topic.send_to(1, [(b"u", payload)])
    wait_until(lambda: ledger.consumed() == 1, 30, "another partition goes on")
    wait_until(lambda: len(asked) >= 4, 30, "the registry is asked again and again")
    assert sink.worker.health() == (False, "the registry is away")
    pauses = [later - before for before, later in pairwise(asked)]
    assert min(pauses) > 0.5
    registry_is_there.set()
    wait_until(lambda: ledger.consumed() == 2, 30, "all is written")
    wait_until(lambda: sink.worker.health()[0], 30, "nothing is wrong any more")
    assert sink.stop() == 0
