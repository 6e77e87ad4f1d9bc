"""What is in use is told; what a burst has left behind goes back to the system."""

from __future__ import annotations

import gc
import platform

import psutil
import pytest

from costledger.schemas.memory import c_bytes, give_back, python_blocks

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


@pytest.mark.skipif(c_bytes() is None, reason="a C library that does not count")
@pytest.mark.parametrize("piece_bytes", [PIECE_BYTES, BURST_BYTES])
def test_what_the_c_library_has_given_out_is_told(piece_bytes: int) -> None:
    """In small pieces and as one mapping; and no more once it is freed, whether the system has it back or not."""
    gc.collect()
    before = c_bytes() or 0
    held = [bytes(piece_bytes) for _ in range(BURST_BYTES // piece_bytes)]
    during = c_bytes() or 0
    held.clear()
    after = c_bytes() or 0
    assert during - before == pytest.approx(BURST_BYTES, rel=0.1)
    assert abs(after - before) < BURST_BYTES * 0.01


def test_small_objects_are_told_in_blocks() -> None:
    """One for each object of some hundred bytes, and its share of others."""
    gc.collect()
    before = python_blocks()
    held = [bytes(100) for _ in range(100_000)]
    during = python_blocks()
    held.clear()
    assert during - before == pytest.approx(100_000, rel=0.05)
    assert abs(python_blocks() - before) < 5_000
