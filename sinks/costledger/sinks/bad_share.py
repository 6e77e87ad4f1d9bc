"""How large a share of the latest events may be bad. Pure."""

from __future__ import annotations

from decimal import Decimal

from costledger.schemas.errors import CostledgerError


class TooManyBad(CostledgerError):
    """So large a share of events is bad that the fault is elsewhere: the sink stops instead of putting all aside."""


class BadShare:
    """Watches the share of bad events: more than `share_max` of a window of `window_events` is too many.

    Counted against the whole window, also while it fills: one bad event at the start is no reason to stop.
    """

    def __init__(self, window_events: int, share_max: Decimal) -> None:
        self._window_events = window_events
        self._share_max = share_max
        self._batches: list[tuple[int, int]] = []

    def check(self, events: int, bad: int) -> None:
        """Raise `TooManyBad` if another batch of so many events, so many of them bad, would be too much."""
        recent_events, recent_bad = events, bad
        for earlier_events, earlier_bad in reversed(self._batches):
            if recent_events >= self._window_events:
                break
            recent_events += earlier_events
            recent_bad += earlier_bad
        # Of what is larger than the window the same share may be bad: with a share of 1, all.
        allowed = int(max(recent_events, self._window_events) * self._share_max)
        if recent_bad > allowed:
            raise TooManyBad(
                f"{recent_bad} of the last {recent_events} events are bad; at most {allowed} may be "
                "(COSTLEDGER_SINK_BAD_SHARE_MAX over COSTLEDGER_SINK_BAD_WINDOW_EVENTS)"
            )

    def add(self, events: int, bad: int) -> None:
        """Remember a batch that was written."""
        self._batches.append((events, bad))
        total = sum(count for count, _ in self._batches)
        while self._batches and total - self._batches[0][0] >= self._window_events:
            total -= self._batches.pop(0)[0]
