"""The users of one partition: those who lately had events decoded, all others at rest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from costledger.streams.domain.buckets import buckets_of, quarter_of
from costledger.streams.domain.dormant import StoredUser, is_due, put_to_rest, woken
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules
from costledger.streams.domain.user import UserTotals

#: After so many flushes without an event a user is put to rest …
_IDLE_FLUSHES: Final = 20
#: … at most so many of them in one flush, so that none takes long.
_IDLE_USERS_MAX: Final = 500


class Users(Mapping[str, UserTotals]):
    """By user id. Reading a user at rest as from any mapping gives a copy: what is changed there is lost.

    `wake` gives a user to be changed. At most `rules.active_users_max` stay decoded after `rest`.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._held: dict[str, UserTotals | bytes] = {}
        #: The flush of the last event of each decoded user, the longest ago first.
        self._active: OrderedDict[str, int] = OrderedDict()
        self._flush = 0

    def __getitem__(self, user_id: str) -> UserTotals:
        held = self._held[user_id]
        return woken(user_id, held, self._rules) if isinstance(held, bytes) else held

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def active(self) -> int:
        """How many users are decoded."""
        return len(self._active)

    def restore(self, users: Mapping[str, StoredUser]) -> None:
        """Take users over from a recovery; they stay at rest until they have an event."""
        for user_id, stored in users.items():
            self._held[user_id] = stored.packed()

    def wake(self, user_id: str) -> UserTotals:
        """The user, decoded, and begun where there is none; it stays decoded until `rest` at least."""
        held = self._held.get(user_id)
        if held is None or isinstance(held, bytes):
            held = UserTotals(user_id, self._rules) if held is None else woken(user_id, held, self._rules)
            self._held[user_id] = held
            self._active[user_id] = self._flush
        return held

    def forget(self, user_id: str) -> None:
        """Drop a user, if it is there."""
        self._held.pop(user_id, None)
        self._active.pop(user_id, None)

    def rest(self, touched: Iterable[str]) -> None:
        """End a flush in which these users had events: nothing waits for any user.

        Those without events for long are put to rest, and those too many.
        """
        self._flush += 1
        for user_id in touched:
            if user_id in self._active:
                self._active[user_id] = self._flush
                self._active.move_to_end(user_id)
        for _ in range(len(self._active) - self._rules.active_users_max):
            self._put_to_rest(self._active.popitem(last=False)[0])
        for user_id, flush in list(islice(self._active.items(), _IDLE_USERS_MAX)):
            if flush > self._flush - _IDLE_FLUSHES:
                break
            del self._active[user_id]
            self._put_to_rest(user_id)

    def due(self, user_ids: Iterable[str], instant_us: int) -> Iterator[str]:
        """Of these users, those that may hold a period that ended before the instant (Unix microseconds), or nothing."""
        # In UTC: in any other zone a label is the same, or that of a day earlier or later.
        buckets = buckets_of(quarter_of(instant_us + DAY_MICROSECONDS), "UTC")
        day, month = buckets.day.label.encode(), buckets.month.label.encode()
        for user_id in user_ids:
            held = self._held.get(user_id)
            if held is not None and (not isinstance(held, bytes) or is_due(held, day, month)):
                yield user_id

    def _put_to_rest(self, user_id: str) -> None:
        user = self._held[user_id]
        if not isinstance(user, bytes):
            self._held[user_id] = put_to_rest(user)
