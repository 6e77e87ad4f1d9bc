"""What tests of the spool share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.spool.spooling import be_patient


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A spool directory of this test alone, not made yet."""
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still is no matter of these tests."""
    be_patient(monkeypatch)
