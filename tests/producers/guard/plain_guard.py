"""A guard in plain Python, for tests of what stands on one: true to the protocol, one process, no expiry."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from costledger.producers.guard.decisions import (
    ALREADY_SETTLED,
    BudgetGuard,
    Decision,
    Reservation,
    Verdict,
    decide,
)


class PlainGuard(BudgetGuard):
    """One budget for every user alike; what is settled counts as spent at once. Amounts in 1e-12 USD."""

    def __init__(self, budget: int, spent: int = 0) -> None:
        self.budget = budget
        self.spent: dict[str, int] = {}
        self.held: dict[str, dict[str, int]] = {}
        self.settled: list[tuple[str, str, int, tuple[UUID, ...]]] = []
        self.released: list[str] = []
        self.expected: list[tuple[str, UUID]] = []
        self.highest = 0
        self._spent_before = spent
        self._by_key: dict[tuple[str, str], Reservation] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def decide(self, user_id: str, estimate: int, key: str | None = None) -> Decision:
        """On what is spent and held at this moment, by others than the key."""
        with self._lock:
            month_to_date = self.spent.get(user_id, self._spent_before)
            own = None if key is None else self._by_key.get((user_id, key))
            held = self.held.get(user_id, {})
            reserved = sum(amount for each, amount in held.items() if own is None or each != own.reservation_id)
            verdict, code, reason = decide(
                estimate=estimate, month_to_date=month_to_date, reserved=reserved, budget=self.budget
            )
        return Decision(
            verdict=verdict,
            code=code,
            reason=reason,
            estimate=estimate,
            month_to_date=month_to_date,
            reserved=reserved,
            budget=self.budget,
            budget_version=1,
            period="2026-11",
        )

    def reserve(self, user_id: str, estimate: int, key: str | None = None) -> Reservation:
        """Hold it where it fits; nothing where it costs nothing."""
        with self._lock:
            known = None if key is None else self._by_key.get((user_id, key))
            if known is not None and known.reservation_id in self.held.get(user_id, {}):
                return known
            decision = self.decide(user_id, estimate)
            if known is not None:
                decision = replace(decision, verdict=Verdict.SKIP, code=ALREADY_SETTLED, reason="Settled before")
                return replace(known, decision=decision)
            held = f"r{next(self._numbers)}" if decision.may_run and estimate else None
            if held is not None:
                self.held.setdefault(user_id, {})[held] = estimate
            self._see(user_id)
            made = Reservation(user_id=user_id, reservation_id=held, decision=decision)
            if key is not None and held is not None:
                self._by_key[user_id, key] = made
            return made

    def expect(self, user_id: str, event_ids: Sequence[UUID]) -> None:
        """Remember which."""
        self.expected += [(user_id, event_id) for event_id in event_ids]

    def settle(self, user_id: str, reservation_id: str, actual: int, event_ids: Sequence[UUID] = ()) -> None:
        """The hold becomes what was spent; a second time changes nothing."""
        with self._lock:
            if self.held.get(user_id, {}).pop(reservation_id, None) is not None:
                self.spent[user_id] = self.spent.get(user_id, self._spent_before) + actual
                self.settled.append((user_id, reservation_id, actual, tuple(event_ids)))
                self._see(user_id)

    def release(self, user_id: str, reservation_id: str) -> None:
        """The hold ends."""
        with self._lock:
            if self.held.get(user_id, {}).pop(reservation_id, None) is not None:
                self.released.append(reservation_id)
                self._by_key = {k: r for k, r in self._by_key.items() if r.reservation_id != reservation_id}

    def nothing_is_held(self) -> bool:
        """True when every reservation has come to its end."""
        return not any(self.held.values())

    def _see(self, user_id: str) -> None:
        used = self.spent.get(user_id, self._spent_before) + sum(self.held.get(user_id, {}).values())
        self.highest = max(self.highest, used)
