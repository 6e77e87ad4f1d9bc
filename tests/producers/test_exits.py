"""What happens to trackers at the end of their process, whatever one of them does."""

from __future__ import annotations

import signal
import subprocess
import sys

RUN_SECONDS_MAX = 30.0
#: So many locks are held at forks, and so many forks happen while other threads add more.
LOCKS = 2000
FORKS = 20

PREAMBLE = """
import os, signal, sys, threading
from costledger.producers import exits

class Watched:
    def __init__(self, name, **where):
        self.name = name
        exits.watch(self, **where)
    def close(self):
        print(self.name, flush=True)
        if self.name.startswith("bad"):
            raise RuntimeError("a defect of " + self.name)
    def start_afresh(self):
        pass

"""


def run(script: str, code: int = 0) -> tuple[list[str], str]:
    """What a program of its own prints, and its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_SECONDS_MAX,
    )
    assert done.returncode == code, done.stderr
    return done.stdout.split(), done.stderr


def test_all_are_closed_once_in_their_order() -> None:
    """What speaks through a tracker before the trackers, what listens to one after them, whatever was made when."""
    script = 'kept = [Watched("guard", last=True), Watched("tracker"), Watched("lookups", first=True)]'
    assert run(script)[0] == ["lookups", "tracker", "guard"]


def test_one_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    """Its error is logged."""
    script = 'kept = [Watched("bad-lookups", first=True), Watched("bad-tracker"), Watched("guard", last=True)]'
    closed, errors = run(script)
    assert closed == ["bad-lookups", "bad-tracker", "guard"]
    assert "a defect of bad-lookups" in errors
    assert "a defect of bad-tracker" in errors


def test_one_that_cannot_be_closed_does_not_keep_a_process_alive_that_was_told_to_end() -> None:
    """It dies of SIGTERM, with the others closed."""
    script = 'kept = [Watched("bad", first=True), Watched("tracker")]; os.kill(os.getpid(), signal.SIGTERM)'
    assert run(script, code=-signal.SIGTERM)[0] == ["bad", "tracker"]


def test_a_fork_while_other_threads_open_trackers_is_safe() -> None:
    """The locks that a fork takes, and what it starts afresh, are looked at while nobody adds to them."""
    script = f"""
locks = [threading.RLock() for _ in range({LOCKS})]
for lock in locks: exits.hold_at_fork(lock)
stop = threading.Event()
more = []
def add():
    while not stop.is_set():
        more.append((Watched("other"), threading.RLock()))
        exits.hold_at_fork(more[-1][1])
        exits.forget(more[-1][0])
        del more[:-50]
sys.setswitchinterval(1e-5)
threads = [threading.Thread(target=add) for _ in range(3)]
for thread in threads: thread.start()
for _ in range({FORKS}):
    pid = os.fork()
    if pid == 0:
        exits.forget(Watched("own"))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads: thread.join()
"""
    _, errors = run(script)
    assert "Exception" not in errors, errors
