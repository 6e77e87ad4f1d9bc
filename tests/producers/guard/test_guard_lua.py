"""The arithmetic of the scripts: exact integers in a language whose numbers are doubles."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.fixtures.fix_redis import RedisServer

MONEY = (files("costledger.producers.guard") / "lua" / "money.lua").read_text()
SCRIPT = (
    MONEY
    + """
local reply = {}
for i = 1, #ARGV, 2 do
  local a, b = amount_of(ARGV[i]), amount_of(ARGV[i + 1])
  for _, text in ipairs({text_of(a), text_of(plus(a, b)), text_of(minus(a, b)), exceeds(a, b) and '1' or '0'}) do
    table.insert(reply, text)
  end
end
return reply
"""
)
AMOUNTS = st.one_of(
    st.integers(-(10**18), 10**18),
    st.integers(-(10**23), 10**23),
    st.integers(-5, 5),
    # Around the edges of the halves, and of what a double can hold.
    st.builds(
        lambda base, off, sign: sign * (base + off),
        st.sampled_from([10**9, 10**18, 2**53, 10**15]),
        st.integers(-3, 3),
        st.sampled_from([1, -1]),
    ),
)


@pytest.fixture(scope="module")
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """A client of the session's Redis; nothing is written."""
    made = redis.Redis.from_url(redis_server.url, decode_responses=True)
    yield made
    made.close()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=50))
@example(
    [(2**53, 1), (-(2**53), -1), (9_007_199_254_740_993, 9_007_199_254_740_992), (0, 0), (-1, 1), (10**9, -(10**9))]
)
def test_sums_differences_and_comparisons_are_those_of_integers(client: redis.Redis, pairs: list) -> None:
    """For amounts of up to a billion dollars and beyond, of either sign."""
    reply = client.eval(SCRIPT, 0, *(str(amount) for pair in pairs for amount in pair))
    expected = [text for a, b in pairs for text in (str(a), str(a + b), str(a - b), str(int(a > b)))]
    assert reply == expected


@pytest.mark.parametrize("text", ["", "1.5", "1e3", " 1", "--1", "nan", "9" * 25])
def test_what_is_no_amount_is_refused(client: redis.Redis, text: str) -> None:
    """Rather than taken for something near it."""
    with pytest.raises(redis.ResponseError, match="not an amount"):
        client.eval(SCRIPT, 0, text, "0")
