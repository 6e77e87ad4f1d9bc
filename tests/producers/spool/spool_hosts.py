"""Services with a spool, as processes of their own, and the oracle that each writes on disk: what it tracks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from uuid import UUID

from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import FLUSH_SECONDS, spool_files

from costledger.producers import CostTracker

ROOT = Path(__file__).parents[3]
RUN_SECONDS_MAX = 60.0

#: Writes an id to `before` ahead of `track`, and to `after` once it has returned: one `write` each, unbuffered.
HOST = """
import os, sys, json, time, signal
from uuid import UUID
from costledger.producers import CostTracker
from costledger.producers.spool import spool
from costledger.schemas.ids import new_event_id
bootstrap, topic, directory, oracle, events = sys.argv[1:6]
before = os.open(oracle + ".before", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
after = os.open(oracle + ".after", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
# On a machine with much to do: an event that waited for that long in vain is in memory alone, and said to be.
spool._WAIT_SECONDS_MAX = 30.0
tracker = CostTracker(bootstrap, "host", "spool", directory, topic=topic, linger_ms=5)
def track(user="u"):
    event_id = new_event_id(time.time_ns() // 1000)
    os.write(before, (str(event_id) + "\\n").encode())
    returned = tracker.track_s3(user, "get", 1) if event_id is None else tracker.track(
        user, "aws-s3", "get", 1, event_id=event_id)
    os.write(after, (str(returned) + "\\n").encode())
def check():
    stats = tracker.stats()
    assert stats["tracked"] == stats["acked"] + stats["spooled"] + stats["queued"] + stats["dropped"], stats
    assert stats["dropped"] == stats["unspooled"] == 0, stats
"""
FOREVER = """
print("ready", flush=True)
number = 0
while True:
    track(f"user-{number % 20}")
    number += 1
    if not number % 100:
        check()
        time.sleep(0.001)
"""
SOME = """
for number in range(int(events)):
    track(f"user-{number % 20}")
check()
"""


def start(
    kafka: KafkaServer,
    topic: str,
    tmp_path: Path,
    script: str,
    oracle: str,
    events: int = 0,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Run a host program with a tracker, with more variables where given."""
    arguments = [kafka.bootstrap_servers, topic, str(tmp_path / "spool"), str(tmp_path / oracle), str(events)]
    return subprocess.Popen(
        [sys.executable, "-c", HOST + script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(variables or {})},
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the program's end, and return what it printed."""
    try:
        out, err = process.communicate(timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == code, err
    return out


def noted(tmp_path: Path, oracles: Iterable[str], what: str) -> list[UUID]:
    """The ids in oracle files; a kill may have cut the last line."""
    lines = [line for oracle in oracles for line in (tmp_path / f"{oracle}.{what}").read_text().splitlines()]
    return [UUID(line) for line in lines if len(line) == 36]


def drain(kafka: KafkaServer, topic: str, directory: Path) -> CostTracker:
    """Start a tracker on the directory, and close it when all that was left there has been sent."""
    with CostTracker(kafka.bootstrap_servers, "drain", "spool", directory, topic=topic) as tracker:
        if spool_files(directory):
            wait_until(
                lambda: tracker.stats()["spooled"] == 0 and spool_files(directory) == [],
                FLUSH_SECONDS,
                "the spool is empty",
            )
    return tracker
