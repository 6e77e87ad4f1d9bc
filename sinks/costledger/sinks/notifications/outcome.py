"""What became of one attempt to send, and sending with a deadline that holds whatever a server does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

from costledger.sinks.background import in_background

#: Reasons are kept in the ledger and shown: a server's own words are cut to this length.
REASON_CHARACTERS_MAX: Final = 300
#: Threads that still wait for servers which let the deadline pass; at this number nothing more is attempted.
ABANDONED_MAX: Final = 32

_abandoned = threading.BoundedSemaphore(ABANDONED_MAX)


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


def within(seconds: float, name: str, attempt: Callable[[], Outcome]) -> Outcome:
    """The outcome of an attempt, or a failure when it takes longer than that.

    Timeouts of libraries are per read: a server that sends a byte now and then outlives them. The thread of such an
    attempt is left to itself, and at most `ABANDONED_MAX` of them may be.
    """
    if not _abandoned.acquire(blocking=False):
        return Outcome.failed(f"{ABANDONED_MAX} attempts hang in servers that do not finish; not attempted")

    def run() -> Outcome:
        try:
            return attempt()
        finally:
            _abandoned.release()

    try:
        return in_background(name, run).result(seconds)
    except TimeoutError:
        return Outcome.failed(f"no answer within {seconds:g} s")
