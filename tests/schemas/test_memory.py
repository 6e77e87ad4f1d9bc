"""What a burst has left behind goes back to the system."""

from __future__ import annotations

import platform

import psutil
import pytest

from costledger.schemas.memory import give_back

BURST_BYTES = 100 * 2**20
#: Above what Python keeps in pools of its own, below what the C library gives back by itself.
PIECE_BYTES = 2_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_burst_is_given_back() -> None:
    """Also where what came after it still lives: then the end of the heap cannot fall."""
    process = psutil.Process()
    burst = [bytes(PIECE_BYTES) for _ in range(BURST_BYTES // PIECE_BYTES)]
    after_it = [bytes(PIECE_BYTES) for _ in range(1_000)]
    burst.clear()
    left = process.memory_info().rss
    give_back()
    assert left - process.memory_info().rss > BURST_BYTES * 0.8
    assert len(after_it) == 1_000
