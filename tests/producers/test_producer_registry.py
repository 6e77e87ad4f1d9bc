"""A service with a schema registry configured."""

from __future__ import annotations

import logging

from costledger.producers import CostTracker


def test_a_registry_that_is_away_stops_no_service(monkeypatch, caplog) -> None:
    """The tracker starts, says so, and tracks: readers know both wire formats."""
    monkeypatch.setenv("COSTLEDGER_SCHEMA_REGISTRY_URL", "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        tracker = CostTracker(bootstrap_servers="127.0.0.1:1", flush_timeout_seconds=0)
    tracker.track_rekognition("ann", "detectLabels", 1)
    assert tracker.stats()["tracked"] == 1
    tracker.close()
    assert "single-object encoding" in caplog.text
