"""OpenAI's answers as the real package's types and as dictionaries: every token once, at its own price."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import CompletionUsage, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseCompletedEvent
from tests.producers.adapters import openai_answers as answers
from tests.producers.collecting import CollectingTracker

from costledger.producers import CostTracker, EventDropped
from costledger.producers.adapters import track_openai
from costledger.producers.adapters.openai_usage import openai_draft, usage_of
from costledger.schemas.errors import InvalidValue

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


def tracked(response: Any, **options: Any) -> CollectingTracker:
    """A tracker to which one answer was given."""
    tracker = CollectingTracker()
    track_openai(tracker, "user-1", response, **options)
    return tracker


@pytest.mark.parametrize("form", [ChatCompletion.model_validate, dict, lambda answer: [answer]])
def test_a_chat_is_priced_by_disjoint_kinds(form: Any) -> None:
    """gpt-4o: 600 x 2.50 + 400 x 1.25 + 100 x 10.00 USD per million; reasoning within the output."""
    tracker = tracked(form(answers.chat()))
    assert tracker.charges() == answers.CHAT_CHARGES
    assert tracker.usd() == Decimal("0.003")
    output = next(record for record in tracker.records if record["operation"] == "output-tokens")
    assert output["metadata"] == {
        "model": "gpt-4o-2024-08-06",
        "response_id": "chatcmpl-1",
        "reasoning_tokens": "64",
        "accepted_prediction_tokens": "5",
        "rejected_prediction_tokens": "7",
    }
    others = [record["metadata"] for record in tracker.records if record is not output]
    assert others == [{"model": "gpt-4o-2024-08-06", "response_id": "chatcmpl-1"}] * 2


@pytest.mark.parametrize("form", [Response.model_validate, dict])
def test_a_response_is_priced_by_disjoint_kinds(form: Any) -> None:
    """gpt-4.1: 1500 x 2.00 + 500 x 0.50 + 300 x 8.00 USD per million."""
    tracker = tracked(form(answers.response()))
    assert tracker.charges() == answers.RESPONSE_CHARGES
    assert tracker.usd() == Decimal("0.00565")


@pytest.mark.parametrize("form", [CreateEmbeddingResponse.model_validate, dict])
def test_an_embedding_has_its_own_operation(form: Any) -> None:
    """1500 x 0.02 USD per million, and no output."""
    tracker = tracked(form(answers.embedding()))
    assert tracker.charges() == answers.EMBEDDING_CHARGES


def test_audio_is_neither_text_nor_counted_twice() -> None:
    """gpt-audio: 300 text x 2.50, 700 audio x 32.00, 20 text out x 10.00, 80 audio out x 64.00 USD per million."""
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "total_tokens": 1100,
        "prompt_tokens_details": {"audio_tokens": 700, "cached_tokens": 0},
        "completion_tokens_details": {"audio_tokens": 80, "reasoning_tokens": 0},
    }
    answer = ChatCompletion.model_validate({**answers.chat(**usage), "model": "gpt-audio"})
    assert tracked(answer).charges() == {
        "input-tokens": (300, 300 * 2_500_000),
        "audio-input-tokens": (700, 700 * 32_000_000),
        "output-tokens": (20, 20 * 10_000_000),
        "audio-output-tokens": (80, 80 * 64_000_000),
    }


def test_realtime_tells_which_cached_tokens_were_audio() -> None:
    """gpt-realtime's `response.done`: the details name the cached audio."""
    event = {
        "type": "response.done",
        "response": {
            "id": "resp_2",
            "object": "realtime.response",
            "status": "completed",
            "usage": {
                "total_tokens": 1300,
                "input_tokens": 1000,
                "output_tokens": 300,
                "input_token_details": {
                    "text_tokens": 500,
                    "audio_tokens": 500,
                    "cached_tokens": 400,
                    "cached_tokens_details": {"text_tokens": 250, "audio_tokens": 150},
                },
                "output_token_details": {"text_tokens": 100, "audio_tokens": 200},
            },
        },
    }
    assert tracked(event, model="gpt-realtime").charges() == {
        "input-tokens": (250, 250 * 4_000_000),
        "cached-input-tokens": (250, 250 * 400_000),
        "audio-input-tokens": (350, 350 * 32_000_000),
        "cached-audio-input-tokens": (150, 150 * 400_000),
        "output-tokens": (100, 100 * 16_000_000),
        "audio-output-tokens": (200, 200 * 64_000_000),
    }


def test_the_chunks_of_a_stream_are_one_answer() -> None:
    """The usage is on the last chunk; the ids of the events are those of the answer that came whole."""
    streamed = tracked([ChatCompletionChunk.model_validate(chunk) for chunk in answers.chunks()])
    assert streamed.charges() == answers.CHAT_CHARGES
    assert streamed.ledger == tracked(answers.chat()).ledger


def test_usage_that_grows_from_chunk_to_chunk_is_counted_once() -> None:
    """Some servers report a total on each chunk: the last one is the total."""
    parts = answers.chunks()
    for number, chunk in enumerate(parts[:-1]):
        chunk["usage"] = {"prompt_tokens": 1000, "completion_tokens": number, "total_tokens": 1000 + number}
    assert tracked(parts).charges() == answers.CHAT_CHARGES


def test_the_event_that_completes_a_stream_is_the_answer() -> None:
    """`response.completed` by itself, and all the events together."""
    completed = ResponseCompletedEvent.model_validate(answers.response_events()[-1])
    assert tracked(completed).ledger == tracked(answers.response()).ledger
    assert tracked(answers.response_events()).charges() == answers.RESPONSE_CHARGES


def test_a_stream_without_usage_is_unpriced_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Never 0: one request of an unknown size, with what is known."""
    with caplog.at_level(logging.WARNING):
        record = tracked(answers.chunks(usage=False), provider="openai").only()
    assert (record["operation"], record["quantity"], record["unit"]) == ("unreported-usage", 10**9, "request")
    assert (record["amount"], record["unit_price"], record["occurred_at"]) == (None, None, answers.CREATED * 10**6)
    assert record["metadata"] == {
        "model": "gpt-4o-2024-08-06",
        "response_id": "chatcmpl-1",
        "usage": "was not reported",
    }


def test_a_warning_is_logged_once_for_each_model(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand such streams do not fill the log."""
    stream = [{**chunk, "model": "gpt-4o-warned"} for chunk in answers.chunks(usage=False)]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            tracked(stream)
    assert [record.message for record in caplog.records] == [
        "a request to openai gpt-4o-warned is recorded as unpriced: its usage was not reported"
    ]


def test_counts_that_contradict_each_other_are_unpriced() -> None:
    """More cached than there was: the event keeps both totals, and no token is priced."""
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 11}}
    record = tracked(answers.chat(**usage)).only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert record["metadata"]["usage"].startswith("contradicts itself: cached_input_tokens is 11")
    assert (record["metadata"]["input_tokens"], record["metadata"]["output_tokens"]) == ("10", "1")


def test_the_same_answer_twice_is_one_event_for_each_kind() -> None:
    """The ids are derived from the answer's id and time, whatever form it comes in."""
    tracker = tracked(answers.chat())
    track_openai(tracker, "user-1", ChatCompletion.model_validate(answers.chat()))
    assert (len(tracker.records), len(tracker.ledger)) == (6, 3)
    assert tracker.usd() == Decimal("0.003")
    another = {**answers.chat(), "id": "chatcmpl-2"}
    track_openai(tracker, "user-1", another)
    assert tracker.usd() == Decimal("0.006")


def test_ids_are_fresh_where_an_answer_cannot_be_told_from_another() -> None:
    """Embeddings have no id, some servers' ids are always the same: `repeatable=False`."""
    tracker = CollectingTracker()
    for _ in range(2):
        track_openai(tracker, "user-1", answers.embedding())
        track_openai(tracker, "user-1", answers.chat(), repeatable=False)
    assert len(tracker.ledger) == 2 + 6


def test_another_tier_is_not_priced_as_the_usual_one() -> None:
    """Priority processing costs more than what the price book has for gpt-4o."""
    tracker = tracked({**answers.chat(), "service_tier": "priority"})
    assert {operation: amount for operation, (_, amount) in tracker.charges().items()} == {
        "input-tokens-priority": None,
        "cached-input-tokens-priority": None,
        "output-tokens-priority": None,
    }
    assert {record["metadata"]["service_tier"] for record in tracker.records} == {"priority"}


def test_both_spellings_at_once_are_the_same_tokens() -> None:
    """Servers that send `prompt_tokens` beside `input_tokens` mean one count."""
    usage = usage_of({"input_tokens": 7, "prompt_tokens": 7, "output_tokens": 3, "completion_tokens": 3})
    assert (usage.input_tokens, usage.output_tokens) == (7, 3)


def test_writes_to_the_cache_are_read_from_either_api() -> None:
    """Also those that are kept for twelve hours, apart."""
    details = {
        "cached_tokens": 1,
        "cache_write_tokens": 5,
        "cache_write_tokens_details": {"ttl_30m_tokens": 3, "ttl_12h_tokens": 2},
    }
    usage = usage_of({"input_tokens": 10, "input_tokens_details": details, "output_tokens": 0})
    assert (usage.cache_write_tokens, usage.cache_write_12h_tokens) == (5, 2)
    chat = CompletionUsage.model_validate(
        {
            "prompt_tokens": 10,
            "completion_tokens": 0,
            "total_tokens": 10,
            "prompt_tokens_details": {"cache_write_tokens": 4, "image_tokens": 2},
        }
    )
    assert (usage_of(chat).cache_write_tokens, usage_of(chat).image_input_tokens) == (4, 2)


def test_the_model_and_the_time_can_be_given() -> None:
    """For what names neither; the caller's metadata is kept."""
    answer = {"usage": {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}}
    tracker = tracked(answer, model="gpt-4o", occurred_at=AT, metadata={"file": "a"})
    assert tracker.charges()["input-tokens"] == (10, 10 * 2_500_000)
    assert {record["metadata"]["file"] for record in tracker.records} == {"a"}
    assert {record["occurred_at"] for record in tracker.records} == {int(AT.timestamp()) * 10**6}


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        "text",
        {},
        [],
        iter([answers.chat()]),
        {"model": "gpt-4o", "usage": {"prompt_tokens": "many"}},
        {"model": "gpt-4o", "usage": {"prompt_tokens": -1}},
        {"model": "gpt-4o", "created": 1e300, "usage": {"prompt_tokens": 1}},
    ],
)
def test_what_is_no_answer_is_rejected_and_raises_nothing(nonsense: Any) -> None:
    """One rejected event, which names the field; the draft by itself does raise."""
    tracker = tracked(nonsense)
    assert (tracker.records, len(tracker.rejected)) == ([], 1)
    assert isinstance(tracker.rejected[0], InvalidValue)


def test_a_draft_publishes_nothing() -> None:
    """And has what would be published."""
    draft = openai_draft("user-1", answers.chat())
    assert draft.user_id == "user-1"
    with pytest.raises(InvalidValue, match="response"):
        openai_draft("user-1", None)


@pytest.mark.parametrize("response", [None, {"model": "gpt-4o", "usage": {"prompt_tokens": "many"}}])
def test_a_strict_tracker_raises_and_counts_once(response: Any) -> None:
    """What could not be read is one event: tracked, dropped, rejected; without `strict` nothing is raised."""
    with CostTracker("127.0.0.1:9", "tests", strict=True, flush_timeout_seconds=0) as strict:
        with pytest.raises(EventDropped):
            track_openai(strict, "user-1", response)
        stats = strict.stats()
    assert (stats["tracked"], stats["dropped"], stats["rejected"]) == (1, 1, 1)
    told: list[EventDropped] = []
    with CostTracker("127.0.0.1:9", "tests", on_error=told.append, flush_timeout_seconds=0) as tracker:
        assert len(track_openai(tracker, "user-1", response)) == 1
        assert tracker.stats()["rejected"] == 1
    assert [event.reason for event in told] == ["invalid"]


def test_a_strict_tracker_counts_a_wrong_user_once() -> None:
    """The tracker raised already; the adapter does not count it again."""
    with CostTracker("127.0.0.1:9", "tests", strict=True, flush_timeout_seconds=0) as strict:
        with pytest.raises(EventDropped):
            track_openai(strict, "", answers.embedding())
        assert strict.stats()["tracked"] == 1


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 1000},
        {"completion_tokens": 1000},
        {"prompt_tokens": 1000, "completion_tokens": None, "total_tokens": 5000},
        {"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 5000},
        {"prompt_tokens": 10**40, "completion_tokens": 1},
    ],
)
def test_a_half_that_nobody_has_counted_is_not_zero(usage: dict[str, Any]) -> None:
    """Nor is a part of a contradiction priced, nor half of a call: one unpriced event, with what is known."""
    (record,) = tracked({"model": "gpt-4o", "usage": usage}).records
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert "1000" in record["metadata"].values() or "1" in record["metadata"].values()


def test_empty_details_beside_the_other_spelling_say_nothing() -> None:
    """The cached tokens are read from where they are told."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "input_tokens_details": {}}
    charges = tracked(
        {"model": "gpt-4o", "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 900}}}
    ).charges()
    assert (charges["input-tokens"][0], charges["cached-input-tokens"][0]) == (100, 900)


@pytest.mark.parametrize(
    "empty", [{}, {"cached_tokens": None}, SimpleNamespace(cached_tokens=None), {"audio_tokens": 0}]
)
def test_details_that_do_not_tell_a_part_hide_it_nowhere(empty: Any) -> None:
    """Each part is read where it is told, whatever form the other spelling's details have."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "input_tokens_details": empty}
    tracker = tracked({"model": "gpt-4o", "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 900}}})
    assert (tracker.charges()["input-tokens"][0], tracker.charges()["cached-input-tokens"][0]) == (100, 900)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"input_tokens": 0, "prompt_tokens": 1000, "completion_tokens": 1}, ("input_tokens", "prompt_tokens")),
        ({"prompt_tokens": 9, "output_tokens": 0, "completion_tokens": 7}, ("output_tokens", "completion_tokens")),
        (
            {
                "prompt_tokens": 1000,
                "completion_tokens": 1,
                "input_tokens_details": {"cached_tokens": 0},
                "prompt_tokens_details": {"cached_tokens": 900},
            },
            ("input_tokens_details.cached_tokens", "prompt_tokens_details.cached_tokens"),
        ),
        (
            {
                "prompt_tokens": 1,
                "completion_tokens": 9,
                "output_tokens_details": {"rejected_prediction_tokens": 1},
                "completion_tokens_details": {"rejected_prediction_tokens": 2},
            },
            (
                "output_tokens_details.rejected_prediction_tokens",
                "completion_tokens_details.rejected_prediction_tokens",
            ),
        ),
    ],
)
def test_two_spellings_with_two_numbers_are_unpriced(usage: dict[str, Any], told: tuple[str, str]) -> None:
    """Neither is chosen; the event says what each of them said."""
    record = tracked(answers.chat(**usage)).only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert record["metadata"]["usage"] == f"contradicts itself: {told[0]} and {told[1]} are not the same"
    assert record["metadata"][told[0]] != record["metadata"][told[1]]


@pytest.mark.parametrize(
    ("usage", "metadata"),
    [
        ({"prompt_tokens": 7}, {"usage": "was only half reported", "input_tokens": "7"}),
        ({"output_tokens": 7}, {"usage": "was only half reported", "output_tokens": "7"}),
        ({"total_tokens": 7}, {"usage": "was not reported", "total_tokens": "7"}),
        # Nothing but the input's count in the total is no report of an output of 0.
        (
            {"prompt_tokens": 7, "total_tokens": 7},
            {"usage": "was only half reported", "input_tokens": "7", "total_tokens": "7"},
        ),
    ],
)
def test_what_is_known_of_an_unpriced_request_is_told(usage: dict[str, Any], metadata: dict[str, str]) -> None:
    """The counts that there were, and only those."""
    record = tracked({"model": "gpt-4o", "usage": usage}).only()
    assert record["metadata"] == {"model": "gpt-4o", **metadata}


@pytest.mark.parametrize("usage", [{"prompt_tokens": 10**10}, {"prompt_tokens": 1500, "total_tokens": 1501}])
def test_an_embedding_whose_count_cannot_be_is_unpriced(usage: dict[str, Any]) -> None:
    """More than an event can hold, or another total; without a total its input is all there is to know."""
    record = tracked({**answers.embedding(), "usage": usage}).only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    fine = {**answers.embedding(), "usage": {"prompt_tokens": 1500}}
    assert tracked(fine).charges() == answers.EMBEDDING_CHARGES


def test_a_long_tier_makes_all_kinds_of_a_call_or_none() -> None:
    """`input-tokens` would just fit before it, `cached-input-tokens` would not."""
    tracker = tracked({**answers.chat(), "service_tier": "t" * 115})
    assert (len(tracker.records), tracker.rejected) == (3, [])
    assert {record["amount"] for record in tracker.records} == {None}


@pytest.mark.parametrize("details", ["output_tokens_details", "completion_tokens_details"])
def test_images_in_the_output_are_not_priced_as_text(details: str) -> None:
    """They cost several times as much, and nobody says so: unpriced, with the counts."""
    names = ("input", "output") if details.startswith("output") else ("prompt", "completion")
    usage = {
        f"{names[0]}_tokens": 50,
        f"{names[1]}_tokens": 4_200,
        "total_tokens": 4_250,
        details: {"image_tokens": 4_160},
    }
    record = tracked({"usage": usage}, model="gpt-image-1.5").only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert record["metadata"]["image_output_tokens"] == "4160"
    usage[details] = {"image_tokens": 0}
    assert "output-tokens" in tracked({"usage": usage}, model="gpt-image-1.5").charges()
