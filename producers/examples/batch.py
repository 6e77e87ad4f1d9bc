"""Do many small things in batches, know what each batch has cost, and what that saved against one by one."""

from __future__ import annotations

from costledger.producers import CostTracker
from costledger.producers.optimiser import Batch, BatchProcessor, OperationWork
from costledger.schemas.money import usd_text

COMMENTS = [f"comment number {number}: fine" for number in range(60)]


def sentiments(batch: Batch[str]) -> list[str | Exception]:
    """One call for the whole batch: Comprehend charges begun hundreds of characters, so short texts share them."""
    text = "\n".join(batch.items)
    batch.track_comprehend(batch.user_id, "detectSentiment", len(text))
    # ... the call. One item may fail without the others.
    return [ValueError("too short") if len(item) < 5 else "POSITIVE" for item in batch.items]


def one_by_one(comment: str) -> OperationWork:
    """What the same would be without batches, for the saving."""
    return OperationWork("aws-comprehend", "detectSentiment", len(comment), unit="character")


def main() -> None:
    """60 comments: batches of 25, 25 and 10, three at a time."""
    with CostTracker(source="comment-service") as tracker:
        report = BatchProcessor(tracker, "user-1").run(COMMENTS, sentiments, one_by_one=one_by_one)
        assert tracker.flush(30) == 0
    for batch in report.batches:
        print(f"batch {batch.index}: {batch.items} items, {usd_text(batch.spend.known)} USD")
    print(f"{len(report.failed)} failed; {usd_text(report.cost)} USD in all, {report.saving_text}")
    assert report.values == ["POSITIVE"] * 60
    assert (report.saving or 0) > 0


if __name__ == "__main__":
    main()
