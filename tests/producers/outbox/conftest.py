"""What tests of the outbox share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.producers.outbox.outbox_cases import Service, bare_database, checked_tracker, new_service, outbox_database

from costledger.producers import CostTracker, EventDropped


@pytest.fixture
def service(kafka: KafkaServer, postgres: PostgresServer) -> Service:
    """A service of this test alone."""
    return new_service(postgres.create_database(), kafka)


@pytest.fixture
def errors() -> list[EventDropped]:
    """What `on_error` was told."""
    return []


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    """A service's database, with the outbox."""
    return outbox_database(postgres)


@pytest.fixture
def bare_url(postgres: PostgresServer) -> str:
    """A service's database in which the outbox was forgotten."""
    return bare_database(postgres)


@pytest.fixture
def tracker(errors: list[EventDropped]) -> Iterator[CostTracker]:
    """A service's tracker."""
    with checked_tracker(errors) as tracker:
        yield tracker
