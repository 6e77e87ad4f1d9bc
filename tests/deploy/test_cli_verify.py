"""`costledger verify` as its users run it: exit codes, JSON, heads in a file, with and without a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.deploy.conftest import COMMAND, Cli, clean_environment
from tests.sinks.chain.writing import TOPIC, event_at, some_events, tamper, write
from tests.sinks.conftest import Ledger

from costledger.schemas.topics import EVENTS

CHANGE = "UPDATE ledger.entries SET amount = amount + 1e-12 WHERE kafka_partition = 0 AND kafka_offset = 7"


@pytest.fixture
def ledger(api_database: str) -> Iterator[Ledger]:
    """A ledger with two partitions that nobody has sealed."""
    ledger = Ledger(api_database)
    for partition in (0, 1):
        write(ledger, partition, 0, some_events(20, f"user-{partition}"))
    yield ledger
    ledger.connection.close()


@pytest.fixture
def ledger_cli(tmp_path: Path, ledger: Ledger) -> Cli:
    """The command line on that ledger; its topic has the prefix of the tests."""
    prefix = TOPIC.removesuffix(EVENTS)
    return Cli(tmp_path, COSTLEDGER_DATABASE_URL=ledger.url, COSTLEDGER_TOPIC_PREFIX=prefix)


def test_an_unsealed_ledger_is_told_and_sealed(ledger_cli: Cli, ledger: Ledger) -> None:
    """Nothing sealed is no finding; --seal seals first."""
    document = ledger_cli.json("verify")
    assert (document["ok"], document["rows"], document["unsealed"]) == (True, 0, 40)
    document = ledger_cli.json("verify", "--seal")
    assert (document["ok"], document["rows"], document["unsealed"]) == (True, 40, 0)
    (first, second) = document["chains"]
    assert (first["partition"], first["rows"], first["sealed_offset"]) == (0, 20, 20)
    assert len(first["head"]) == 64
    assert first["head"] != second["head"]
    assert document["findings"] == []


def test_a_changed_entry_exits_with_1_and_is_named(ledger_cli: Cli, ledger: Ledger) -> None:
    """In JSON and in text, on stdout; other partitions are whole."""
    assert ledger_cli("verify", "--seal").returncode == 0
    event_id = event_at(ledger, 0, 7)
    tamper(ledger, CHANGE)
    document = ledger_cli.json("verify", code=1)
    assert document["findings_by_kind"] == {"changed": 1}
    (found,) = document["findings"]
    assert (found["topic"], found["partition"], found["offset"]) == (TOPIC, 0, 7)
    assert found["event_id"] == event_id
    done = ledger_cli("verify")
    assert done.returncode == 1
    assert f"changed: {TOPIC} partition 0 offset 7 event {event_id}" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("the chain is BROKEN: changed 1; 40 entries in ")
    assert ledger_cli("verify", "--partition", "1").returncode == 0
    assert ledger_cli("verify", "--partition", "1", "--partition", "0").returncode == 1
    unknown = ledger_cli("verify", "--partition", "1", "--partition", "9")
    assert (unknown.returncode, unknown.stdout) == (2, "")


def test_heads_find_a_chain_that_was_written_anew(ledger_cli: Cli, ledger: Ledger) -> None:
    """Saved while all is well, kept, compared: the owner's new chain holds, and is not the one that was saved."""
    saved = ledger_cli.directory / "heads.json"
    assert ledger_cli("verify", "--seal", "--save-heads", str(saved)).returncode == 0
    kept = saved.read_bytes()
    assert {head["partition"] for head in json.loads(kept)["heads"]} == {0, 1}
    assert ledger_cli("verify", "--heads", str(saved), "--save-heads", str(saved)).returncode == 0
    tamper(ledger, CHANGE)
    assert ledger_cli("verify", "--save-heads", str(saved)).returncode == 1
    tamper(ledger, "DELETE FROM ledger.chain_blocks")
    assert ledger_cli("verify", "--seal").returncode == 0
    document = ledger_cli.json("verify", "--heads", str(saved), "--save-heads", str(saved), code=1)
    assert document["findings_by_kind"] == {"head": 2}
    # What a chain that does not hold has for heads is never saved.
    assert json.loads(saved.read_bytes())["heads"] == json.loads(kept)["heads"]


def test_without_blocks_nothing_is_said_to_be_proven(ledger_cli: Cli, ledger: Ledger) -> None:
    """Neither before the first seal nor after an owner has deleted the chain: no finding, and no chain "holds"."""
    assert ledger_cli("verify", "--seal").returncode == 0
    tamper(ledger, "DELETE FROM ledger.chain_blocks")
    done = ledger_cli("verify")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "nothing is sealed, so nothing is proven: 40 entries not sealed yet"


def test_a_file_without_heads_is_wrong_usage(ledger_cli: Cli) -> None:
    """Exit code 2, before anything is looked at."""
    path = ledger_cli.directory / "heads.json"
    path.write_text("{}")
    done = ledger_cli("verify", "--heads", str(path))
    assert done.returncode == 2
    assert "heads" in done.stderr
    assert done.stdout == ""


def test_without_a_terminal_nothing_moves(ledger_cli: Cli) -> None:
    """No control characters on either stream; the result is on stdout, progress on stderr."""
    done = ledger_cli("verify", "--seal")
    assert "\x1b" not in done.stdout + done.stderr
    assert "40 entries sealed" in done.stderr
    assert done.stdout.splitlines()[-1].startswith("the chain holds: 40 entries in ")


def test_on_a_terminal_stdout_stays_clean(ledger_cli: Cli) -> None:
    """With a terminal for progress, --json on a pipe is still one document."""
    main, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "verify", "--seal", "--json"],
            env=clean_environment(**ledger_cli.settings, TERM="xterm"),
            cwd=ledger_cli.directory,
            stdout=subprocess.PIPE,
            stderr=terminal,
            timeout=120,
            check=False,
        )
        shown = os.read(main, 65_536)
    finally:
        os.close(terminal)
        os.close(main)
    assert done.returncode == 0
    assert json.loads(done.stdout)["rows"] == 40
    assert b"\x1b" in shown
