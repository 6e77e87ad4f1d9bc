"""The compiled short way on damaged bytes: it reads nothing beyond their end, and says what the Python code says."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from tests.fixtures.twins import WAYS, twin_in, using
from tests.schemas.samples import event_record

from costledger.schemas import encode_event, event_reading
from costledger.schemas.errors import DecodeError, InvalidValue
from costledger.schemas.event_reading import Tail, read_event

ROUNDS = 20_000


def test_whatever_the_bytes_both_ways_agree(seed: int) -> None:
    """Known events with bytes changed, put in, cut out, cut off and doubled."""
    twin_in(event_reading)
    random = Random(seed)
    maps = ({}, {"region": "eu-central-1"}, {"a": "b", "c": "d"}, {"a": ""}, {"ü": "x" * 62, "y": "z" * 63})
    events = [encode_event(event_record(metadata=texts, user_id=user)) for texts in maps for user in ("ann", "Zoë")]
    for data in events:
        read_event(data, None)
    for _ in range(ROUNDS):
        data = damaged(random.choice(events), random)
        outcomes = []
        for way in WAYS:
            with using(event_reading, way):
                outcomes.append(outcome_of(data))
        assert outcomes[0] == outcomes[1], data.hex()


def test_the_twin_reads_nothing_but_bytes() -> None:
    """Where the Python code raises a TypeError it does so too: there is no place in what is no bytes."""
    read_known = twin_in(event_reading)
    nothing: list[Any] = [None, "text", bytearray(80)]
    for data in nothing:
        with pytest.raises(TypeError):
            read_known(data, {}, {}, Tail)


def outcome_of(data: bytes) -> object:
    """The event, or what is said against it. Charges are compared by name: what is forgotten is made again."""
    try:
        event_id, user_id, charge, *rest = read_event(data, None)
    except (DecodeError, InvalidValue) as error:
        return f"{type(error).__name__}: {error}"
    return event_id, user_id, charge.key, charge.category, *rest


def damaged(data: bytes, random: Random) -> bytes:
    """One of many ways to damage bytes."""
    at, to = sorted(random.choices(range(len(data) + 1), k=2))
    any_bytes = random.randbytes(random.choice([1, 1, 1, 2, 9]))
    return random.choice(
        [
            data[:at],
            data[:at] + any_bytes + data[at + len(any_bytes) :],
            data[:at] + any_bytes + data[at:],
            data[:at] + data[to:],
            data[:to] + data[at:],
            data[:at] + bytes([data[min(at, len(data) - 1)] ^ 1 << random.randrange(8)]) + data[at + 1 :],
            data + any_bytes,
        ]
    )
