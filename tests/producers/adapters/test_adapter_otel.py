"""Spans of generative AI: old and new names of one count are one count."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.producers.collecting import CollectingTracker

from costledger.producers.adapters import track_gen_ai_span
from costledger.schemas.errors import InvalidValue

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
NAMES = {
    "input": ["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"],
    "output": ["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"],
    "read": [
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
        "gen_ai.usage.cached_tokens",
    ],
    "written": ["gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"],
    "reasoning": [
        "gen_ai.usage.reasoning.output_tokens",
        "gen_ai.usage.reasoning_output_tokens",
        "gen_ai.usage.output_tokens.reasoning",
    ],
}
COUNTS = {"input": 1000, "output": 100, "read": 200, "written": 500, "reasoning": 30}
#: claude-sonnet-4 by hand: 300 x 3.00 + 200 x 0.30 + 500 x 3.75 + 100 x 15.00 USD per million.
CHARGES = {
    "input-tokens": (300, 300 * 3_000_000),
    "cached-input-tokens": (200, 200 * 300_000),
    "cache-write-tokens": (500, 500 * 3_750_000),
    "output-tokens": (100, 100 * 15_000_000),
}
BASE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.request.model": "claude-sonnet-4-0",
    "gen_ai.response.model": "claude-sonnet-4-20250514",
    "gen_ai.response.id": "msg_1",
}


def tracked(span: Any, **options: Any) -> CollectingTracker:
    """A tracker to which one span was given."""
    tracker = CollectingTracker()
    track_gen_ai_span(tracker, "user-1", span, **{"occurred_at": AT, **options})
    return tracker


@settings(deadline=None)
@given(st.fixed_dictionaries({kind: st.sets(st.sampled_from(names), min_size=1) for kind, names in NAMES.items()}))
def test_any_spellings_at_once_are_counted_once(chosen: dict[str, set[str]]) -> None:
    """One name or all of them: the same events, the same amounts."""
    counts = {name: COUNTS[kind] for kind, names in chosen.items() for name in names}
    tracker = tracked({**BASE, **counts})
    assert tracker.charges() == CHARGES
    assert tracker.usd() == Decimal("0.004335")


def test_cached_tokens_beside_the_input_are_added_where_the_caller_says_so() -> None:
    """As Anthropic's own usage reports them: 300 tokens of input, and the cached ones besides."""
    counts = {NAMES[kind][0]: COUNTS[kind] for kind in NAMES} | {"gen_ai.usage.input_tokens": 300}
    assert tracked({**BASE, **counts}, cache_within_input=False).charges() == CHARGES


@pytest.mark.parametrize(
    ("system", "service"),
    [("azure.ai.openai", "azure"), ("az.ai.openai", "azure"), ("openai", "openai"), ("gcp.gemini", "google")],
)
def test_the_older_name_of_the_provider_and_its_synonyms_are_known(system: str, service: str) -> None:
    """`gen_ai.system`, and the conventions' names for the clouds."""
    counts = {"gen_ai.usage.prompt_tokens": 3, "gen_ai.usage.completion_tokens": 0}
    span = {"gen_ai.system": system, "gen_ai.request.model": "gpt-4o", **counts}
    tracker = tracked(span)
    assert {record["service"] for record in tracker.records} == {service}
    assert tracker.charges()["input-tokens"][0] == 3


def test_the_newer_name_of_the_provider_and_the_model_of_the_response_win() -> None:
    """Both may be there; the response's model is the one that was paid for."""
    span = {**BASE, "gen_ai.system": "openai", "gen_ai.usage.input_tokens": 1}
    record = tracked(span).records[0]
    assert (record["service"], record["metadata"]["model"]) == ("anthropic", "claude-sonnet-4-20250514")


def test_an_embedding_is_an_embedding() -> None:
    """By the name of its operation."""
    span = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "text-embedding-3-large",
        "gen_ai.usage.input_tokens": 100,
    }
    assert tracked(span).charges() == {"embedding-text-embedding-3-large": (100, 100 * 130_000)}


def test_a_finished_span_says_when_and_which_it_was() -> None:
    """Its end is the time, its ids make the events repeatable where the response has none."""
    attributes = {name: value for name, value in BASE.items() if name != "gen_ai.response.id"}
    span = SimpleNamespace(
        attributes={**attributes, "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 1},
        end_time=int(AT.timestamp()) * 10**9 + 1_234_567,
        context=SimpleNamespace(trace_id=1, span_id=2),
    )
    tracker = tracked(span, occurred_at=None)
    track_gen_ai_span(tracker, "user-1", span)
    assert (len(tracker.records), len(tracker.ledger)) == (4, 2)
    assert {record["occurred_at"] for record in tracker.records} == {int(AT.timestamp()) * 10**6 + 1234}


def test_a_span_without_counts_is_unpriced() -> None:
    """Never 0."""
    record = tracked(BASE).only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)


def test_another_tier_is_not_priced_as_the_usual_one() -> None:
    """The tier of the response, where the instrumentation says it."""
    span = {
        "gen_ai.provider.name": "openai",
        "gen_ai.response.model": "gpt-4o",
        "openai.response.service_tier": "flex",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 1,
    }
    assert set(tracked(span).charges()) == {"input-tokens-flex", "output-tokens-flex"}


@pytest.mark.parametrize(
    "nonsense",
    [None, 1, {}, {"gen_ai.system": "openai"}, {**BASE, "gen_ai.usage.input_tokens": "many"}],
)
def test_what_is_no_such_span_is_rejected_and_raises_nothing(nonsense: Any) -> None:
    """One rejected event."""
    tracker = tracked(nonsense)
    assert tracker.records == []
    (error,) = tracker.rejected
    assert isinstance(error, InvalidValue)


@pytest.mark.parametrize("counted", ["gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"])
def test_a_half_that_the_span_does_not_count_is_not_zero(counted: str) -> None:
    """One unpriced event, with the half that is known in its metadata."""
    (record,) = tracked({**BASE, counted: 7}).records
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert record["metadata"][counted.removeprefix("gen_ai.usage.")] == "7"


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        (
            {"gen_ai.usage.total_tokens": 1101, "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.output_tokens": 100},
            "contradicts itself: its total is not the sum of its parts",
        ),
        (
            {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.prompt_tokens": 9, "gen_ai.usage.output_tokens": 1},
            "contradicts itself: gen_ai.usage.input_tokens and gen_ai.usage.prompt_tokens are not the same",
        ),
        (
            {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.usage.input_tokens": 9,
                "gen_ai.usage.output_tokens": 1,
            },
            "contradicts itself: embeddings have no output",
        ),
        (
            {"gen_ai.operation.name": "embeddings", "gen_ai.usage.input_tokens": 10**10},
            "is more than 9000000000 tokens",
        ),
    ],
)
def test_a_span_that_contradicts_itself_is_unpriced(counts: dict[str, Any], why: str) -> None:
    """One event, with the reason."""
    record = tracked({**BASE, **counts}).only()
    assert (record["operation"], record["amount"], record["metadata"]["usage"]) == ("unreported-usage", None, why)


@pytest.mark.parametrize("total", [400, 1100])
def test_a_total_may_have_the_cached_tokens_that_the_input_has_not(total: int) -> None:
    """300 + 100, or with the 700 of the cache: both are the same request."""
    counts = {NAMES[kind][0]: COUNTS[kind] for kind in NAMES} | {"gen_ai.usage.input_tokens": 300}
    span = {**BASE, **counts, "gen_ai.usage.total_tokens": total}
    assert tracked(span, cache_within_input=False).charges() == CHARGES
    within = {**span, "gen_ai.usage.input_tokens": 1000, "gen_ai.usage.total_tokens": 1100}
    assert tracked(within).charges() == CHARGES


def test_tokens_beside_an_input_that_nobody_counted_are_not_the_input() -> None:
    """The event does not say that it was as large as what was read from the cache."""
    counts = {"gen_ai.usage.cache_read.input_tokens": 200, "gen_ai.usage.output_tokens": 5}
    metadata = tracked({**BASE, **counts}, cache_within_input=False).only()["metadata"]
    assert (metadata["output_tokens"], "input_tokens" in metadata) == ("5", False)
