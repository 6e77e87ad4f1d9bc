"""`costledger demo`: what a newcomer sees first has to be right."""

from __future__ import annotations

import signal
import subprocess
from decimal import Decimal
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from tests.deploy.conftest import COMMAND, Cli, clean_environment
from tests.fixtures.wait import wait_until

from costledger.producers.importers import read_trace, sample_trace
from costledger.schemas.money import to_usd


@pytest.mark.slow
def test_the_demo_reconciles(cli: Cli) -> None:
    """All events of the sample are in the ledger with their exact sum, alerts have fired, nothing is left behind."""
    cli.settings["TMPDIR"] = str(cli.directory)
    document = cli.json("demo", "--seconds", "2")
    with sample_trace() as path:
        amounts = [event.amount for event in read_trace(path, "gpt-4").events()]
    assert document["ok"]
    assert document["events"] == document["acknowledged"] == len(amounts)
    assert Decimal(document["total_usd"]) == to_usd(sum(amount or 0 for amount in amounts))
    assert document["reconcile"]["inserted"] == len(amounts)
    assert document["reconcile"]["difference_picodollars"] == 0
    assert {"BUDGET_THRESHOLD", "HOURLY_SPIKE"} <= {alert["kind"] for alert in document["alerts"]}
    assert len({alert["alert_id"] for alert in document["alerts"]}) == len(document["alerts"])
    assert list(cli.directory.glob("costledger-demo-*")) == []


@pytest.mark.slow
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C in the middle of the replay exits with 130 and says so; no process and no file stays."""
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [*COMMAND, "demo", "--seconds", "600"],
            env=clean_environment(TMPDIR=str(tmp_path)),
            cwd=tmp_path,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        wait_until(lambda: "events" in (tmp_path / "out").read_text(), 120, "the replay has begun")
        processes = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.wait(30)
    wait_until(lambda: not any(p.is_running() for p in processes), 20, "every process has ended")
    assert list(tmp_path.glob("costledger-demo-*")) == []
    told = (tmp_path / "err").read_text()
    assert "stopped before the end" in told
    assert "Traceback" not in told
