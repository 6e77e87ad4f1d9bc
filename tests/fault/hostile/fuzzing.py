"""Hostile bytes for the codec, made from good messages; run as a program it tries them within bounds of memory and time.

`python -m tests.fault.hostile.fuzzing SEED INPUTS` ends with 0 and a line of JSON, or with the input that broke a promise.
"""

from __future__ import annotations

import json
import logging
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import fastavro
from tests.fault.harness.wire import varint
from tests.schemas.samples import LONG_MAX, LONG_MIN, NOW_US, alert, event_record

from costledger.schemas import codec
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import DecodeError, InvalidValue, UnknownSchema
from costledger.schemas.events import check_event
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX
from costledger.schemas.topics import TopicNames
from costledger.sinks.batch import Gatherer

#: What decoding, checking and packing one input may take of the processor.
SECONDS_MAX = 0.05
#: Of an input that took longer: what it takes is the least of these.
ATTEMPTS_MAX = 3
#: Address space beyond what the program has when it begins.
MEMORY_BYTES_MAX = 256 * 2**20
BATCH_INPUTS = 500
OWN_ID, FOREIGN_ID = 1, 7
PIECES = [
    *(varint(number) for number in (0, 1, -1, 2, -2, 63, 64, -65, 2**31, -(2**31), 2**40, LONG_MIN, LONG_MAX)),
    *(b"\x00", b"\xff", b"\x80" * 9 + b"\x01", b"\xff" * 9 + b"\x01", b"\xff" * 12, b"\x80" * 20),
    *(b"\xed\xa0\x80", b"\xc0\x80", b"\xf8\x88\x80\x80\x80", "\u202e".encode(), b"\x06a\x00b", b"\x06\xed\xa0\x80"),
    *(codec.SINGLE_OBJECT_MARKER, codec.CONFLUENT_MARKER + OWN_ID.to_bytes(4, "big"), b"\x00\x00\x00\x00\x07"),
]


def foreign_schema() -> dict[str, Any]:
    """The schema of another's events: ours backwards, with a field of their own."""
    own = codec.current_schema("cost_event")
    extra = {"name": "extra", "type": {"type": "map", "values": "long"}}
    return {**own, "fields": [*own["fields"], extra][::-1]}


FOREIGN = fastavro.parse_schema(codec.without_logical_types(foreign_schema()))


class Registry:
    """A registry in memory: our schemas, a foreign one, and nothing else."""

    def id_of_schema(self, _subject: str, _schema: str) -> int:
        return OWN_ID

    def schema_of_id(self, schema_id: int) -> str:
        if schema_id != FOREIGN_ID:
            raise UnknownSchema(f"no schema {schema_id}")
        return json.dumps(foreign_schema())


class Fuzzer:
    """Makes inputs: good messages, changed in one to four places."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._fixed = [codec.encode_alert(alert()), codec.encode_budget(self._budget())]

    def input(self) -> bytes:
        """The next input."""
        rng = self._random
        data = bytearray(rng.choice([self._event, self._event, self._event, self._foreign, self._other])())
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            rng.choice([self._flip, self._cut, self._splice, self._insert, self._double, self._number])(data)
        return bytes(data)

    def _record(self) -> dict[str, Any]:
        rng = self._random
        texts = ["ann", "a\x00b", "\u202eann", " ", "", "é" * 64, "x" * 200, "\U0001f600" * 128, "\u2028", "a\u0301"]
        changes: dict[str, Any] = {}
        for name in ("user_id", "service", "operation", "unit", "source", "price_version", "unit_price"):
            if rng.random() < 0.1:
                changes[name] = rng.choice(texts)
        for name in ("amount", "quantity", "occurred_at"):
            if rng.random() < 0.1:
                changes[name] = rng.choice(
                    [LONG_MIN, LONG_MAX, 0, -1, AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX + 1]
                )
        if rng.random() < 0.2:
            changes["metadata"] = {
                rng.choice(texts) + str(n): rng.choice(texts) for n in range(rng.choice([0, 1, 33, 300]))
            }
        return event_record(**changes)

    def _event(self) -> bytes:
        return codec._EVENTS.encode(self._record())

    def _foreign(self) -> bytes:
        out = BytesIO()
        out.write(b"\x00" + self._random.choice([FOREIGN_ID] * 4 + [OWN_ID, 0, 2**31]).to_bytes(4, "big"))
        fastavro.schemaless_writer(out, FOREIGN, self._record() | {"extra": {"a": 1, "b": -1}})
        return out.getvalue()

    def _other(self) -> bytes:
        return self._random.choice([*self._fixed, b"", self._random.randbytes(self._random.randrange(300))])

    @staticmethod
    def _budget() -> Budget:
        thresholds = (Decimal(1), Decimal("75.5"), Decimal(100))
        return Budget(user_id="ann", version=3, monthly_budget=5, hourly_spike_limit=7, alert_thresholds=thresholds)

    def _place(self, data: bytearray) -> int:
        return self._random.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _cut(self, data: bytearray) -> None:
        place = self._place(data)
        del data[place : place + self._random.choice([1, 2, 8, len(data)])]

    def _splice(self, data: bytearray) -> None:
        other = self._event()
        data[self._place(data) :] = other[self._random.randrange(len(other)) :]

    def _insert(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._random.choice(PIECES)

    def _double(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = data[place : place + self._random.choice([1, 20, len(data)])] * self._random.choice(
            [1, 2, 40]
        )

    def _number(self, data: bytearray) -> None:
        place = self._place(data)
        data[place : place + 1] = self._random.choice(PIECES)


class Message(SimpleNamespace):
    """A message as the sink's client gives it: by methods."""

    def __init__(self, offset: int, value: bytes) -> None:
        places = {
            "error": None,
            "partition": 0,
            "offset": offset,
            "key": b"ann",
            "value": value,
            "timestamp": (2, NOW_US // 1000),
        }
        super().__init__(**{name: (lambda kept=kept: kept) for name, kept in places.items()})


def stream_accepts(inputs: list[bytes]) -> list[bool]:
    """What the stream makes of inputs: whether it counts each."""
    from prometheus_client import CollectorRegistry

    from costledger.streams.domain.rules import Rules
    from costledger.streams.handler import CostHandler
    from costledger.streams.instruments import Instruments
    from costledger.streams.transport import Batch
    from costledger.streams.view import connect

    names = TopicNames()
    redis = connect("redis://127.0.0.1:1/0")  # never asked
    handler = CostHandler(names, Rules(), redis, 100, "app", Instruments(CollectorRegistry()))
    handler.restore(0, [], lambda: True)
    records = [
        SimpleNamespace(offset=offset, key=b"ann", value=value, timestamp=NOW_US // 1000, headers=())
        for offset, value in enumerate(inputs)
    ]
    handler.process(Batch(names.events, 0, records))
    flush = handler.flush(0)
    outputs = [] if flush is None else flush.outputs
    refused = {int(dict(one.headers)["offset"]) for one in outputs if one.topic == names.dead_letters}
    return [offset not in refused for offset in range(len(inputs))]


def sink_accepts(inputs: list[bytes]) -> list[bool]:
    """What the sink makes of inputs: whether each becomes a row."""
    gatherer = Gatherer("cost.events", len(inputs), 2**40)
    gatherer.claim(0, 0, 1)
    messages = [Message(offset, value) for offset, value in enumerate(inputs)]
    place = 0
    while (place := gatherer.add_run(messages, place)) < len(messages):
        gatherer.add(messages[place])
        place += 1
    rows = {row.offset for row in gatherer.seal().rows}
    return [offset in rows for offset in range(len(inputs))]


def judge(data: bytes) -> str:
    """What becomes of one input as an event, after its promises were held against it; the reason, or "accepted"."""
    for decode in (codec.decode_budget, codec.decode_alert):
        _refused(decode, data)
    record = _refused(codec.decode_event, data)
    if not isinstance(record, dict):
        return str(record)
    reason = _refused(lambda one: check_event(one, NOW_US), record)
    if reason is not None:
        return str(reason)
    for _ in range(2):  # by fastavro, and by the short way that it taught
        assert codec.decode_event(codec.encode_event(record)) == record
    return "accepted"


def _refused(work: Callable[[Any], Any], data: Any) -> Any:
    """What the work gives, or the reason of its refusal; any other error is a broken promise, and so is want of memory."""
    try:
        return work(data)
    except (DecodeError, InvalidValue) as error:
        if isinstance(error.__cause__, (MemoryError, RecursionError)):
            raise error.__cause__ from error
        return getattr(error, "reason", "invalid_budget")


def run(seed: int, inputs: int) -> dict[str, Any]:
    """Try so many inputs; the share of each outcome, and the longest time that one took. AssertionError shows the input."""
    codec.configure_registry(Registry())
    fuzzer = Fuzzer(seed)
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    for start in range(0, inputs, BATCH_INPUTS):
        made = [fuzzer.input() for _ in range(min(BATCH_INPUTS, inputs - start))]
        verdicts = []
        for data in made:
            began = time.thread_time()
            try:
                verdicts.append(judge(data))
            except BaseException as error:
                raise AssertionError(f"seed {seed}, input {data.hex()}: {error!r}") from error
            seconds = time.thread_time() - began
            # Once more where it took too long: a collection of garbage, or the machine, may have come in between.
            for _ in range(ATTEMPTS_MAX if seconds >= SECONDS_MAX else 0):
                began = time.thread_time()
                judge(data)
                seconds = min(seconds, time.thread_time() - began)
            slowest = max(slowest, seconds)
        outcomes.update(verdicts)
        told = zip(made, verdicts, sink_accepts(made), stream_accepts(made), strict=True)
        for data, verdict, sink, stream in told:
            # Codec and checks by themselves, and the shorter ways that sink and stream take.
            assert sink == stream == (verdict == "accepted"), (
                f"seed {seed}, input {data.hex()}: it is {verdict}, the sink says {sink}, the stream {stream}"
            )
    return {"outcomes": outcomes, "slowest_seconds": slowest}


def limit_memory() -> None:
    """Let this process have so much more address space than it has, and no further."""
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES_MAX,) * 2)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # the stream tells of each batch with refused records
    stream_accepts([])
    limit_memory()
    sys.stdout.write(json.dumps(run(int(sys.argv[1]), int(sys.argv[2]))) + "\n")
