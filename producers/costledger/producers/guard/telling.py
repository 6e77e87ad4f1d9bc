"""Tells Redis what this process has reserved, settled and released: at once, again after a failure, and again for ever
while it holds, so that a Redis that was lost has it back within the window of recovery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Final
from uuid import UUID

from costledger.producers.guard.connecting import RedisErrors
from costledger.producers.guard.heartbeat import Heartbeat
from costledger.producers.guard.loud import Loud
from costledger.producers.guard.outstanding import ANY_MONTH, Item, Kind, Outstanding
from costledger.producers.guard.pause import Pause
from costledger.producers.guard.scripts import APPLIED_AT_ONCE_MAX, Scripts, Times
from costledger.schemas.errors import shown

#: The cause in the log; decisions that cannot be taken are another one, which ends by itself.
_UNTOLD: Final = "guard_untold"
_DEFECT: Final = "guard_defect"
#: Everything is told so many times in the window of recovery, and in the time of a reservation.
_BEATS_PER_WINDOW: Final = 4
_INTERVAL_SECONDS_MAX: Final = 2.0
_INTERVAL_SECONDS_MIN: Final = 0.05
#: A hold that its caller has forgotten is renewed no longer than so many times its own time.
RENEWALS_MAX: Final = 24


class Teller:
    """Applies items to Redis. `month_now` gives the label of a user's current month."""

    def __init__(
        self,
        scripts: Scripts,
        outstanding: Outstanding,
        times: Times,
        loud: Loud,
        errors: RedisErrors,
        pause: Pause,
        month_now: Callable[[str], str],
    ) -> None:
        self._scripts = scripts
        self._outstanding = outstanding
        self._times = times
        self._loud = loud
        self._errors = errors
        self._pause = pause
        self._month_now = month_now
        self._heartbeat = Heartbeat(self, _interval_seconds(times))

    def hold(self, item: Item) -> bool:
        """Keep a hold alive from now on; one that is not `told` is told soon. False: it was settled before."""
        if not self._outstanding.hold(item):
            return False
        if item.told:
            self._heartbeat.begin()
        else:
            self.wake(everything=False)
        return True

    def now(self, item: Item) -> None:
        """Tell of one item in the caller's thread; where that fails, it is told when Redis is back.

        A Redis that was silent a moment ago is not waited for: the thread is.
        """
        if self._pause.is_on:
            self._outstanding.untold([item])
            self.wake(everything=False)
            return
        try:
            self._apply(item.user_id, self._month_of(item), [item])
        except self._errors.any as error:
            self._failed([item], error)
        except Exception as error:  # noqa: BLE001 - a defect with one item must not reach the host
            self._defective(item.user_id, [item], error)
        self._heartbeat.begin()

    def acknowledged(self, event_id: UUID, _partition: int, offset: int) -> None:
        """Kafka has an event. Called from the tracker's delivery thread: never blocks before `close`."""
        if not self._outstanding.acknowledge(event_id, offset):
            return
        if self._heartbeat.has_ended:
            # A tracker that is closed later: there is no thread any more to tell of it.
            if not self._pause.is_on:
                self.beat(everything=False)
        else:
            self.wake(everything=False)

    def wake(self, *, everything: bool) -> None:
        """Tell soon: what is new, or everything."""
        self._heartbeat.wake(everything=everything)

    def beat(self, *, everything: bool) -> None:
        """Tell what is new, or everything; what Redis no longer counts is forgotten here too."""
        renewed_seconds_max = RENEWALS_MAX * self._times.reservation_seconds
        items = self._outstanding.to_tell(
            self._times.settled_hold_seconds, renewed_seconds_max, only_untold=not everything
        )
        groups: dict[tuple[str, str], list[Item]] = defaultdict(list)
        for item in items:
            try:
                groups[item.user_id, self._month_of(item)].append(item)
            except Exception as error:  # noqa: BLE001 - as below
                self._defective(item.user_id, [item], error)
        is_reached = True
        for (user_id, month), group in groups.items():
            for start in range(0, len(group), APPLIED_AT_ONCE_MAX):
                chunk = group[start : start + APPLIED_AT_ONCE_MAX]
                if not is_reached:
                    self._outstanding.untold(chunk)
                    continue
                try:
                    self._apply(user_id, month, chunk)
                except self._errors.any as error:
                    self._failed(chunk, error)
                    # An error with one user's keys is no reason to leave the others untold; a server away is.
                    is_reached = isinstance(error, self._errors.answered)
                except Exception as error:  # noqa: BLE001 - a defect with one user's items is not the others' end
                    self._defective(user_id, chunk, error)

    def close(self) -> None:
        """End the thread and tell once more what is new."""
        self._heartbeat.close()
        self.beat(everything=False)

    def _apply(self, user_id: str, month: str, items: list[Item]) -> None:
        ends = [(item, self._ends(item)) for item in items]
        applied = self._scripts.apply(user_id, month, self._outstanding.seen(user_id), ends)
        self._pause.end()
        self._outstanding.told(items, applied.gone)
        if self._outstanding.note_seen(user_id, applied.generation, applied.seen):
            # Another state than before: what was not in this call may be missing there.
            self.wake(everything=True)
        self._loud.over(_UNTOLD)

    def _defective(self, user_id: str, items: list[Item], error: Exception) -> None:
        self._outstanding.untold(items)
        self._loud.tell(_DEFECT, f"what {shown(user_id)} holds cannot be told: {shown(error)}")

    def _failed(self, items: list[Item], error: Exception) -> None:
        self._outstanding.untold(items)
        if isinstance(error, self._errors.silent):
            self._pause.begin()
        self._loud.tell(_UNTOLD, f"reservations cannot be told to Redis ({error}): kept and told later")

    def _ends(self, item: Item) -> str:
        if item.kind is Kind.HELD:
            if item.ends_at_us is not None:
                return str(item.ends_at_us)
            return f"+{round(self._times.reservation_seconds * 1e6)}"
        left = self._outstanding.seconds_left(item, self._times.settled_hold_seconds)
        return f"+{max(0, round(left * 1e6))}"

    def _month_of(self, item: Item) -> str:
        return self._month_now(item.user_id) if item.month == ANY_MONTH else item.month


def _interval_seconds(times: Times) -> float:
    windows = [each for each in (times.recovery_seconds, times.reservation_seconds) if each > 0]
    interval = min(windows) / _BEATS_PER_WINDOW
    return max(_INTERVAL_SECONDS_MIN, min(_INTERVAL_SECONDS_MAX, interval))
