"""Know what a request to a language model may cost, make it, and track what it has cost."""

from __future__ import annotations

from datetime import UTC, datetime

from costledger.producers import CostTracker
from costledger.producers.optimiser import ChatWork

MODEL = "gpt-4o"


def main() -> None:
    """An estimate from the tokens that may be used, an event for each kind that was."""
    with CostTracker(source="assistant") as tracker:
        estimate = ChatWork(MODEL, input_tokens=1200, output_tokens_max=500).estimate(
            tracker.price_book, datetime.now(UTC)
        )
        for item in estimate.items:
            print(f"at most {item.label} at {item.unit_price} USD")
        print(f"at most {estimate.text}")
        # ... the request; the provider says that 400 of the input tokens came from its cache.
        ids = tracker.track_chat("user-1", MODEL, input_tokens=1200, output_tokens=80, cached_input_tokens=400)
        waiting = tracker.flush(30)
    print(f"{len(ids)} events, {waiting} still waiting")
    assert len(ids) == 3
    assert waiting == 0


if __name__ == "__main__":
    main()
