"""What came of a job: the decision, the plan, the estimate, and what was really spent."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Generic, TypeVar

from costledger.producers.guard.decisions import Decision
from costledger.producers.optimiser.estimates import Estimate
from costledger.producers.optimiser.limiting import LimitedPlan
from costledger.producers.optimiser.recording import Spend, Step
from costledger.schemas.errors import CostledgerError
from costledger.schemas.money import usd_text

logger = logging.getLogger(__name__)
T = TypeVar("T")
_ATTRIBUTE: Final = "costledger_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult(Generic[T]):
    """The end of a job; amounts in 1e-12 USD.

    `ran` is False where the decision was skip. `error` is what the job itself raised, `value` what it returned
    (only through `run`). `settled` says whether the guard took note of the end; None where nothing was held.
    `saved` is what the limited plan saved against the user's own by the estimates, None where that is not known
    or the job did not come to its end.
    """

    user_id: str
    key: str | None
    decision: Decision
    limited: LimitedPlan
    estimate: Estimate
    spend: Spend
    ran: bool
    settled: bool | None = None
    saved: int | None = None
    error: BaseException | None = None
    value: T | None = None

    @property
    def breakdown(self) -> tuple[Step, ...]:
        """Every paid call of the job, in its order."""
        return self.spend.steps

    @property
    def total(self) -> int:
        """What the job has cost its user; at least so much where `spend.is_complete` is False."""
        return self.spend.known

    @property
    def efficiency(self) -> Fraction | None:
        """Actual by estimated cost: 1 is as estimated, less is cheaper.

        An estimate of 0 that came true is 1. None where there is no such number: a job that did not run, cost
        where none was estimated, or a cost or an estimate that is not known in full.
        """
        if not self.ran or not self.spend.is_complete or not self.estimate.is_complete:
            return None
        if self.estimate.total == 0:
            return Fraction(1) if self.total == 0 else None
        return Fraction(self.total, self.estimate.total)

    @property
    def text(self) -> str:
        """The result in one sentence, for logs."""
        if not self.ran:
            return f"not run: {self.decision.reason}"
        end = "done" if self.error is None else f"failed with {type(self.error).__name__}"
        least = "" if self.spend.is_complete else "at least "
        return f"{end}, having cost {least}{usd_text(self.total)} USD; estimated {self.estimate.text}"


class JobSkipped(CostledgerError):
    """The decision was skip: the job's block is not entered. `result` has the decision with its reason."""

    def __init__(self, result: JobResult[Any]) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        return f"the job of {self.result.user_id} was not run: {self.result.decision.reason}"


def attach_result(error: BaseException, result: object) -> None:
    """Let an error that leaves a job carry what was spent."""
    try:
        setattr(error, _ATTRIBUTE, result)
    except (AttributeError, TypeError):
        logger.info("an error of type %s can carry no result; what was spent: %s", type(error).__name__, result)


def result_of(error: BaseException) -> Any:
    """The result that an error out of a job (`JobResult`) or out of batches (`BatchReport`) carries, else None.

    Where one lies within the other, that of the outermost.
    """
    return getattr(error, _ATTRIBUTE, None)
