"""A request to stop: made by a signal handler at any moment of the thread that waits for it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest
from tests.fixtures.wait import wait_until

from costledger.schemas.stopping import StopRequest

RUN_SECONDS_MAX = 60.0
#: Waits for one request after the other, thousands of times a second, while a signal handler makes them as often.
HOST = """
import signal, time
from costledger.schemas.stopping import StopRequest
request = StopRequest()
signal.signal(signal.SIGALRM, lambda *_: request.set())
signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
until = time.monotonic() + 3
made = 0
while time.monotonic() < until:
    made += request.wait(0.00005)
    request = StopRequest()
signal.setitimer(signal.ITIMER_REAL, 0)
print(made)
"""


def test_a_signal_handler_may_make_it_at_any_moment() -> None:
    """Nothing is waited for in the handler: `threading.Event` in its place hangs, or recurses without end, within moments."""
    done = subprocess.run(
        [sys.executable, "-c", HOST], capture_output=True, text=True, timeout=RUN_SECONDS_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


@pytest.mark.parametrize("made", [False, True])
def test_waiting_ends_with_the_request_or_with_its_time(made: bool) -> None:
    """True if it was asked for."""
    request, answers = StopRequest(), list[bool]()
    waiting = threading.Thread(target=lambda: answers.append(request.wait(60 if made else 0.01)))
    waiting.start()
    if made:
        request.set()
    wait_until(lambda: answers, 10, "the wait is over")
    waiting.join()
    assert answers == [made] == [request.is_set()]
    began = time.monotonic()
    assert request.wait(0) is made
    assert time.monotonic() - began < 1
