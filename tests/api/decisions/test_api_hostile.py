"""Whatever is sent to the routes of decisions, the answer is never a failure of the server."""

from __future__ import annotations

import json
import math
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.api.decisions.conftest import Caller

PATHS: Final = (
    "/api/estimates",
    "/api/decisions",
    f"/api/reservations/{'0' * 32}/settle",
    f"/api/reservations/{'0' * 32}/release",
)
NAMES: Final = (
    "kind", "size_bytes", "images", "model", "provider", "input_tokens", "output_tokens_max", "cached_input_tokens",
    "tokens", "service", "operation", "quantity", "unit", "metadata", "parts", "tier", "occurs_at", "work", "amount",
    "user_id", "reserve", "key", "event_ids",
)  # fmt: skip
KINDS: Final = ("image", "video", "chat", "embedding", "operation", "combined")
REAL: Final = ("openai", "aws-s3", "storage", "stripe", "charge", "charge_usd", "character", "gpt-4o", "free", "user-1")
EVIL: Final = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"image"',
    b"\xff\xfe",
    b'{"kind": "image", "images": NaN}',
    b'{"kind": "image", "images": 1e999999999}',
    b'{"kind": "image", "images": 1e-999999999}',
    b'{"kind": "image", "images": ' + b"9" * 5000 + b"}",
    b'{"kind": "operation", "service": "s", "operation": "o", "quantity": 1e999999999}',
    b'{"kind": "operation", "service": "s", "operation": "o", "quantity": "1e999999999"}',
    b'{"kind": "operation", "service": "s", "operation": "o", "metadata": {"\\ud800": "\\udfff"}}',
    b'{"kind": "operation", "service": "\\ud800", "operation": "o"}',
    b'{"kind": "operation", "service": "aws-s3", "operation": "put", "metadata": {"model": "\\u0000"}}',
    b'{"kind": "operation", "service": "stripe", "operation": "charge", "metadata": {"charge_usd": "1e999999"}}',
    b'{"kind": "image", "\\ud800": 1}',
    b'{"kind": "\\ud800"}',
    b'{"kind": "image", "tier": "\\u0000"}',
    b'{"kind": "image", "occurs_at": "9999-12-31T23:59:59-23:59"}',
    b'{"kind": "image", "occurs_at": 1e400}',
    b'{"kind": "image", "occurs_at": "+292277026596-12-04T15:30:08Z"}',
    b'{"kind": "combined", "parts": [{"kind": "combined", "parts": [{"kind": "image"}]}]}',
    b'{"kind": "\xed\xa0\x80"}',
    '{"kind": "image"}'.encode("utf-16"),
    b'{"amount": "1e-400"}',
    b'{"amount": 1e-400}',
    b'{"amount": "\\u0661"}',
    b'{"amount": "0x10"}',
    b'{"amount": "' + b"9" * 5000 + b'"}',
    b'{"amount": 0.' + b"1" * 5000 + b"}",
    b'{"amount": "1", "reserve": true, "key": "\\ud800"}',
    b'{"amount": "1", "user_id": "\\u0000"}',
    b'{"amount": "1", "user_id": "a}:b{"}',
    b'{"amount": "1", "user_id": "\\ud800"}',
    b'{"amount": "1", "user_id": " "}',
    b'{"amount": "1", "event_ids": ["ffffffff-ffff-7fff-bfff-ffffffffffff"]}',
    b"[" * 60_000,
    b'{"work":' * 10_000,
)

#: Hypothesis takes the app's own threads, which draw random numbers (how long to wait), for a strategy's.
pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")

texts = st.one_of(
    st.text(max_size=20), st.sampled_from((*KINDS, *REAL)), st.decimals().map(str), st.uuids().map(str), st.datetimes().map(str)
)  # fmt: skip
numbers = st.one_of(st.integers(-10, 10), st.integers(), st.floats(allow_nan=False).filter(math.isfinite))
documents = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.sampled_from(NAMES), texts), inner, max_size=5)
    ),
    max_leaves=12,
)
#: Nearly right: some work with some of its fields, one of which may be anything.
counts = st.one_of(st.integers(0, 2**51), documents)
works = st.fixed_dictionaries(
    {"kind": st.sampled_from(KINDS)},
    optional={
        "size_bytes": counts,
        "images": counts,
        "model": texts,
        "provider": texts,
        "input_tokens": counts,
        "output_tokens_max": counts,
        "cached_input_tokens": counts,
        "tokens": counts,
        "service": texts,
        "operation": texts,
        "quantity": st.one_of(numbers, texts),
        "unit": texts,
        "metadata": st.dictionaries(texts, texts, max_size=3),
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "work": works,
        "amount": st.one_of(numbers, texts),
        "user_id": texts,
        "tier": texts,
        "reserve": st.booleans(),
        "key": texts,
        "event_ids": st.lists(st.uuids().map(str), max_size=3),
    },
)
bodies = st.one_of(documents, works, requests, st.builds(lambda parts: {"kind": "combined", "parts": parts}, st.lists(works, max_size=3)))  # fmt: skip


def assert_is_answered(response: Any) -> None:
    """2xx or 4xx, with a document that says which."""
    assert response.status_code < 500, response.text
    document = json.loads(response.content)
    if response.status_code >= 400 and response.headers["content-type"] == "application/problem+json":
        assert document["code"]


@pytest.mark.parametrize("number", range(len(EVIL)))
def test_evil_bodies_are_answered(operator: Caller, number: int) -> None:
    """Bodies that have brought down parsers elsewhere."""
    for path in PATHS:
        assert_is_answered(operator.post_text(path, EVIL[number]))


@hypothesis_settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=bodies, path=st.sampled_from(PATHS))
def test_made_up_bodies_are_answered(operator: Caller, body: Any, path: str) -> None:
    """Anything that JSON can say, and work that is nearly right."""
    assert_is_answered(operator.post_text(path, json.dumps(body)))


@hypothesis_settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    params=st.dictionaries(
        st.sampled_from(("at", "service", "operation", "model", "unit", "limit", "cursor")),
        st.one_of(texts, st.binary(max_size=30).map(lambda raw: raw.decode("latin-1"))),
        max_size=4,
    ),
    tag=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
)
def test_made_up_questions_are_answered(operator: Caller, params: dict[str, str], tag: str) -> None:
    """Any parameters and tags."""
    headers = {**operator.headers, "If-None-Match": tag}
    response = operator.client.get("/api/prices", params=params, headers=headers)
    if response.status_code != 304:
        assert_is_answered(response)


@pytest.mark.parametrize("reservation_id", ["%00", "k%3A" + "0" * 32, "%0a", "0" * 33, "é", "..%2F..", "%ff", "{}"])
def test_evil_ids_are_answered(operator: Caller, reservation_id: str) -> None:
    """No id but 32 hexadecimal digits reaches Redis."""
    for action in ("settle", "release"):
        response = operator.post(f"/api/reservations/{reservation_id}/{action}", {"amount": "0"})
        assert response.status_code in (404, 422)
