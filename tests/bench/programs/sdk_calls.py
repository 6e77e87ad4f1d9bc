"""What one event costs a service: our SDK, or the least that puts the same event on Kafka.

`python sdk_calls.py memory|spool|encode_and_produce|call_p99 BOOTSTRAP TOPIC SAMPLE_TOPIC EVENTS` prints JSON:
`microseconds` of CPU per event. The time is that of the whole process with all its threads, librdkafka's included, from the
first call until every event is acknowledged: it is what the host pays. The spool is on the disk of the working directory.
`encode_and_produce` takes its events from SAMPLE_TOPIC, where the tracker has put them before.

`call_p99` is another time: how long a call of the mode `memory` keeps its caller, the 99th percentile, whether a broker is
there or not. The first calls, up to half of EVENTS, fill the queue; the others find it full where no broker is there. Of each the
median and the 99th percentile (`queued_p50`, ...) and how many `dropped`; `microseconds` is the worse 99th percentile.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from costledger.producers import CostTracker
from costledger.producers.channel import producer_config
from costledger.schemas.codec import SINGLE_OBJECT_MARKER, current_schema, schema_fingerprint, without_logical_types
from costledger.schemas.settings import load_settings

USERS = 2_000
WARM_UP_EVENTS = 2_000
#: Both wait for the broker after so many events, so that no queue runs full.
FLUSH_EVENTS = 20_000
SAMPLE_EVENTS_MAX = 10_000
TIMEOUT_SECONDS = 60.0


def cpu_us(send: Callable[[int], None], flush: Callable[[], None], events: int) -> float:
    """Microseconds of CPU per event; `send(number)` sends one of them."""
    for number in range(WARM_UP_EVENTS):
        send(number)
    flush()
    started = time.process_time()
    for number in range(events):
        send(number)
        if not number % FLUSH_EVENTS:
            flush()
    flush()
    return (time.process_time() - started) / events * 1e6


def track(bootstrap: str, topic: str, events: int, durability: str) -> float:
    """With the tracker: one call each of five services in turn."""
    spool_dir = Path.cwd() / "spool"
    tracker = CostTracker(bootstrap, "bench", durability, spool_dir, topic=topic, strict=True)
    send = sender(tracker)

    def flush() -> None:
        if left := tracker.flush(TIMEOUT_SECONDS):
            raise TimeoutError(f"{left} events were not acknowledged within {TIMEOUT_SECONDS:g} s")

    cost = cpu_us(send, flush, events)
    stats = tracker.stats()
    if stats["acked"] != events + WARM_UP_EVENTS or stats["unspooled"]:
        raise RuntimeError(f"{events + WARM_UP_EVENTS} events were tracked, but {stats}")
    tracker.close()
    return cost


def call_p99(bootstrap: str, topic: str, events: int) -> dict[str, float]:
    """How long calls take, one after the other without a rest, in microseconds: those that fill the queue, and those after.

    The queue holds half as many events, those of the warm-up included: without a broker the later ones are dropped.
    """
    tracker = CostTracker(bootstrap, "bench", topic=topic, queue_events_max=events // 2, flush_timeout_seconds=0.1)
    send, clock = sender(tracker), time.perf_counter_ns
    for number in range(WARM_UP_EVENTS):
        send(number)
    took = []
    for number in range(events):
        began = clock()
        send(number)
        took.append(clock() - began)
    dropped = tracker.stats()["dropped"]
    tracker.close()
    return {**call_figures(took, events // 2 - WARM_UP_EVENTS), "dropped": dropped}


def call_figures(took_ns: list[int], queued: int) -> dict[str, float]:
    """Percentiles in microseconds of the first `queued` calls and of the others; the value is the worse 99th."""
    figures: dict[str, float] = {}
    for name, some in (("queued", sorted(took_ns[:queued])), ("dropped", sorted(took_ns[queued:]))):
        for percent in (50, 99):
            figures[f"{name}_p{percent}"] = some[len(some) * percent // 100] / 1_000
    return {"microseconds": max(figures["queued_p99"], figures["dropped_p99"]), **figures}


def sender(tracker: CostTracker) -> Callable[[int], None]:
    """One call each of five services in turn."""
    users = [f"user-{number:05d}" for number in range(USERS)]
    calls: list[Callable[[str, int], object]] = [
        lambda user, n: tracker.track_rekognition(user, "detectLabels", n),
        tracker.track_transcribe,
        lambda user, n: tracker.track_comprehend(user, "detectSentiment", 100 * n),
        lambda user, n: tracker.track_s3(user, "put", n),
        lambda user, n: tracker.track_embedding(user, "text-embedding-3-small", 1_000 * n),
    ]

    def send(number: int) -> None:
        calls[number % len(calls)](users[number % USERS], 1 + number % 9)

    return send


def encode_and_produce(bootstrap: str, topic: str, sample_topic: str, events: int) -> float:
    """With fastavro and a producer of the same settings; nothing is built, priced, checked, counted or reported."""
    description = current_schema("cost_event")
    prefix = SINGLE_OBJECT_MARKER + schema_fingerprint(description)
    schema = fastavro.parse_schema(without_logical_types(description))
    records = sample(bootstrap, sample_topic, schema, len(prefix))
    producer = Producer(producer_config(load_settings(bootstrap_servers=bootstrap)))
    write, produce, following = fastavro.schemaless_writer, producer.produce, cycle(records)

    def send(number: int) -> None:
        record = next(following)
        out = BytesIO()
        out.write(prefix)
        write(out, schema, record)
        produce(topic, out.getvalue(), record["user_id"].encode())

    def flush() -> None:
        if left := producer.flush(TIMEOUT_SECONDS):
            raise TimeoutError(f"{left} events were not acknowledged within {TIMEOUT_SECONDS:g} s")

    return cpu_us(send, flush, events)


def sample(bootstrap: str, topic: str, schema: Any, header_bytes: int) -> list[dict[str, Any]]:
    """Records that the tracker has put on a topic; `TimeoutError` where there are none."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-sample", "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, TIMEOUT_SECONDS).topics[topic].partitions
    places = [TopicPartition(topic, number, 0) for number in partitions]
    there = sum(consumer.get_watermark_offsets(place, TIMEOUT_SECONDS)[1] for place in places)
    consumer.assign(places)
    records: list[dict[str, Any]] = []
    wanted = min(there, SAMPLE_EVENTS_MAX)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(records) < max(1, wanted):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} gave {len(records)} of {wanted} events within {TIMEOUT_SECONDS:g} s")
        for message in consumer.consume(1_000, 1.0):
            value = message.value()
            if message.error() is None and isinstance(value, bytes):
                record: Any = fastavro.schemaless_reader(BytesIO(value[header_bytes:]), schema, None)
                records.append(record)
    consumer.close()
    return records


def main() -> None:
    """Run one of the four and print what it found."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    contender, bootstrap, topic, sample_topic, events = sys.argv[1:]
    if contender == "encode_and_produce":
        found = {"microseconds": encode_and_produce(bootstrap, topic, sample_topic, int(events))}
    elif contender == "call_p99":
        found = call_p99(bootstrap, topic, int(events))
    else:
        found = {"microseconds": track(bootstrap, topic, int(events), contender)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
