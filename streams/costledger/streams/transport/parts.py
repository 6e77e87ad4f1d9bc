"""Values too large for their place: stored in parts beside the record that names them. Pure.

All changes of a group must land in one record batch, and a batch is bounded. Where a group is larger, its
largest values are written first, cut into parts under keys of their own that are never used again; the record
in the group then only names its parts. So the group still lands as a whole or not at all, and the parts of the
value before it are deleted afterwards. Parts that no record names (of a group that never landed) are found in
recovery.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass

PART_PREFIX = b"\xff"
"""Keys of parts begin with it, so keys of a handler must not."""
PARTS_HEADER = "parts"
NAMING_BYTES = 64
"""An upper bound of what naming its parts costs a record."""
_NAME_BYTES = 16
_INDEX = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Parts:
    """A value that is stored in `count` parts under a random name."""

    name: bytes
    count: int

    def part_keys(self) -> list[bytes]:
        """The keys of the parts, in order."""
        return [PART_PREFIX + self.name + _INDEX.pack(index) for index in range(self.count)]

    def header(self) -> tuple[str, bytes]:
        """The header that names the parts."""
        return PARTS_HEADER, self.name + _INDEX.pack(self.count)

    @classmethod
    def of_header(cls, content: bytes) -> Parts:
        """The parts that `header` named."""
        return cls(content[:_NAME_BYTES], _INDEX.unpack_from(content, _NAME_BYTES)[0])


Value = bytes | Parts | None
"""What a changelog record says of its key: the value itself, where it is, or that there is none."""


def too_large(row_sizes: Sequence[int], value_sizes: Sequence[int], room: int) -> list[int]:
    """Which values of a group must go into parts, the largest first, so that its rows fit into `room` bytes.

    A group of very many small rows may still be too large then.
    """
    size = sum(row_sizes)
    chosen: list[int] = []
    if size > room:
        for index in sorted(range(len(value_sizes)), key=lambda each: -value_sizes[each]):
            if size <= room or value_sizes[index] <= NAMING_BYTES:
                break
            chosen.append(index)
            size -= value_sizes[index] - NAMING_BYTES
    return chosen


def cut(value: bytes, part_bytes_max: int) -> tuple[Parts, list[tuple[bytes, bytes]]]:
    """A value in parts: what names them, and (key, content) of each."""
    pieces = [value[start : start + part_bytes_max] for start in range(0, len(value), part_bytes_max)]
    parts = Parts(secrets.token_bytes(_NAME_BYTES), len(pieces))
    return parts, list(zip(parts.part_keys(), pieces, strict=True))
