"""Asks Redis for a decision, and begins a user's state where there is none: new, or lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from costledger.producers.guard.connecting import RedisErrors
from costledger.producers.guard.outstanding import Kind, Outstanding
from costledger.producers.guard.pause import Pause
from costledger.producers.guard.scripts import Reserved, Scripts, Standing, Status, Times
from costledger.schemas.errors import Unavailable
from costledger.schemas.periods import Period

#: What a user has spent in a period, from the ledger, in 1e-12 USD. May raise whatever its source raises.
SpendSource = Callable[[str, Period], int]

Answer = TypeVar("Answer")

_ENDED_HERE: Final = {Kind.SETTLED: Standing.SETTLED, Kind.RELEASED: Standing.RELEASED}
#: A state may be lost again while it is being begun.
_ATTEMPTS_MAX: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. Amounts in 1e-12 USD; `key` is `-` for none; without `hold` nothing is held anew.

    `reserves`: what is held under the key is the asker's from now on; else it only looks.
    """

    user_id: str
    period: Period
    reservation_id: str
    key: str
    estimate: int
    budget: int
    hold: bool
    reserves: bool


class Unanswered(Unavailable):
    """Redis did not answer in time: it may have held the estimate, or may yet."""


class Asker:
    """Decisions from Redis; `Unavailable` where there is none to be had."""

    def __init__(
        self,
        scripts: Scripts,
        outstanding: Outstanding,
        times: Times,
        spend: SpendSource | None,
        errors: RedisErrors,
        pause: Pause,
    ) -> None:
        self._scripts = scripts
        self._outstanding = outstanding
        self._times = times
        self._spend = spend
        self._errors = errors
        self._pause = pause

    def ask(self, question: Question) -> Reserved:
        """The answer to a question; raises `Unavailable`."""
        return self._reach(lambda: self._ask(question))

    def look(self, user_id: str, reservation_id: str) -> Standing:
        """What has become of a reservation; raises `Unavailable` where only Redis knows."""
        kind = self._outstanding.kind_of(user_id, reservation_id)
        if kind in _ENDED_HERE:
            return _ENDED_HERE[kind]
        try:
            found = self._reach(lambda: self._scripts.standing(user_id, reservation_id))
        except Unavailable:
            if kind is None:
                raise
            return Standing.HELD
        return Standing.HELD if found is Standing.UNKNOWN and kind is Kind.HELD else found

    def _reach(self, step: Callable[[], Answer]) -> Answer:
        if self._pause.is_on:
            raise Unavailable("Redis did not answer in time a moment ago")
        try:
            return step()
        except self._errors.silent as error:
            self._pause.begin()
            raise Unanswered(f"Redis did not answer in time: {error}") from error
        except self._errors.any as error:
            raise Unavailable(f"Redis cannot be asked: {error}") from error

    def _ask(self, question: Question) -> Reserved:
        user_id, month = question.user_id, question.period.label
        for _ in range(_ATTEMPTS_MAX):
            answer = self._scripts.reserve(
                user_id,
                month,
                self._outstanding.seen(user_id),
                reservation_id=question.reservation_id,
                key=question.key,
                estimate=question.estimate,
                budget=question.budget,
                hold=question.hold,
            )
            if answer.status is Status.UNKNOWN:
                lost = self._outstanding.knows(user_id, self._times.kept_seconds)
                self._begin(question, self._scripts.open(user_id, month, lost=lost))
            elif answer.status is Status.UNBASED:
                self._begin(question, answer.generation)
            else:
                return answer
        raise Unavailable("the reservations of the user are lost again and again")

    def _begin(self, question: Question, generation: str) -> None:
        """Give a state its floor. The order matters: first the state (with a window of recovery), then how old this
        Redis is, then the end of the window. Were all lost in between, the last step would find another state."""
        user_id, period = question.user_id, question.period
        floor = 0
        if self._spend is not None:
            try:
                floor = self._spend(user_id, period)
            except Exception as error:  # whatever its source raises
                raise Unavailable(f"the month's total cannot be read from the ledger: {error}") from error
        epoch = self._scripts.epoch()
        seen = self._outstanding.seen(user_id)
        self._scripts.base(user_id, period.label, seen, generation=generation, floor=floor, since_us=epoch.since_us)
