"""What happens to queued events when the host forks, ends, or is told to end: each case in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.reading import read_topic

from costledger.schemas.codec import decode_cost_event

RUN_SECONDS_MAX = 60.0
#: Long enough that nothing is sent before the process forks or ends: what arrives was flushed by its end.
LINGER_MS = 900

PREAMBLE = f"""
import os, sys, json, signal, multiprocessing
from costledger.producers import CostTracker
tracker = CostTracker(sys.argv[1], "host", topic=sys.argv[2], linger_ms={LINGER_MS})
def track(user, count=3):
    for _ in range(count):
        tracker.track_s3(user, "get", 1)
"""


def start(kafka: KafkaServer, topic: str, script: str) -> subprocess.Popen[str]:
    """Run a host program with a tracker."""
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script, kafka.bootstrap_servers, topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # So that a spawned worker finds its function.
        cwd=Path(__file__).parents[2],
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


def users_in(kafka: KafkaServer, topic: str) -> dict[str, int]:
    """How many events each user has in the topic; no id comes twice."""
    events = [decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topic)]
    assert len({event.event_id for event in events}) == len(events)
    return dict(Counter(event.user_id for event in events))


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def test_a_host_that_ends_without_closing_loses_nothing(kafka: KafkaServer, topic: str) -> None:
    """The end of the interpreter flushes."""
    finish(start(kafka, topic, "track('u')"))
    assert users_in(kafka, topic) == {"u": 3}


def test_a_host_that_dies_of_an_exception_loses_nothing(kafka: KafkaServer, topic: str) -> None:
    """An uncaught exception is an orderly end too."""
    finish(start(kafka, topic, "track('u'); raise SystemExit(5)"), code=5)
    assert users_in(kafka, topic) == {"u": 3}


def test_forked_children_deliver_their_own_events_and_none_of_the_parents(kafka: KafkaServer, topic: str) -> None:
    """Four children forked while the parent has queued events: counts from zero, every event once."""
    script = """
track("parent")
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        assert tracker.stats()["tracked"] == 0, tracker.stats()
        track(f"child-{number}")
        os.write(1, json.dumps(tracker.stats()).encode() + b"\\n")
        sys.exit(0)
    children.append(pid)
track("parent")
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0, 0]
assert tracker.stats()["tracked"] == 6
assert tracker.flush(30) == 0
"""
    printed = finish(start(kafka, topic, script)).splitlines()
    assert [json.loads(line)["tracked"] for line in printed] == [3, 3, 3, 3]
    assert users_in(kafka, topic) == {"parent": 6} | {f"child-{number}": 3 for number in range(4)}


def test_a_fork_while_other_threads_track_leaves_no_lock_behind(kafka: KafkaServer, topic: str) -> None:
    """Children forked in the midst of tracking threads can track and flush."""
    script = """
import threading
stop = threading.Event()
def work():
    while not stop.is_set():
        tracker.track_s3("busy", "get", 1)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
for number in range(10):
    pid = os.fork()
    if pid == 0:
        track("child", 1)
        os._exit(tracker.flush(20))
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""
    finish(start(kafka, topic, script))
    assert users_in(kafka, topic)["child"] == 10


def test_one_that_cannot_start_afresh_does_not_keep_the_others_from_it(kafka: KafkaServer, topic: str) -> None:
    """In a forked child it is told, and a tracker of the same process begins from zero all the same."""
    script = """
from costledger.producers import exits
class Broken:
    def close(self): pass
    def start_afresh(self): raise RuntimeError("cannot")
# The order among them is arbitrary: of so many, one comes before the tracker.
broken = [Broken() for _ in range(50)]
for each in broken: exits.watch(each)
track("parent")
pid = os.fork()
if pid == 0:
    assert tracker.stats()["tracked"] == 0, tracker.stats()
    track("child", 1)
    os._exit(tracker.flush(20))
assert os.waitpid(pid, 0)[1] == 0
assert tracker.flush(30) == 0
"""
    finish(start(kafka, topic, script))
    assert users_in(kafka, topic) == {"parent": 3, "child": 1}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_workers_deliver_though_they_skip_the_interpreters_end(
    kafka: KafkaServer, topic: str, method: str
) -> None:
    """A worker's function may just return."""
    script = f"""
def work(bootstrap_servers, topic):
    own = CostTracker(bootstrap_servers, "worker", topic=topic, linger_ms={LINGER_MS})
    own.track_s3("worker", "get", 1)
    if "{method}" == "fork":
        track("inherited", 1)
"""
    main = f"""
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    workers = [context.Process(target=work, args=sys.argv[1:3]) for _ in range(2)]
    for worker in workers: worker.start()
    for worker in workers: worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
"""
    if method == "spawn":
        # A spawned worker imports its function: it must be in a module.
        script = "from tests.producers.spawned import work\n"
    finish(start(kafka, topic, script + main))
    assert users_in(kafka, topic) == {"worker": 2} | ({"inherited": 2} if method == "fork" else {})


def test_sigterm_flushes_where_nobody_else_handles_it(kafka: KafkaServer, topic: str) -> None:
    """The host still dies of SIGTERM, after its events have left."""
    process = start(kafka, topic, "track('u'); print('ready', flush=True); signal.pause()")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    finish(process, code=-signal.SIGTERM)
    assert users_in(kafka, topic) == {"u": 3}


def test_a_hosts_own_sigterm_handler_stays_its_own(kafka: KafkaServer, topic: str) -> None:
    """A handler set before or after the tracker is the one that runs; its way out flushes."""
    script = """
own = lambda *_: sys.exit(7)
signal.signal(signal.SIGTERM, own)
second = CostTracker(sys.argv[1], "host", topic=sys.argv[2])
assert signal.getsignal(signal.SIGTERM) is own
track("u"); print("ready", flush=True); signal.pause()
"""
    process = start(kafka, topic, script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    finish(process, code=7)
    assert users_in(kafka, topic) == {"u": 3}
