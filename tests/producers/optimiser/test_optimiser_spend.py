"""What a job has spent: unpriced, by wrong calls, for others, twice, in more steps than are kept. In 1e-12 USD."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.producers.guard.plain_guard import PlainGuard
from tests.producers.optimiser.optimising import DEFAULT_IMAGE, PREMIUM_IMAGE, USD, analyse

from costledger.producers import CostTracker
from costledger.producers.guard import Verdict
from costledger.producers.optimiser import recording
from costledger.producers.optimiser.jobs import UNPRICED_ESTIMATE, Job
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.producers.optimiser.work import CombinedWork, ImageWork, OperationWork
from costledger.schemas.ids import new_event_id


def test_work_of_unknown_cost_is_skipped_unless_allowed(tracker: CostTracker) -> None:
    """An unknown price is not 0: nothing is reserved as if it were. Allowed, the known part is held to the budget."""
    guard = PlainGuard(USD)
    work = CombinedWork([ImageWork(), OperationWork("nobody", "knows")])
    result = CostAwareProcessor(tracker, guard).run("u", work, analyse)
    assert (result.ran, result.decision.code, result.decision.verdict) == (False, UNPRICED_ESTIMATE, Verdict.SKIP)
    assert "no price for 1 units of nobody/knows" in result.decision.reason
    assert guard.nothing_is_held()

    def job(job: Job) -> None:
        job.track("u", "nobody", "knows", 1)

    allowed = CostAwareProcessor(tracker, guard, when_unpriced="allow").run("u", work, job)
    assert (allowed.ran, allowed.decision.estimate, allowed.efficiency) == (True, DEFAULT_IMAGE, None)
    # The event had no price: the hold stays as it was, rather than becoming 0.
    assert [entry[2] for entry in guard.settled] == [DEFAULT_IMAGE]


@pytest.mark.parametrize(
    ("wrong", "unpriced", "rejected"),
    [
        (lambda job: job.track("u", "nobody", "knows", 1), 1, 0),
        (lambda job: job.track("u", "", "o", 1), 0, 1),
        (lambda job: job.track("u", "s", "o", "many"), 0, 1),
        (lambda job: job.track_chat("u", "gpt-4o", -1, 0), 0, 1),
        (lambda job: job.emit(None), 0, 1),
    ],
)
def test_spend_that_is_not_known_never_frees_money(
    tracker: CostTracker, wrong: Any, unpriced: int, rejected: int
) -> None:
    """A call without a price, or tracked with wrong arguments: the hold stays at least as large as it was."""
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        wrong(job)

    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), job, tier="premium")
    assert (result.spend.unpriced, result.spend.rejected) == (unpriced, rejected)
    assert (result.total, result.efficiency) == (1_000_000_000, None)
    assert "having cost at least 0.001 USD" in result.text
    # No event is named: the month's total will never have what nobody knows, and the amount counts for its full time.
    assert [entry[2:] for entry in guard.settled] == [(PREMIUM_IMAGE, ())]
    assert tracker.stats()["rejected"] == rejected


def test_another_users_events_and_repeats_are_not_this_users_spend(tracker: CostTracker) -> None:
    """They stand in the breakdown; the guard of this user is told of their own events, each once."""
    guard = PlainGuard(USD)
    at = datetime(2026, 11, 23, 9, tzinfo=UTC)
    event_id = new_event_id(int(at.timestamp() * 1_000_000))

    def job(job: Job) -> None:
        job.track_rekognition("someone else", "detectLabels", 5)
        for _ in range(2):
            job.track("u", "aws-rekognition", "detectLabels", 1, event_id=event_id)

    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert [step.user_id for step in result.breakdown] == ["someone else", "u"]
    assert (result.total, result.spend.others) == (1_000_000_000, 5_000_000_000)
    assert guard.settled == [("u", "r1", 1_000_000_000, (event_id,))]
    assert guard.expected == [("u", event_id)], "told before it is tracked, so that its acknowledgement is kept"


def test_a_long_jobs_breakdown_is_bounded_and_its_total_is_not(
    tracker: CostTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps beyond the bound are counted, and their amounts are in the total."""
    monkeypatch.setattr(recording, "STEPS_MAX", 3)
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        for _ in range(5):
            job.track_rekognition("u", "detectLabels", 1)

    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert (len(result.breakdown), result.spend.steps_omitted, result.total) == (3, 2, 5_000_000_000)
    # Three of five events are not all: a guard that was told them would end the hold when it has seen the three.
    assert guard.settled == [("u", "r1", 5_000_000_000, ())]
