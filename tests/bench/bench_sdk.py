"""`sdk_memory`, `sdk_spool`: CPU per event of the tracker in these modes, against encoding and producing the same event.

`sdk_call_p99`: how long a call in the mode `memory` keeps its caller while no broker is there, against the same with one.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tests.bench.kafka import create_topic
from tests.bench.ledgers import WrongResult
from tests.bench.processes import ProgramFailed, environment
from tests.bench.rates import Contender, medians_of

EVENTS_MAX = 100_000
#: Twice what the queue of the tracker holds as shipped.
CALLS = 200_000
#: Of which the program's own warm-up takes a part of the queue.
WARM_UP_CALLS = 2_000
SAMPLE_EVENTS = 10_000
#: The peer of both modes.
PEER = "encode_and_produce"
#: The peer of the calls without a broker.
BROKER_THERE = "broker_there"
_TOPIC = "bench.sdk.events"
_SAMPLE_TOPIC = "bench.sdk.sample"
_CALLS_TOPIC = "bench.sdk.calls"
_RUN_SECONDS_MAX = 300.0
_PROGRAM = str(Path(__file__).with_name("programs") / "sdk_calls.py")

_Contender = Literal["memory", "spool", "encode_and_produce", "call_p99"]


class SdkBench:
    """The contenders for putting one event on Kafka, each in a process of its own."""

    def __init__(self, services: Mapping[str, str], folder: Path, events: int) -> None:
        self._bootstrap = services["COSTLEDGER_BOOTSTRAP_SERVERS"]
        self._folder = folder
        self._events = min(events, EVENTS_MAX)
        self._calls: list[dict[str, float]] = []

    def contenders(self) -> dict[str, Contender]:
        """Ours first; each returns microseconds of CPU per event of one run."""
        return {
            "sdk_memory": lambda: self._run("memory", _TOPIC, self._events),
            "sdk_spool": lambda: self._run("spool", _TOPIC, self._events),
            PEER: lambda: self._run("encode_and_produce", _TOPIC, self._events),
        }

    def calls(self) -> dict[str, Contender]:
        """Ours first; each returns the 99th percentile of a call, in microseconds: of those that fill the queue, or of
        those after, whichever is worse."""
        return {
            "sdk_call_p99": self._call_without_broker,
            BROKER_THERE: lambda: self._run("call_p99", _CALLS_TOPIC, CALLS),
        }

    def call_fields(self) -> dict[str, Any]:
        """Medians of both kinds of our calls, for the document."""
        return {"calls_us": medians_of(self._calls, 1)}

    def prepare(self) -> None:
        """Make the topics, and have the tracker write the sample that its peer sends."""
        for topic in (_TOPIC, _SAMPLE_TOPIC, _CALLS_TOPIC):
            create_topic(self._bootstrap, topic)
        self._run("memory", _SAMPLE_TOPIC, SAMPLE_EVENTS)

    def _call_without_broker(self) -> float:
        with socket.socket() as taken:
            # Nobody listens there, and nobody else can while it is taken.
            taken.bind(("127.0.0.1", 0))
            found = self._found("call_p99", _CALLS_TOPIC, CALLS, f"127.0.0.1:{taken.getsockname()[1]}")
        value = found.pop("microseconds")
        check_dropped(found.pop("dropped"))
        self._calls.append(found)
        return value

    def _run(self, contender: _Contender, topic: str, events: int) -> float:
        return self._found(contender, topic, events)["microseconds"]

    def _found(self, contender: _Contender, topic: str, events: int, bootstrap: str | None = None) -> dict[str, float]:
        done = subprocess.run(
            [sys.executable, _PROGRAM, contender, bootstrap or self._bootstrap, topic, _SAMPLE_TOPIC, str(events)],
            cwd=self._folder,
            env=environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_RUN_SECONDS_MAX,
        )
        if done.returncode != 0:
            raise ProgramFailed(f"{contender} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        found: dict[str, float] = json.loads(done.stdout)
        return found


def check_dropped(dropped: float) -> None:
    """`WrongResult` unless as many calls found the queue full as came after it was: else the percentiles mix both kinds."""
    wanted = CALLS // 2 + WARM_UP_CALLS
    if dropped != wanted:
        raise WrongResult(f"{dropped:g} events were dropped without a broker; {wanted} came when the queue was full")
