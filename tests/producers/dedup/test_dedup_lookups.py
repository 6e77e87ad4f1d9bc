"""What a cache tells of its lookups, over forks and signals; and what importing the caches costs."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

from costledger.producers import CostTracker
from costledger.producers.dedup.complaints import Complaints
from costledger.producers.dedup.lookups import LookupReports

NOBODY = "127.0.0.1:9"


def test_a_signal_handler_may_complain_while_its_thread_does() -> None:
    """The handler runs in the interrupted thread: it must not wait for what that thread holds."""
    complaints = Complaints(logging.getLogger(__name__))

    def interrupted() -> None:
        with complaints._lock:
            complaints.say("kind", "said from within")

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_a_forked_child_complains_under_a_lock_of_its_own() -> None:
    """The parent's may have been held by another thread, which the child does not have."""
    with CostTracker(NOBODY, "test", flush_timeout_seconds=0) as tracker:
        reports = LookupReports(tracker, "cache", "strategy", 60)
        parents = reports._complaints
        reports.start_afresh()
        assert reports._complaints is not parents
        reports.close()


def test_the_caches_load_neither_the_optimiser_nor_the_guard() -> None:
    """A service that only wants its results again does not pay for the rest."""
    script = """
import sys
import costledger.producers.dedup
print([name for name in sys.modules if name.startswith(("costledger.producers.optimiser", "costledger.producers.guard"))])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
