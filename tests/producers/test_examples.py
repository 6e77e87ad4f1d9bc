"""The examples and the README's first lines of code run as they stand, against real services."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.producers.reading import read_topic

from costledger.schemas.codec import decode_cost_event
from costledger.schemas.topics import TopicNames
from costledger.sinks.migrations import migrate

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "producers" / "examples").glob("*.py"))
RUN_SECONDS = 120


@pytest.fixture
def topics(kafka: KafkaServer) -> TopicNames:
    """The topic of the events under a prefix of this test alone."""
    names = TopicNames.with_prefix(f"{kafka.unique('examples')}.")
    kafka.create_topic(names.events)
    return names


@pytest.fixture
def environment(
    kafka: KafkaServer, redis_url: str, postgres: PostgresServer, topics: TopicNames, tmp_path: Path
) -> dict[str, str]:
    """What `costledger up` would put into its file, and a spool of this test alone."""
    database_url = postgres.create_database()
    migrate(database_url)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTLEDGER_")}
    return {
        **kept,
        "COSTLEDGER_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "COSTLEDGER_REDIS_URL": redis_url,
        "COSTLEDGER_DATABASE_URL": database_url,
        "COSTLEDGER_TOPIC_PREFIX": topics.events.removesuffix(TopicNames.with_prefix("").events),
        "COSTLEDGER_SPOOL_DIR": str(tmp_path / "spool"),
        # This Redis is known to be empty: no need to wait for holders of reservations that it may have lost.
        "COSTLEDGER_GUARD_RECOVERY_SECONDS": "0",
        "PYTHONWARNINGS": "error",
    }


def run(program: Path, environment: dict[str, str], folder: Path) -> str:
    """What the program prints; it must end well and in time."""
    done = subprocess.run(
        [sys.executable, str(program)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(
    program: Path, environment: dict[str, str], kafka: KafkaServer, topics: TopicNames, tmp_path: Path
) -> None:
    """It ends well, prints something, and its events are on the topic."""
    assert run(program, environment, tmp_path).strip()
    messages = read_topic(kafka.bootstrap_servers, topics.events)
    assert messages
    for message in messages:
        decode_cost_event(message.value() or b"")


def block_of(section: str) -> str:
    """The first block of Python in a section of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(f"## {section}\n", 1)[1]
    block = re.search(r"```python\n(.*?)```", text.split("\n## ", 1)[0], re.DOTALL)
    assert block is not None
    return block.group(1)


def test_the_readmes_cost_aware_job_works_by_copy_and_paste(
    environment: dict[str, str], kafka: KafkaServer, topics: TopicNames, tmp_path: Path
) -> None:
    """The first block of code under "Know a cost before you spend it", as it stands."""
    program = tmp_path / "job.py"
    program.write_text(block_of("Know a cost before you spend it"), encoding="utf-8")
    # Three features of premium at 0.001, and 100 tokens of an embedding that the job does not make.
    assert run(program, environment, tmp_path) == "done, having cost 0.003 USD; estimated 0.003002 USD\n"
    events = [
        decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topics.events)
    ]
    assert sorted(event.operation for event in events) == ["detectFaces", "detectLabels", "detectText"]


def test_the_readmes_first_call_works_by_copy_and_paste(
    environment: dict[str, str], kafka: KafkaServer, topics: TopicNames, tmp_path: Path
) -> None:
    """The first block of code under "Track your first call", as it stands."""
    code = block_of("Track your first call")
    program = tmp_path / "first.py"
    program.write_text(code, encoding="utf-8")
    run(program, environment, tmp_path)
    events = [
        decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topics.events)
    ]
    # Five images at 0.001; 1200 and 80 tokens of gpt-4 at 30 and 60 USD a million; three requests at 0.005.
    assert {(event.service, event.operation): event.amount for event in events} == {
        ("aws-rekognition", "detectLabels"): 5_000_000_000,
        ("openai", "input-tokens"): 36_000_000_000,
        ("openai", "output-tokens"): 4_800_000_000,
        ("maps", "geocode"): 15_000_000_000,
    }
