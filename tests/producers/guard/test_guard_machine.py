"""The scripts against a naive model, in any order of steps, with losses, on a real Redis with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from tests.fault.simulation.profiles import Bounds, simulate
from tests.producers.guard.guard_machine import GuardMachine

pytestmark = pytest.mark.fault


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the test's own database."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as made:
        yield made


def test_the_scripts_do_what_a_naive_model_does(client: redis.Redis, seed: int) -> None:
    """Month-to-date and what is reserved, after every step: to the last 1e-12 USD, whatever was lost, doubled or late."""
    machine = type("GuardMachine", (GuardMachine,), {"client": client})
    simulate(machine, seed, quick=Bounds(100, 40), full=Bounds(500, 60))
