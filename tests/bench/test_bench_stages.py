"""The stages of the stream worker by themselves: every event goes through all of them."""

from __future__ import annotations

import pytest
from tests.bench import stages
from tests.bench.stages import PARTITIONS, STAGES, measure, partitions
from tests.bench.workload import Workload


def test_every_stage_has_worked() -> None:
    """On a small workload; each partition has some of its events, and each stage took time."""
    payloads = partitions(Workload(2_000, 50, 1_795_000_000_000_000, 7))
    assert sum(map(len, payloads)) == 2_000
    assert min(map(len, payloads)) > 2_000 / PARTITIONS / 3
    measured = measure(payloads, 500)
    assert tuple(measured) == STAGES
    assert min(measured.values()) > 0


def test_the_collector_is_the_workers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is set before anything is measured."""
    done: list[str] = []
    monkeypatch.setattr(stages, "collect_seldom", lambda: done.append("set"))
    monkeypatch.setattr(stages, "measure", lambda *_: done.append("measured") or dict.fromkeys(STAGES, 1.0))
    stages.main(1_000, [100], 7, as_json=True)
    assert done == ["set", "measured"]
    assert "view" in capsys.readouterr().out
