"""A message as a Kafka client hands it over, for what needs no client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.sinks.conftest import make_event

from costledger.schemas.codec import encode_event

GOOD = encode_event(make_event("u").to_record())


@dataclass
class Delivered:
    """A message at its place; or an error of the client's."""

    on: int | None
    at: int
    payload: bytes | None = GOOD
    wrong: str | None = None
    stored: tuple[int, int] = (0, -1)

    def error(self) -> Any | None:
        return self.wrong

    def partition(self) -> int | None:
        return self.on

    def offset(self) -> int | None:
        return self.at

    def key(self) -> bytes | None:
        return None

    def value(self) -> bytes | None:
        return self.payload

    def timestamp(self) -> tuple[int, int]:
        return self.stored
