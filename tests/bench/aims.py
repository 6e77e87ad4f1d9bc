"""What the project holds itself to: ratios to peers, and times of its own."""

from __future__ import annotations

from typing import Final

#: By name and peer: at least so many times the peer's rate.
RATIOS_MIN: Final = {
    "stream": {
        "raw_aiokafka": 0.7,
        "faust_documented": 30.0,
        "quix_keyed": 2.5,
        "bytewax": 1.1,
        "kafka_streams": 0.6,
    },
    "stream_month": {"raw_aiokafka": 0.7},
    "sink": {"raw_copy": 0.4, "debezium_jdbc": 2.5, "multi_row_insert": 3.5},
}
#: At most so many times the peer's cost.
RATIOS_MAX: Final = {
    "sdk_memory": {"encode_and_produce": 1.5},
    "sdk_spool": {"encode_and_produce": 3.0},
}
#: In the unit of the figure itself.
VALUES_MAX: Final = {
    "sdk_call_p99": 100.0,
    "latency_redis": 1_000.0,
    "latency_alert": 1_000.0,
    "latency_ledger": 1_000.0,
}


def judged(name: str, peer: str, ratio: float) -> str:
    """The aim beside a peer and whether it is met, for people; empty where there is none."""
    if (least := RATIOS_MIN.get(name, {}).get(peer)) is not None:
        return f"{least:g}" + (": missed" if ratio < least else "")
    if (most := RATIOS_MAX.get(name, {}).get(peer)) is not None:
        return f"at most {most:g}" + (": missed" if ratio > most else "")
    return ""


def judged_value(name: str, value: float | None) -> str:
    """The same of a figure by itself; None is more than any."""
    if (limit := VALUES_MAX.get(name)) is None:
        return ""
    return f"ours at most {limit:g}" + (": missed" if value is None or value > limit else "")
