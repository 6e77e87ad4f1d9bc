"""One poison message in a hundred, then nothing but poison: each put aside once, until the sink's limit stops it (F15)."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from tests.fault.hostile.conftest import HostileSystem
from tests.sinks.conftest import random_events

from costledger.schemas.codec import encode_event

pytestmark = [pytest.mark.fault, pytest.mark.long]

GOOD = 6_000
POISON = 3_000
WINDOW = 1_000


def poison(rng: random.Random) -> bytes:
    """Bytes that are no event, of a kind by chance."""
    good = bytearray(encode_event(random_events(rng.randrange(2**32), 1)[0].to_record()))
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 200))
    if kind == 1:
        return bytes(good[: rng.randrange(len(good))])
    if kind == 2:
        return bytes(good) + b"\x00"
    good[2:10] = rng.randbytes(8)
    return bytes(good)


def test_poison_is_put_aside_until_the_limit_stops_the_sink(hostile: HostileSystem, seed: int) -> None:
    """1 %: every neighbour lands. 100 %: the sink ends with 1 and says which limit, nothing of before is lost, and the
    stream goes on. With the limit raised the rest is put aside, listed, and replayed once."""
    rng = random.Random(seed)
    hostile.environment["COSTLEDGER_SINK_BAD_WINDOW_EVENTS"] = str(WINDOW)
    stream, sink = hostile.start("stream"), hostile.start("sink")
    events = random_events(seed, GOOD)
    messages = [(event.user_id.encode(), encode_event(event.to_record())) for event in events]
    bad = GOOD // 100
    for _ in range(bad):
        messages.insert(rng.randrange(len(messages)), (b"user-001", poison(rng)))
    hostile.send_raw(messages)
    hostile.await_read(120)
    assert hostile.value("SELECT count(*) FROM ledger.entries") == GOOD
    assert hostile.value("SELECT count(*) FROM ledger.quarantine") == bad

    hostile.send_raw([(f"user-{number % 20:03d}".encode(), poison(rng)) for number in range(POISON)])
    assert sink.wait(60) == 1
    said = re.search(
        r"(\d+) of the last (\d+) events are bad; at most (\d+) may be \(COSTLEDGER_SINK_", hostile.log_of("sink")
    )
    assert said is not None
    found, of, most = map(int, said.groups())
    # Of a batch that is larger than the window the same share may be bad.
    assert most == max(of, WINDOW) // 2 < found
    assert hostile.value("SELECT count(*) FROM ledger.entries") == GOOD
    aside = hostile.value("SELECT count(*) FROM ledger.quarantine")
    assert aside < bad + POISON
    hostile.wait_until(lambda: len(hostile.dead_letters()) >= bad + POISON, 60, "a dead letter of each")
    assert stream.poll() is None

    hostile.environment["COSTLEDGER_SINK_BAD_SHARE_MAX"] = "1"
    sink = hostile.start("sink")
    hostile.await_read(120)
    assert hostile.value("SELECT count(*) FROM ledger.quarantine") == bad + POISON
    places = Counter(
        (headers["partition"], headers["offset"]) for headers in (dict(one.headers()) for one in hostile.dead_letters())
    )
    assert len(places) == bad + POISON
    assert set(places.values()) == {1}
    hostile.await_reconciled(120)
    _replay(hostile, bad + POISON)
    for worker in (stream, sink):
        hostile.stop(worker)


def _replay(hostile: HostileSystem, waiting: int) -> None:
    listed, after = 0, 0
    while page := hostile.run_json("quarantine", "list", "--limit", "1000", "--after", str(after))["messages"]:
        listed += len(page)
        after = page[-1]["id"]
    assert listed == waiting
    hostile.run("quarantine", "replay", "--all")
    hostile.await_read(120)
    # Poison stays poison: each is put aside again, at its new place, and the first row says that it was replayed.
    assert hostile.value("SELECT count(*) FROM ledger.quarantine WHERE replayed_at IS NOT NULL") == waiting
    assert hostile.value("SELECT count(*) FROM ledger.quarantine WHERE replayed_at IS NULL") == waiting
    assert hostile.value("SELECT count(*) FROM ledger.entries") == GOOD
