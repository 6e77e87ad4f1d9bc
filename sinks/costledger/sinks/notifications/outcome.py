"""What became of one attempt to send, and sending with a deadline that holds whatever a server does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from costledger.sinks.background import in_background

#: Reasons are kept in the ledger and shown: a server's own words are cut to this length.
REASON_CHARACTERS_MAX: Final = 300
#: Attempts to routes of operators, and to those of all users, that run at once in this process; with them those that
#: the deadline has passed and that still hang. At this number nothing more is attempted.
OPERATOR_ATTEMPTS_MAX: Final = 64
USERS_ATTEMPTS_MAX: Final = 64
#: The same for one user: a server of theirs may hang, and others are not to wait for it.
USER_ATTEMPTS_MAX: Final = 4

_running: Counter[str | None] = Counter()
_running_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Outcome:
    """One attempt. `reason` is None where the message was taken, else why it was not, without any secret.

    `retry_after_seconds` is what the server asked for; `gone` says that nothing will ever be taken there.
    """

    reason: str | None = None
    retry_after_seconds: float | None = None
    gone: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the other side has taken the message."""
        return self.reason is None

    @classmethod
    def failed(cls, reason: str, retry_after_seconds: float | None = None, *, gone: bool = False) -> Self:
        """An attempt that failed; the reason in one line, cut."""
        line = " ".join(reason.split()) or "no reason given"
        if len(line) > REASON_CHARACTERS_MAX:
            line = f"{line[: REASON_CHARACTERS_MAX - 1]}…"
        return cls(line, retry_after_seconds, gone)


class Lifeline:
    """The connections of one attempt, so that they can be cut when its time is over: what reads from them then ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._is_over = False

    def hold(self, connection: socket.socket) -> None:
        """Take a connection in hand, when it is made; where the time is over by then, it is cut at once."""
        # A second handle of the same connection: TLS takes the first one away, and who has it may close it.
        handle = connection.dup()
        with self._lock:
            self._sockets.append(handle)
            if self._is_over:
                _shut(handle)

    def cut(self) -> None:
        """The time is over."""
        with self._lock:
            self._is_over = True
            for handle in self._sockets:
                _shut(handle)

    def let_go(self) -> None:
        """The attempt has ended."""
        with self._lock:
            for handle in self._sockets:
                handle.close()
            self._sockets.clear()


def within(seconds: float, name: str, attempt: Callable[[Lifeline], Outcome], *, user_id: str | None = None) -> Outcome:
    """The outcome of an attempt, or a failure when it takes longer than that. `user_id` None: an operator's.

    Timeouts of libraries are per read: a server that sends a byte now and then outlives them. When the time is over,
    the connections that the attempt has given to its `Lifeline` are cut, and its thread ends with them. What cannot
    be cut (a resolver, a library that has its connections to itself) keeps its place until it ends.
    """
    if not _enter(user_id):
        return Outcome.failed("too many attempts hang in servers that do not finish; not attempted")
    lifeline = Lifeline()

    def run() -> Outcome:
        try:
            return attempt(lifeline)
        finally:
            lifeline.let_go()
            _leave(user_id)

    try:
        future = in_background(name, run)
    except RuntimeError:  # there is no thread to be had
        _leave(user_id)
        raise
    try:
        return future.result(seconds)
    except TimeoutError:
        lifeline.cut()
        return Outcome.failed(f"no answer within {seconds:g} s")


def _enter(user_id: str | None) -> bool:
    with _running_lock:
        if user_id is None:
            free = _running[None] < OPERATOR_ATTEMPTS_MAX
        else:
            users = _running.total() - _running[None]
            free = users < USERS_ATTEMPTS_MAX and _running[user_id] < USER_ATTEMPTS_MAX
        if free:
            _running[user_id] += 1
        return free


def _leave(user_id: str | None) -> None:
    with _running_lock:
        _running[user_id] -= 1
        if not _running[user_id]:
            del _running[user_id]


def _shut(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was faster
        handle.shutdown(socket.SHUT_RDWR)
