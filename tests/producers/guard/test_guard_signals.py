"""A signal handler closes the tracker while its own thread is anywhere in the guard: nothing hangs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

RUN_SECONDS_MAX = 60.0
ROOT = Path(__file__).resolve().parents[3]

#: A host at work, told to end at the first line of the named function at which its lock is held.
SCRIPT = """
import os, signal, sys, threading
from tests.producers.guard.guarding import USD, Tracker, make_guard
from costledger.producers import exits

url, name = sys.argv[1:]
guard, tracker = make_guard(url, recovery_seconds=0), Tracker()
guard.follow(tracker)
events = [tracker.track() for _ in range(3)]

class Closing:
    def close(self):
        for offset, event in enumerate(events):
            tracker.acknowledge(event, offset)
        # What the guard does on the way out, and a host may do.
        guard._loud.tell("other", "message")
        guard.release("bob", guard.reserve("bob", USD).reservation_id)
    def start_afresh(self):
        pass

closing = Closing()
exits.watch(closing)
main = threading.get_ident()

def trace(frame, kind, _):
    if frame.f_code.co_qualname != name:
        return None
    def line(frame, kind, _):
        if kind == "line" and lock_is_held():
            sys.settrace(None)
            os.kill(os.getpid(), signal.SIGTERM)
        return line
    return line

def lock_is_held():
    lock = {"Outstanding": guard._outstanding, "Loud": guard._loud, "BudgetCache": guard._budgets,
            "Heartbeat": guard._teller._heartbeat}[name.split(".")[0]]._lock
    free = []
    # As another thread sees it.
    def look():
        if lock.acquire(blocking=False):
            lock.release()
            free.append(True)
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    return not free

sys.settrace(trace)
for _ in range(3):
    made = guard.reserve("ann", USD)
    guard.settle("ann", made.reservation_id, USD, events)
    guard._loud.tell("code", "message")
    guard._loud.over("code")
sys.settrace(None)
print("never there")
"""


@pytest.mark.parametrize(
    "name", ["Outstanding.settle", "Outstanding.hold", "Loud.tell", "BudgetCache.get", "Heartbeat.begin"]
)
def test_a_host_told_to_end_within_the_guard_ends(redis_url: str, name: str) -> None:
    """The handler comes back into what its own thread is doing, and the process dies of SIGTERM."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, redis_url, name],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS_MAX,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, ""), done.stderr
