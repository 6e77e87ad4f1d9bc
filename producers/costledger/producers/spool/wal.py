"""SQLite's write-ahead log, read without SQLite: whether it holds more than SQLite would take from it.

SQLite recovers a log up to the last commit whose frames all fit their checksums, and says nothing of what follows. What
follows is mostly harmless: frames of an earlier cycle (other salts), or a transaction that a kill has cut (no commit).
A commit of the current cycle that fits the frame before it was once acknowledged to its writer: with it behind a frame
that does not fit, the log is damaged. Format: sqlite.org/fileformat2.html#the_write_ahead_log.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

_HEADER: Final = struct.Struct(">8I")
_FRAME_HEADER: Final = struct.Struct(">6I")
#: The magic number says in which order of bytes the words of the checksums are taken.
_PAIRS: Final = {0x377F0682: struct.Struct("<II"), 0x377F0683: struct.Struct(">II")}
_SUMMED_HEADER_BYTES: Final = 24
_SUMMED_FRAME_HEADER_BYTES: Final = 8
_PAGE_BYTES_MIN: Final = 512
_PAGE_BYTES_MAX: Final = 65_536
_WORD: Final = 0xFFFF_FFFF

Sums = tuple[int, int]


def log_damage(log: BinaryIO) -> str | None:
    """What is wrong with a log, from its first byte on; None for a sound one, also where a kill has cut its end."""
    header = log.read(_HEADER.size)
    if not header:
        return None
    if len(header) < _HEADER.size:
        return f"its log ends after {len(header)} of the {_HEADER.size} bytes of its header"
    magic, _, page_bytes, _, salt_1, salt_2, sum_1, sum_2 = _HEADER.unpack(header)
    pairs = _PAIRS.get(magic)
    if pairs is None or not _PAGE_BYTES_MIN <= page_bytes <= _PAGE_BYTES_MAX:
        return "its log does not begin as one of SQLite"
    sums = _summed(pairs, header[:_SUMMED_HEADER_BYTES], (0, 0))
    if sums != (sum_1, sum_2):
        return "the header of its log does not fit its checksum"
    return _frames_damage(log, pairs, page_bytes, (salt_1, salt_2), sums)


def _frames_damage(log: BinaryIO, pairs: struct.Struct, page_bytes: int, salts: Sums, sums: Sums) -> str | None:
    """Of the frames after the header."""
    number, broken, last_misfit = 0, 0, False
    while len(frame := log.read(_FRAME_HEADER.size + page_bytes)) == _FRAME_HEADER.size + page_bytes:
        number += 1
        _, commit, salt_1, salt_2, sum_1, sum_2 = _FRAME_HEADER.unpack_from(frame)
        current = (salt_1, salt_2) == salts
        fits = current and _frame_sums(pairs, frame, sums) == (sum_1, sum_2)
        if not fits:
            broken = broken or number
        elif broken and commit:
            return f"frame {broken} of its log does not fit, and commits follow it"
        last_misfit = current and bool(commit) and not fits
        # The next frame is judged by what this one says of itself: one bad frame does not make all others bad.
        sums = (sum_1, sum_2)
    if last_misfit and not frame:
        # A kill cuts a frame short where the log grows, so a whole one that ends the file was written as a whole.
        return f"the last frame of its log, {number}, does not fit its checksum"
    return None


def _frame_sums(pairs: struct.Struct, frame: bytes, sums: Sums) -> Sums:
    return _summed(pairs, frame[:_SUMMED_FRAME_HEADER_BYTES] + frame[_FRAME_HEADER.size :], sums)


def _summed(pairs: struct.Struct, content: bytes, sums: Sums) -> Sums:
    first, second = sums
    for even, odd in pairs.iter_unpack(content):
        first = (first + even + second) & _WORD
        second = (second + odd + first) & _WORD
    return first, second
