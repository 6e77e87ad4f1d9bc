"""What signals do in the main thread: raise, so that `finally` stops what was started, or wait for a good moment."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM or SIGHUP.

    A KeyboardInterrupt, because libraries clean up after that one wherever it strikes (psycopg cancels the
    running statement).
    """


@contextmanager
def termination_raised() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP raise `Terminated` in the main thread, and SIGINT KeyboardInterrupt.

    SIGINT too is set, because a shell script starts its background commands with SIGINT ignored.
    """
    before: dict[signal.Signals, Any] = {number: signal.signal(number, _raise) for number in _ENDINGS}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, SIGTERM, SIGHUP and SIGINT are ignored: for the end, which takes a bounded time."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (*_ENDINGS, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruption_deferred(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C, SIGTERM or SIGHUP is only noted; a second one raises.

    Gives the question whether one has come: for work in steps that should not be cut in two.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            _raise(number, frame)
        asked = True
        say("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (*_ENDINGS, signal.SIGINT)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
