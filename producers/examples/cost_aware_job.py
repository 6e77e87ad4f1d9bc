"""Run a job within its user's budget: plan, estimate, decision, the calls, and what they have really cost.

Reservations are in Redis (COSTLEDGER_REDIS_URL), where every process of every service sees them; events go to Kafka
(COSTLEDGER_BOOTSTRAP_SERVERS).
"""

from __future__ import annotations

from uuid import uuid4

from costledger.producers import CostTracker
from costledger.producers.guard import RedisGuard
from costledger.producers.optimiser import CostAwareProcessor, ImageWork, Job, result_of
from costledger.schemas.budgets import Budget
from costledger.schemas.money import to_picodollars, usd_text

FIVE_USD = to_picodollars("5")


def own_budget(user_id: str) -> Budget:
    """A service would ask its database here."""
    return Budget(user_id=user_id, tier="premium", monthly_budget=FIVE_USD)


def analyse(job: Job) -> list[str]:
    """Do what the plan allows, and track each paid call through the job."""
    labels = []
    for operation in job.plan.rekognition:
        labels.append(f"result of {operation}")  # ... the call itself
        job.track_rekognition(job.user_id, operation, 1)
    if job.plan.embedding_model is not None:
        job.track_embedding(job.user_id, job.plan.embedding_model, 80)
    return labels


def analyse_badly(job: Job) -> None:
    """Pay for one call, then fail."""
    job.track_rekognition(job.user_id, "detectLabels", 1)
    raise ConnectionError("the second call failed")


def main() -> None:
    """A job that runs, one that is too expensive, and one that fails half-way."""
    with RedisGuard(budgets=own_budget) as guard, CostTracker(source="photo-service") as tracker:
        guard.follow(tracker)
        guard.prepare(30)  # a Redis that is new cannot yet say that nothing is reserved
        processor = CostAwareProcessor(tracker, guard)

        # The id of the piece of work: under the same key it would not be paid a second time.
        key = f"photo-{uuid4()}"
        result = processor.run("user-1", ImageWork(size_bytes=2_000_000), analyse, tier="premium", key=key)
        print(f"{result.decision.verdict}: {result.value}")
        for step in result.breakdown:
            print(f"  {step.service}/{step.operation}: {usd_text(step.amount or 0)} USD")
        print(f"  {result.text}; efficiency {float(result.efficiency or 0):.3f}")
        assert result.ran

        skipped = processor.run("user-1", ImageWork(images=10_000), analyse, tier="premium")
        print(skipped.text)
        assert not skipped.ran

        try:
            processor.run("user-1", ImageWork(), analyse_badly, tier="premium")
        except ConnectionError as error:
            print(result_of(error).text)

        assert tracker.flush(30) == 0


if __name__ == "__main__":
    main()
