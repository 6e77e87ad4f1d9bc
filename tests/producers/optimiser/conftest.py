"""What tests of the optimiser share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.producers.optimiser.optimising import NOBODY

from costledger.producers import CostTracker


@pytest.fixture
def tracker() -> Iterator[CostTracker]:
    """A tracker whose events stay in its queue: what is settled stays held until the totals would have it."""
    with CostTracker(NOBODY, "tests", flush_timeout_seconds=0) as tracker:
        yield tracker
