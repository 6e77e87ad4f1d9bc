"""The peers' environments: pinned, never half made, and missed by name; and the events as Debezium gets them."""

from __future__ import annotations

import base64
import json
import os
import re
from pathlib import Path

import pytest
from tests.bench.peers import environments
from tests.bench.peers.catalogue import SINK_PEERS, STREAM_PEERS, Peer, install
from tests.bench.peers.connect_json import connect_messages
from tests.bench.peers.environments import PeerUnavailable, java_environment, python_environment
from tests.bench.rates import Result
from tests.bench.workload import Workload

from costledger.sinks.packing import COPY_COLUMNS

PEERS = Path(environments.__file__).parent
PROJECTS = sorted(path.parent for path in PEERS.rglob("pom.xml"))
REQUIREMENTS = sorted((PEERS / "requirements").iterdir())


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "costledger" / "bench"


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.stem)
def test_every_package_of_a_peer_is_pinned(path: Path) -> None:
    """The same libraries on every machine, those that are brought along included."""
    lines = path.read_text().splitlines()
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+]+", line)] == []


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_every_version_of_a_maven_project_is_fixed(project: Path) -> None:
    """No ranges, no snapshots, nothing like `latest`."""
    versions = re.findall(r"version>([^<]+)</[\w.]*version>", (project / "pom.xml").read_text())
    assert versions
    assert [one for one in versions if not re.fullmatch(r"\d+(\.\d+)*(\.Final)?|\$\{[\w.]+\}", one)] == []


def test_every_peer_says_what_it_is() -> None:
    """Name and version of what is measured."""
    for peer in (*STREAM_PEERS, *SINK_PEERS):
        assert re.search(r"\d+\.\d+", peer.version())


def test_a_peer_that_cannot_be_had_is_named_with_the_reason() -> None:
    """In what is said, and in the document; the others are measured."""

    def missing() -> None:
        raise PeerUnavailable("no wheel for this Python")

    said: list[str] = []
    there = Peer("there", lambda: "There 1.0", lambda: lambda _: 1.0)
    installed = install([Peer("gone", lambda: "Gone 1.0", missing), there], said.append)  # type: ignore[arg-type]
    assert list(installed.runs) == ["there"]
    assert said == ["gone is left out: no wheel for this Python", "there: There 1.0"]
    result = Result("ours", "events/s", 0, {"ours": [1.0]}, unavailable=installed.unavailable)
    assert result.entry()["without_rate"] == {"gone": "no wheel for this Python"}


def test_an_environment_is_made_once_and_again_when_its_project_changes(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is found; another program is another environment."""
    calls = tmp_path / "calls"
    maven = tmp_path / "mvn"
    maven.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nmkdir -p target/lib\necho jar > target/lib/some.jar\n')
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    project = tmp_path / "project"
    project.mkdir()
    (project / "pom.xml").write_text("<project/>")
    jars = java_environment("a-peer", project)
    assert jars.is_relative_to(empty_cache)
    assert [path.name for path in jars.iterdir()] == ["some.jar"]
    assert java_environment("a-peer", project) == jars
    assert len(calls.read_text().splitlines()) == 1
    (project / "pom.xml").write_text("<project><!-- another --></project>")
    assert java_environment("a-peer", project) != jars
    assert len(calls.read_text().splitlines()) == 2


def test_without_maven_the_reason_is_maven(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every time: the folder that was begun is not taken for an environment."""
    monkeypatch.setenv("PATH", str(empty_cache))
    for _ in range(2):
        with pytest.raises(PeerUnavailable, match="Maven"):
            java_environment("a-peer", PROJECTS[0])


def test_what_pip_cannot_find_is_the_reason(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pip's own words; and nothing is left that looks like an environment."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("no-such-library==1.0\n")
    with pytest.raises(PeerUnavailable, match=re.escape("no-such-library==1.0")):
        python_environment("a-peer", requirements)
    assert list(empty_cache.glob("*/.complete")) == []


def test_debezium_gets_the_same_events(seed: int) -> None:
    """As many messages, the ledger's columns, the same sum; the schema names each field of the payload."""
    workload = Workload(events=500, users=20, end_us=1_795_000_000_000_000, seed=seed)
    messages = [json.loads(value) for _, value in connect_messages(workload.records(), "topic", 4)]
    assert len(messages) == workload.events
    fields = [field["field"] for field in messages[0]["schema"]["fields"]]
    assert sorted(fields) == sorted(COPY_COLUMNS) == sorted(messages[0]["payload"])
    amounts = [base64.b64decode(message["payload"]["amount"]) for message in messages]
    assert sum(int.from_bytes(amount, signed=True) for amount in amounts) == workload.amount
