"""The process of the embedded broker: prints its address, serves until its standard input ends.

Run by path with `python -I`. The broker belongs to the client object that asked for it, and ends with it.
"""

from __future__ import annotations

import sys

from confluent_kafka import Producer

ANSWER_TIMEOUT_SECONDS = 10.0


def main() -> None:
    """Serve until end of file. KafkaException when the broker does not answer itself."""
    owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "replaced.by.librdkafka:1"})
    broker = next(iter(owner.list_topics(timeout=ANSWER_TIMEOUT_SECONDS).brokers.values()))
    sys.stdout.write(f"{broker.host}:{broker.port}\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
