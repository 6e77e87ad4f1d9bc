"""The real client of the openai package, instrumented, against a server that answers in OpenAI's shapes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, AsyncStream, OpenAI, Stream
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel
from tests.producers.adapters import openai_answers as answers
from tests.producers.collecting import CollectingTracker
from tests.producers.loopback import Asked, Loopback, Reply, serving

from costledger.producers.adapters import instrument
from costledger.producers.errors import EventDropped
from costledger.schemas.errors import InvalidValue

USER: ContextVar[str] = ContextVar("user")
MESSAGES: Any = [{"role": "user", "content": "Hi"}]


def sse(events: list[dict[str, Any]], done: bool) -> Reply:
    """Events as a stream of the API."""
    lines = [
        (f"event: {event['type']}\n" if "type" in event else "") + f"data: {json.dumps(event)}\n\n" for event in events
    ]
    body = "".join(lines) + ("data: [DONE]\n\n" if done else "")
    return Reply(body.encode(), headers={"Content-Type": "text/event-stream"})


def reply(asked: Asked) -> Reply:
    """The API: chats, responses, embeddings, models; an error where the model is named `broken`, only half of the
    usage where it is `half`."""
    body = asked.json() if asked.body else {}
    if body.get("model") == "broken":
        error = {"error": {"message": "no", "type": "invalid_request_error", "code": None, "param": None}}
        return Reply(json.dumps(error).encode(), 400, {"Content-Type": "application/json"})
    streamed, path = body.get("stream"), asked.path.partition("?")[0]
    if body.get("model") == "cut":
        # The connection ends in the middle of the third chunk.
        whole = sse(answers.chunks(), done=True)
        return Reply(whole.body[:800], headers={**whole.headers, "Content-Length": "5000", "Connection": "close"})
    if path.endswith("/chat/completions"):
        if streamed:
            return sse(answers.chunks(bool((body.get("stream_options") or {}).get("include_usage"))), done=True)
        answer: dict[str, Any] = answers.chat()
        answer["choices"][0]["message"]["content"] = '{"greeting": "Hello."}'
        if body.get("model") == "half":
            answer["usage"] = {"prompt_tokens": 1000}
    elif path.endswith("/responses/compact"):
        answer = {name: value for name, value in answers.response().items() if name != "model"}
        answer["object"] = "response.compaction"
    elif path.endswith("/responses"):
        if streamed:
            return sse(answers.response_events(), done=False)
        answer = answers.response()
    elif path.endswith("/embeddings"):
        answer = answers.embedding()
    else:
        answer = {"object": "list", "data": [{"id": "gpt-4o", "object": "model", "created": 1, "owned_by": "x"}]}
    headers = {"Content-Type": "application/json", "x-request-id": "req_1"}
    return Reply(json.dumps(answer).encode(), headers=headers)


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    """The server of this module."""
    with serving(reply) as loopback:
        yield loopback


@pytest.fixture
def client(server: Loopback) -> Iterator[OpenAI]:
    """A client, not instrumented yet."""
    with OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


def streamed(client: OpenAI, usage: bool = True) -> Stream[ChatCompletionChunk]:
    """A streamed chat."""
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    return client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True, **options)


def test_every_kind_of_request_is_tracked_and_answered_as_before(client: OpenAI, tracker: CollectingTracker) -> None:
    """Chats, responses and embeddings: the types of the package, the events of the adapter."""
    plain = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    instrument(client, tracker, user="user-1")
    chat = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert type(chat) is ChatCompletion
    assert chat == plain
    assert chat._request_id == "req_1"
    assert tracker.charges() == answers.CHAT_CHARGES
    tracker.records.clear()
    assert type(client.responses.create(model="gpt-4.1", input="Hi")) is Response
    assert tracker.charges() == answers.RESPONSE_CHARGES
    tracker.records.clear()
    assert type(client.embeddings.create(model="text-embedding-3-small", input=["a", "b"])) is CreateEmbeddingResponse
    assert tracker.charges() == answers.EMBEDDING_CHARGES
    assert tracker.only()["metadata"] == {"request_id": "req_1"}
    assert tracker.rejected == []


def test_an_answer_without_a_model_has_that_of_its_request(client: OpenAI, tracker: CollectingTracker) -> None:
    """As the compaction of a conversation."""
    instrument(client, tracker, user="user-1")
    client.responses.compact(model="gpt-4.1", input="Hi")
    assert tracker.charges() == answers.RESPONSE_CHARGES
    assert {record["metadata"]["model"] for record in tracker.records} == {"gpt-4.1"}


def test_what_costs_no_tokens_passes_by(client: OpenAI, tracker: CollectingTracker) -> None:
    """The list of models is free."""
    instrument(client, tracker, user="user-1")
    assert [model.id for model in client.models.list()] == ["gpt-4o"]
    assert tracker.records == []


def test_a_stream_stays_the_stream_it_was(client: OpenAI, tracker: CollectingTracker) -> None:
    """Same type, same chunks, tracked when it has ended and not before."""
    plain = list(streamed(client))
    instrument(client, tracker, user="user-1")
    with streamed(client) as stream:
        assert type(stream) is Stream
        assert stream.response.status_code == 200
        first = next(stream)
        assert tracker.records == []
        assert [first, *stream] == plain
    assert tracker.charges() == answers.CHAT_CHARGES
    stream.close()
    assert len(tracker.records) == 3


def test_a_stream_without_usage_is_recorded_as_unpriced(client: OpenAI, tracker: CollectingTracker) -> None:
    """The wrapper does not ask for the usage in the caller's name: that would send another chunk."""
    instrument(client, tracker, user="user-1")
    assert len(list(streamed(client, usage=False))) == 4
    record = tracker.only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert record["metadata"]["model"] == "gpt-4o-2024-08-06"


def closed_early(stream: Stream[ChatCompletionChunk]) -> None:
    """Read one chunk and close."""
    next(stream)
    stream.close()


def left_by_exception(stream: Stream[ChatCompletionChunk]) -> None:
    """Fail in the middle."""
    with contextlib.suppress(ZeroDivisionError), stream:
        for _ in stream:
            raise ZeroDivisionError


def forgotten(stream: Stream[ChatCompletionChunk]) -> None:
    """Never read, never closed."""
    stream.response.close()  # the connection is the client's matter
    del stream


@pytest.mark.parametrize("leave", [closed_early, left_by_exception, forgotten])
def test_a_stream_that_is_left_early_is_recorded_once(leave: Any, client: OpenAI, tracker: CollectingTracker) -> None:
    """As unpriced: what was produced by then is not known."""
    instrument(client, tracker, user="user-1")
    leave(streamed(client))
    gc.collect()
    assert tracker.only()["operation"] == "unreported-usage"
    assert tracker.only()["metadata"]["model"].startswith("gpt-4o")
    assert len(tracker.records) == 1


def test_a_stream_that_breaks_off_raises_what_it_did_and_is_recorded(
    client: OpenAI, tracker: CollectingTracker
) -> None:
    """The package's own exception; as unpriced, once."""

    def broken() -> str:
        stream = client.chat.completions.create(model="cut", messages=MESSAGES, stream=True)
        with pytest.raises(openai.APIConnectionError) as raised:
            list(stream)
        return str(raised.value)

    before = broken()
    instrument(client, tracker, user="user-1")
    assert broken() == before
    assert tracker.only()["operation"] == "unreported-usage"
    assert tracker.only()["metadata"]["response_id"] == "chatcmpl-1"


def test_azures_client_is_one_too(server: Loopback, tracker: CollectingTracker) -> None:
    """Its prices are Azure's, when the provider is named."""
    with openai.AzureOpenAI(
        api_key="none", azure_endpoint=server.url, api_version="2024-10-21", azure_deployment="mine", max_retries=0
    ) as client:
        instrument(client, tracker, user="user-1", provider="azure")
        assert client.chat.completions.create(model="mine", messages=MESSAGES).id == "chatcmpl-1"
    assert server.asked[-1].path.startswith("/openai/deployments/mine/chat/completions")
    assert {record["service"] for record in tracker.records} == {"azure"}
    assert tracker.charges()["output-tokens"] == (100, 100 * 10_000_000)
    assert len(tracker.records) == 3


def test_a_closed_stream_is_recorded_at_once(client: OpenAI, tracker: CollectingTracker) -> None:
    """Not when Python happens to collect it."""
    instrument(client, tracker, user="user-1")
    stream = streamed(client)
    next(stream)
    stream.close()
    assert tracker.only()["operation"] == "unreported-usage"
    stream.close()
    assert len(tracker.records) == 1


def test_helpers_of_the_package_are_tracked_once(client: OpenAI, tracker: CollectingTracker) -> None:
    """`parse` and the `stream` helpers end in the same request."""

    class Greeting(BaseModel):
        greeting: str

    instrument(client, tracker, user="user-1")
    parsed = client.chat.completions.parse(model="gpt-4o", messages=MESSAGES, response_format=Greeting)
    assert parsed.choices[0].message.parsed == Greeting(greeting="Hello.")
    assert len(tracker.records) == 3
    with client.chat.completions.stream(
        model="gpt-4o", messages=MESSAGES, stream_options={"include_usage": True}
    ) as chat:
        assert chat.get_final_completion().choices[0].message.content == "Hello."
    # The stream told of the same answer: the ledger keeps it once.
    assert tracker.charges() == answers.CHAT_CHARGES
    assert len(tracker.records) == 6
    tracker.records.clear()
    with client.responses.stream(model="gpt-4.1", input="Hi") as events:
        assert events.get_final_response().output_text == "Hello."
    assert tracker.charges() == answers.RESPONSE_CHARGES


def test_raw_responses_are_tracked_and_stay_raw(client: OpenAI, tracker: CollectingTracker) -> None:
    """Parsed once, for both; of a body that the caller reads, no more is known than that it was asked for."""
    instrument(client, tracker, user="user-1")
    raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
    assert raw.headers["x-request-id"] == "req_1"
    assert raw.parse().id == "chatcmpl-1"
    assert tracker.charges() == answers.CHAT_CHARGES
    tracker.records.clear()
    raw_stream = client.chat.completions.with_raw_response.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    assert len(list(raw_stream.parse())) == 5
    assert tracker.charges() == answers.CHAT_CHARGES
    tracker.records.clear()
    with client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES) as body:
        assert json.loads(b"".join(body.iter_bytes()))["id"] == "chatcmpl-1"
    assert tracker.only()["operation"] == "unreported-usage"
    assert tracker.only()["metadata"]["model"] == "gpt-4o"


def test_copies_with_other_options_are_instrumented_too(client: OpenAI, tracker: CollectingTracker) -> None:
    """`with_options` makes another client; it is tracked until its own instrument is undone."""
    instrument(client, tracker, user="user-1")
    client.with_options(timeout=5).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert tracker.charges() == answers.CHAT_CHARGES


def test_twice_is_once_and_undone_is_undone(client: OpenAI, tracker: CollectingTracker) -> None:
    """The second call returns the first instrument; after `undo` the client is as it was."""
    before = dict(vars(client))
    with instrument(client, tracker, user="user-1") as first:
        assert instrument(client, CollectingTracker(), user="user-2") is first
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert len(tracker.records) == 3
    after = {name: value for name, value in vars(client).items() if name in before}
    assert after == before
    assert "request" not in vars(client)
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    first.undo()
    assert len(tracker.records) == 3


def test_errors_of_the_api_are_the_callers_and_cost_nothing(client: OpenAI, tracker: CollectingTracker) -> None:
    """The exception is the package's own."""
    instrument(client, tracker, user="user-1")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="broken", messages=MESSAGES)
    assert (tracker.records, tracker.rejected) == ([], [])


class Failing(CollectingTracker):
    """A tracker that raises, as a strict one may."""

    def reject(self, error: Exception) -> Any:
        """Raise."""
        raise error

    def _keep(self, event_id: Any, record: Any) -> Any:
        raise EventDropped(event_id, "invalid", "strict", record)


def test_nothing_that_goes_wrong_in_tracking_reaches_the_caller(client: OpenAI) -> None:
    """Neither from a strict tracker nor from the function that names the user."""
    with instrument(client, Failing(), user="user-1"):
        assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).id == "chatcmpl-1"
        assert len(list(streamed(client))) == 5
    tracker = CollectingTracker()
    with instrument(client, tracker, user=USER.get):  # nobody has set it
        assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).id == "chatcmpl-1"
    assert ([type(error) for error in tracker.rejected], tracker.records) == ([LookupError], [])


def test_half_a_usage_is_recorded_as_unpriced(client: OpenAI, tracker: CollectingTracker) -> None:
    """The package makes an object of it all the same; the half that is missing is not 0."""
    instrument(client, tracker, user="user-1")
    answer = client.chat.completions.create(model="half", messages=MESSAGES)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 1000
    record = tracker.only()
    assert (record["operation"], record["amount"]) == ("unreported-usage", None)
    assert record["metadata"]["input_tokens"] == "1000"


@pytest.mark.parametrize("ending", [SystemExit, KeyboardInterrupt])
def test_a_program_that_ends_while_it_is_asked_whose_work_it_is_pays_nothing(
    ending: type[BaseException], server: Loopback, client: OpenAI, tracker: CollectingTracker
) -> None:
    """The exception goes on, and the request is not sent: there is no answer that nobody tracks."""

    def user() -> str:
        raise ending

    async def asking() -> None:
        async with AsyncOpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as asynchronous:
            instrument(asynchronous, tracker, user=user)
            with pytest.raises(ending):
                await asynchronous.chat.completions.create(model="gpt-4o", messages=MESSAGES)

    asked = len(server.asked)
    instrument(client, tracker, user=user)
    with pytest.raises(ending):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    asyncio.run(asking())
    assert (len(server.asked), tracker.records, tracker.rejected) == (asked, [], [])


@pytest.mark.parametrize("client", [None, object(), "client"])
def test_what_is_no_client_is_refused(client: Any) -> None:
    """At once: this is a mistake of the program, not of a request."""
    with pytest.raises(InvalidValue, match="client"):
        instrument(client, CollectingTracker(), user="user-1")


def test_async_clients_and_the_users_of_concurrent_tasks(server: Loopback, tracker: CollectingTracker) -> None:
    """Each task's requests are its own user's, also when the stream is read later."""

    async def work(client: AsyncOpenAI, user_id: str) -> None:
        USER.set(user_id)
        chat = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        assert type(chat) is ChatCompletion
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        assert type(stream) is AsyncStream
        USER.set("somebody else")
        async with stream:
            assert len([chunk async for chunk in stream]) == 5
        USER.set(user_id)
        assert (await client.responses.create(model="gpt-4.1", input="Hi")).id == "resp_1"
        await client.embeddings.create(model="text-embedding-3-small", input="a")
        async with client.responses.stream(model="gpt-4.1", input="Hi") as events:
            assert (await events.get_final_response()).id == "resp_1"
        raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
        assert raw.parse().id == "chatcmpl-1"
        left = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
        await anext(left)
        await left.close()

    async def everyone() -> None:
        async with AsyncOpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
            with instrument(client, tracker, user=USER.get):
                await asyncio.gather(*(work(client, f"user-{number}") for number in range(4)))

    asyncio.run(everyone())
    assert tracker.rejected == []
    by_user: dict[str, list[str]] = {}
    for record in tracker.records:
        by_user.setdefault(record["user_id"], []).append(record["operation"])
    expected = 3 * [*answers.CHAT_CHARGES] + 2 * [*answers.RESPONSE_CHARGES]
    expected += [*answers.EMBEDDING_CHARGES, "unreported-usage"]
    assert {user: sorted(operations) for user, operations in by_user.items()} == {
        f"user-{number}": sorted(expected) for number in range(4)
    }


def test_the_clients_package_is_the_one_that_was_read() -> None:
    """The wrapper leans on three names of it; this fails first where a new version has others."""
    assert callable(OpenAI.request)
    assert callable(AsyncOpenAI.request)
    with OpenAI(api_key="none", http_client=httpx2.Client()) as client:
        stream = Stream(cast_to=object, response=httpx2.Response(200), client=client)
        assert hasattr(stream, "_iterator")
