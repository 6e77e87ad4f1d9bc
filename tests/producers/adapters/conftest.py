"""What tests of adapters share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.producers.adapters.aws_answers import aws_server
from tests.producers.collecting import CollectingTracker
from tests.producers.loopback import Loopback


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """The four services."""
    with aws_server() as (_, loopback):
        yield loopback


@pytest.fixture
def tracker() -> CollectingTracker:
    """Where the events go."""
    return CollectingTracker()
