"""How the consumers of the ledger are members of their groups."""

from __future__ import annotations

import pytest

from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import load_settings
from costledger.sinks.consuming import member_config
from costledger.sinks.intake import consumer_config


def test_a_dead_sink_loses_its_partitions_after_the_time_that_is_set() -> None:
    """Ten seconds if nothing is said; the sink and the notifier alike."""
    assert consumer_config(load_settings())["session.timeout.ms"] == 10_000
    settings = load_settings(sink_session_timeout_seconds=6.5)
    assert consumer_config(settings)["session.timeout.ms"] == 6_500
    assert member_config(settings, "notifier", "group")["session.timeout.ms"] == 6_500


def test_less_than_a_broker_allows_is_refused() -> None:
    """Apache Kafka takes no session below six seconds."""
    with pytest.raises(SettingsError, match="SINK_SESSION_TIMEOUT_SECONDS"):
        load_settings(sink_session_timeout_seconds=5)


def test_a_rebalance_waits_for_members_that_never_come_no_longer_than_half_a_minute() -> None:
    """Or as long as a session, if that is longer: the client takes no less."""
    assert member_config(load_settings(), "notifier", "group")["max.poll.interval.ms"] == 30_000
    long = load_settings(sink_session_timeout_seconds=100)
    assert consumer_config(long)["max.poll.interval.ms"] == 100_000
