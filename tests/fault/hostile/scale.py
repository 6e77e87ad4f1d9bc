"""How much is tried: little by default, all of it with COSTLEDGER_TEST_FUZZ_INPUTS=200000 or more (`make fault`)."""

from __future__ import annotations

import os

import pytest

QUICK_INPUTS = 20_000
FULL_INPUTS = 200_000
FUZZ_INPUTS = int(os.environ.get("COSTLEDGER_TEST_FUZZ_INPUTS", str(QUICK_INPUTS)))

full_only = pytest.mark.skipif(
    FUZZ_INPUTS < FULL_INPUTS, reason=f"takes long: runs with COSTLEDGER_TEST_FUZZ_INPUTS={FULL_INPUTS} (make fault)"
)
