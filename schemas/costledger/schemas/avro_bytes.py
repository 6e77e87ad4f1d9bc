"""Avro's binary encoding of single values (Avro 1.12 specification), for those who put records together themselves."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

NULL: Final = b"\x00"
NOT_NULL: Final = b"\x02"
_NUMBERS_REMEMBERED_MAX: Final = 4096


def varint(number: int) -> bytes:
    """A number from 0 up in groups of 7 bits, the least first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


@lru_cache(_NUMBERS_REMEMBERED_MAX)
def integer(number: int) -> bytes:
    """Avro's int and long: zig-zag, then groups of 7 bits."""
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def text_bytes(text: str) -> bytes:
    """A string: its length in bytes, and UTF-8."""
    data = text.encode()
    return varint(len(data) << 1) + data


def nullable_text(text: str | None) -> bytes:
    """A union of null and string."""
    return NULL if text is None else NOT_NULL + text_bytes(text)
