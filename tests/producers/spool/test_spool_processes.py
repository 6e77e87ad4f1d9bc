"""The mode `spool` over processes: kill -9, forks, gunicorn, SIGTERM, several processes on one directory."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spool_hosts import FOREVER, RUN_SECONDS_MAX, SOME, drain, finish, noted, start
from tests.producers.spool.spooling import ids_in


def killed_at_random_moments(kafka: KafkaServer, topic: str, tmp_path: Path, seed: int, kills: int) -> None:
    """Kill a service again and again; each new start resumes; at the end every event that `track` returned is there."""
    moments = random.Random(seed)
    oracles = [f"oracle-{number}" for number in range(kills)]
    for oracle in oracles:
        process = start(kafka, topic, tmp_path, FOREVER, oracle)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        assert not threading.Event().wait(moments.uniform(0.0, 0.6))
        process.send_signal(signal.SIGKILL)
        finish(process, -signal.SIGKILL)
    drain(kafka, topic, tmp_path / "spool")
    returned = noted(tmp_path, oracles, "after")
    arrived = ids_in(kafka, topic)
    assert len(returned) > 100 * kills
    assert set(returned) - set(arrived) == set()
    assert set(arrived) <= set(noted(tmp_path, oracles, "before"))


@pytest.mark.fault
def test_a_service_killed_at_random_moments_loses_no_event_that_track_returned(
    kafka: KafkaServer, topic: str, tmp_path: Path, seed: int
) -> None:
    """Nothing but what was attempted is on the topic, and everything whose `track` had returned."""
    killed_at_random_moments(kafka, topic, tmp_path, seed, 4)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.long
def test_a_service_killed_many_times_loses_nothing(kafka: KafkaServer, topic: str, tmp_path: Path, seed: int) -> None:
    """The same, 25 times."""
    killed_at_random_moments(kafka, topic, tmp_path, seed, 25)


def test_several_processes_share_a_directory(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """Four at once, one of them killed in the midst: every event once, but for those that the killed one may repeat."""
    oracles = [f"oracle-{number}" for number in range(4)]
    victim = start(kafka, topic, tmp_path, FOREVER, "victim")
    hosts = [start(kafka, topic, tmp_path, SOME, oracle, events=1500) for oracle in oracles]
    wait_until((tmp_path / "victim.after").exists, RUN_SECONDS_MAX, "the victim tracks")
    wait_until(lambda: len(noted(tmp_path, ["victim"], "after")) > 500, RUN_SECONDS_MAX, "the victim has tracked")
    victim.send_signal(signal.SIGKILL)
    finish(victim, -signal.SIGKILL)
    for host in hosts:
        finish(host)
    drain(kafka, topic, tmp_path / "spool")
    arrived = ids_in(kafka, topic)
    returned = noted(tmp_path, oracles, "after")
    assert len(returned) == 6000
    assert set(returned) | set(noted(tmp_path, ["victim"], "after")) <= set(arrived)
    of_the_living = [event_id for event_id in arrived if event_id in set(returned)]
    assert len(of_the_living) == len(returned)


def test_forked_children_have_files_of_their_own(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """Forked in the midst of tracking threads; parent and children lose nothing, in whatever order they end."""
    script = """
import threading
track("parent")
# Connected before the forks: see "Not guaranteed" in producers/README.md.
assert tracker.flush(30) == 0
stop = threading.Event()
def work():
    while not stop.is_set():
        track("parent")
        time.sleep(0.001)
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
children = []
for number in range(6):
    pid = os.fork()
    if pid == 0:
        assert tracker.stats()["tracked"] == 0
        for _ in range(50): track(f"child-{number}")
        check()
        if number % 2:
            left = tracker.flush(40)
            if left: print(left, "events are not acknowledged:", tracker.stats(), file=sys.stderr, flush=True)
            os._exit(min(left, 1))
        tracker.close()
        os._exit(0)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
stop.set()
for thread in threads: thread.join()
check()
"""
    finish(start(kafka, topic, tmp_path, script, "oracle"))
    drain(kafka, topic, tmp_path / "spool")
    returned = noted(tmp_path, ["oracle"], "after")
    assert len(returned) > 300
    assert set(returned) == set(ids_in(kafka, topic))


def test_sigterm_without_a_broker_leaves_every_event_on_disk(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """The process dies of SIGTERM within its flush timeout; the next one sends what it left."""
    script = """
tracker = CostTracker("127.0.0.1:9", "host", "spool", directory, topic=topic, flush_timeout_seconds=0.3)
for _ in range(1000): track()
print("ready", flush=True)
signal.pause()
"""
    process = start(kafka, topic, tmp_path, script, "oracle")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    finish(process, -signal.SIGTERM)
    assert time.monotonic() - started < 10
    tracker = drain(kafka, topic, tmp_path / "spool")
    assert tracker.stats()["resumed"] == 1000
    assert sorted(ids_in(kafka, topic)) == sorted(noted(tmp_path, ["oracle"], "after"))


APPLICATION = """
import json, os
from costledger.producers import CostTracker
from costledger.producers.spool import spool
spool._WAIT_SECONDS_MAX = 30.0
tracker = CostTracker(os.environ["KAFKA"], "web", "spool", os.environ["SPOOL"], topic=os.environ["TOPIC"])
preloaded = str(tracker.track_s3("preloaded", "get", 1))
tracker.flush(30)
def app(environ, start_response):
    event_id = tracker.track_s3(environ["PATH_INFO"].strip("/"), "get", 1)
    start_response("200 OK", [("Content-Type", "application/json")])
    stats = tracker.stats()
    return [json.dumps({"id": str(event_id), "preloaded": preloaded, "pid": os.getpid(), **stats}).encode()]
"""


def test_every_worker_of_a_preloaded_gunicorn_delivers(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """The tracker is made, and used, before the workers are forked; a graceful stop loses nothing."""
    (tmp_path / "web.py").write_text(APPLICATION)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "KAFKA": kafka.bootstrap_servers, "SPOOL": str(tmp_path / "spool"), "TOPIC": topic}
    log_path = tmp_path / "gunicorn.log"
    with log_path.open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3", "--bind", f"127.0.0.1:{port}", "web:app"],
            cwd=tmp_path,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: answers(port), RUN_SECONDS_MAX, f"gunicorn answers; see {log_path}")
        answered = [ask(port, f"user-{number}") for number in range(300)]
        wait_until(lambda: enough_workers(answered, port), RUN_SECONDS_MAX, "three workers have answered")
        server.send_signal(signal.SIGTERM)
        assert server.wait(RUN_SECONDS_MAX) == 0, log_path.read_text()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    for answer in answered:
        assert answer["tracked"] == answer["acked"] + answer["spooled"] + answer["queued"] + answer["dropped"]
        assert answer["dropped"] == answer["unspooled"] == 0
    drain(kafka, topic, tmp_path / "spool")
    expected = {UUID(answer["id"]) for answer in answered} | {UUID(answered[0]["preloaded"])}
    assert set(ids_in(kafka, topic)) == expected


def enough_workers(answered: list[dict[str, object]], port: int) -> bool:
    """Ask once more, unless three workers have answered."""
    if len({answer["pid"] for answer in answered}) < 3:
        answered.append(ask(port, "more"))
        return False
    return True


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, user: str) -> dict[str, object]:
    """One request, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=RUN_SECONDS_MAX)
    try:
        connection.request("GET", f"/{user}")
        response = connection.getresponse()
        assert response.status == 200
        answer: dict[str, object] = json.loads(response.read())
        return answer
    finally:
        connection.close()
