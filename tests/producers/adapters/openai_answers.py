"""Answers in the shapes of OpenAI's API: what the real client parses, and what the loopback server sends."""

from __future__ import annotations

from typing import Any

CREATED = 1_795_424_400  # 2026-11-23T09:00:00Z


def chat(**usage: Any) -> dict[str, Any]:
    """A chat completion; without arguments 1000 tokens in (400 of them cached) and 100 out (64 reasoning)."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": CREATED,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage
        or {
            "prompt_tokens": 1000,
            "completion_tokens": 100,
            "total_tokens": 1100,
            "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 64,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 5,
                "rejected_prediction_tokens": 7,
            },
        },
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }


def chunks(usage: bool = True) -> list[dict[str, Any]]:
    """The chunks of the same chat; with the usage on the last one, as `include_usage` asks for."""
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }
    parts: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"content": "Hel"}, {"content": "lo."}, {}]
    sent = [
        {
            **head,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None if delta else "stop"}],
            "usage": None,
        }
        for delta in parts
    ]
    return [*sent, {**head, "choices": [], "usage": chat()["usage"]}] if usage else sent


def response(status: str = "completed") -> dict[str, Any]:
    """An answer of the responses API: 2000 tokens in, 500 of them cached; 300 out, 200 of them reasoning."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "gpt-4.1-2025-04-14",
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
            }
        ],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "service_tier": "default",
        "usage": {
            "input_tokens": 2000,
            "input_tokens_details": {"cached_tokens": 500, "cache_write_tokens": 0},
            "output_tokens": 300,
            "output_tokens_details": {"reasoning_tokens": 200},
            "total_tokens": 2300,
        },
    }


def response_events() -> list[dict[str, Any]]:
    """The events of the same answer as a stream."""
    begun = {**response("in_progress"), "usage": None, "output": []}
    (message,) = response()["output"]
    (content,) = message["content"]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**content, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "Hello.", "logprobs": []},
        {"type": "response.output_text.done", **place, "text": "Hello.", "logprobs": []},
        {"type": "response.content_part.done", **place, "part": content},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.completed", "response": response()},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def embedding() -> dict[str, Any]:
    """Two texts embedded: 1500 tokens."""
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": [0.25, -0.5]} for index in range(2)],
        "model": "text-embedding-3-small",
        "usage": {"prompt_tokens": 1500, "total_tokens": 1500},
    }


#: What the answers above cost, by hand: tokens x USD per million tokens (picodollars x 1e6).
CHAT_CHARGES = {
    "input-tokens": (600, 600 * 2_500_000),
    "cached-input-tokens": (400, 400 * 1_250_000),
    "output-tokens": (100, 100 * 10_000_000),
}
RESPONSE_CHARGES = {
    "input-tokens": (1500, 1500 * 2_000_000),
    "cached-input-tokens": (500, 500 * 500_000),
    "output-tokens": (300, 300 * 8_000_000),
}
EMBEDDING_CHARGES = {"embedding-text-embedding-3-small": (1500, 1500 * 20_000)}
