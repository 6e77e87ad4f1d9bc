"""What the tests of fail points share: deaths that are counted, and the fixtures of the parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import system
from tests.fault.points.deaths import Deaths
from tests.sinks.conftest import ledger, names, settings, start_process, topic
from tests.sinks.notifications.conftest import make_desk, receive, receiver, start_delivery_process

__all__ = [
    "ledger",
    "make_desk",
    "names",
    "receive",
    "receiver",
    "settings",
    "start_delivery_process",
    "start_process",
    "system",
    "topic",
]


@pytest.fixture
def deaths(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deaths]:
    """Counts deaths; at the end each place that the test says it visits has had one, and no other."""
    counted = Deaths(tmp_path)
    yield counted
    assert sorted(counted.places) == sorted(request.function.visits)
