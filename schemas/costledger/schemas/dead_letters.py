"""What a dead letter carries: the bytes as they came, and headers that say why and from where."""

from __future__ import annotations


def dead_letter_headers(reason: str, error: str, topic: str, partition: int, offset: int) -> list[tuple[str, bytes]]:
    """Headers of a message on `cost.events.dlq`: `error` for people, `reason` a stable code, and the place."""
    headers = {
        "error": error,
        "reason": reason,
        "topic": topic,
        "partition": str(partition),
        "offset": str(offset),
    }
    # A lone surrogate in a refused value must not stop the refusal.
    return [(name, value.encode("utf-8", "backslashreplace")) for name, value in headers.items()]
