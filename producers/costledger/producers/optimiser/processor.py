"""The cost-aware processor: plan -> estimate -> decision -> run, tracked at each step -> what it has really cost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from costledger.producers.guard.decisions import BudgetGuard
from costledger.producers.optimiser.jobs import Job, Setup, WhenUnpriced
from costledger.producers.optimiser.limiting import PlanShares, check_shares
from costledger.producers.optimiser.plans import Plans
from costledger.producers.optimiser.recording import Through
from costledger.producers.optimiser.results import JobResult, JobSkipped
from costledger.producers.optimiser.work import Work
from costledger.producers.prices.book import PriceBook
from costledger.producers.tracker import CostTracker
from costledger.schemas.errors import InvalidValue
from costledger.schemas.settings import load_settings

logger = logging.getLogger(__name__)
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class CostAwareProcessor:
    """Runs jobs within their users' budgets. Safe to share between threads and asyncio tasks.

    `plans` and `plan_shares` default to the settings `plan_file` and `plan_shares`, `price_book` to the tracker's.
    `when_unpriced` is the decision for work of which some price is not known: `skip` (the default: what is not
    known cannot be held to a budget), or `allow`, which asks the guard for the known part alone and logs it.
    Anything else raises `InvalidValue`; `SettingsError` where plans or shares are wrong.
    """

    def __init__(
        self,
        tracker: CostTracker,
        guard: BudgetGuard,
        *,
        plans: Plans | None = None,
        plan_shares: PlanShares | None = None,
        price_book: PriceBook | None = None,
        when_unpriced: WhenUnpriced = "skip",
        clock: Callable[[], datetime] = _now,
    ) -> None:
        if when_unpriced not in get_args(WhenUnpriced):
            raise InvalidValue("when_unpriced", when_unpriced, f"one of {', '.join(get_args(WhenUnpriced))}")
        settings = load_settings()
        plans = Plans.load(settings.plan_file) if plans is None else plans
        self._setup = Setup(
            tracker=tracker,
            guard=guard,
            book=tracker.price_book if price_book is None else price_book,
            plans=plans,
            shares=check_shares(settings.plan_shares if plan_shares is None else plan_shares, plans),
            when_unpriced=when_unpriced,
            clock=clock,
        )

    def job(
        self,
        user_id: str,
        work: Work,
        *,
        tier: str | None = None,
        key: str | None = None,
        through: Through | None = None,
    ) -> Job:
        """A job as a context manager, for `with` and `async with`: see `Job`.

        `tier` is the user's, for the plan. `key` names one attempt at the work. Entered again with it after a crash,
        the job finds the money that it has reserved and reserves none beside it. Once it was settled, which also a
        job that failed half-way is, the guard skips it (`already_settled`): to pay again, take another key. `through` takes the records of the job's events instead of
        the tracker, as an outbox does: it returns the event's id.
        """
        return Job(self._setup, user_id, work, tier, key, through)

    def run(
        self,
        user_id: str,
        work: Work,
        function: Callable[[Job], T],
        *,
        tier: str | None = None,
        key: str | None = None,
        through: Through | None = None,
    ) -> JobResult[T]:
        """Decide, then call `function(job)`; its value is in the result, as is the reason where it was not run.

        What the function raises is raised from here once the spend is settled (`result_of(error)` has the result).
        Blocks for the guard's round trips: in asyncio use `run_async`.
        """
        job = self.job(user_id, work, tier=tier, key=key, through=through)
        try:
            with job:
                value = function(job)
        except JobSkipped as skipped:
            return _skipped(skipped, job)
        return _with_value(job.result, value)

    async def run_async(
        self,
        user_id: str,
        work: Work,
        function: Callable[[Job], Awaitable[T]],
        *,
        tier: str | None = None,
        key: str | None = None,
        through: Through | None = None,
    ) -> JobResult[T]:
        """The same for an async function; a cancelled job settles before it ends."""
        job = self.job(user_id, work, tier=tier, key=key, through=through)
        try:
            async with job:
                value = await function(job)
        except JobSkipped as skipped:
            return _skipped(skipped, job)
        return _with_value(job.result, value)


def _skipped(skipped: JobSkipped, job: Job) -> JobResult[Any]:
    """The result of this job; what another job raises within this one's function is an error of the function."""
    if skipped.result.ran or job.result is not skipped.result:
        raise skipped
    logger.info("a job of %s was not run: %s", job.user_id, skipped.result.decision.reason)
    return skipped.result


def _with_value(result: JobResult[Any], value: T) -> JobResult[T]:
    return replace(result, value=value)
