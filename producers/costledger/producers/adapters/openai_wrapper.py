"""Opt-in tracking of everything that one OpenAI client asks for: chats, responses, completions, embeddings.

All of the client's resources, its parsing and streaming helpers and its raw responses go through the one method
`request` of the client, so that is what is wrapped: on this object alone, and taken off again by `undo`. Options
copies (`with_options`) of an instrumented client are instrumented like it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from costledger.producers.adapters.openai_streams import listen
from costledger.producers.adapters.openai_usage import StreamSummary, track_openai
from costledger.producers.adapters.reading import User, field, text, user_id_of
from costledger.producers.records import Metadata
from costledger.producers.services import OPENAI, ServiceMethods
from costledger.schemas.errors import InvalidValue

logger = logging.getLogger(__name__)

#: The ends of the addresses whose answers cost tokens; everything else passes by.
PRICED_PATHS: Final = ("/chat/completions", "/responses", "/responses/compact", "/completions", "/embeddings")
_COPIERS: Final = ("copy", "with_options")
_MARK: Final = "_costledger_instrument"


def instrument(
    client: Any,
    tracker: ServiceMethods,
    *,
    user: User,
    provider: str = OPENAI,
    repeatable: bool = True,
    metadata: Metadata | None = None,
) -> Instrument:
    """Track every priced answer of a sync or async client of the `openai` package; `undo()` on what it returns ends it.

    `user` is a user's id, or a function that is asked at each request, in the caller's own context (for example
    the `get` of a context variable), before it is sent: an exception of it makes the request untracked, one that
    ends the program (`SystemExit`, `KeyboardInterrupt`) goes on and nothing is sent. The caller gets what it got before: same objects, same exceptions; nothing
    that goes wrong in tracking is raised (also with a strict tracker), it is counted and logged. Twice is once: a
    client that is instrumented keeps its first instrument, which is returned. Raises `InvalidValue` for what is
    no such client.
    """
    present = vars(client).get(_MARK) if hasattr(client, "__dict__") else None
    if isinstance(present, Instrument):
        return present
    if not callable(getattr(client, "request", None)) or not hasattr(client, "__dict__"):
        raise InvalidValue("client", type(client).__name__, "a client of the openai package")
    made = Instrument(client, tracker, user, provider, repeatable, metadata)
    made.install()
    return made


@dataclass(frozen=True, slots=True)
class _Call:
    """What one request asked for, noted in the caller's context before it was sent."""

    user_id: str
    model: str | None


class Instrument:
    """The tracking of one client; a context manager that ends with `undo`."""

    def __init__(
        self,
        client: Any,
        tracker: ServiceMethods,
        user: User,
        provider: str,
        repeatable: bool,
        metadata: Metadata | None,
    ) -> None:
        self._client = client
        self._tracker = tracker
        self._user = user
        self._provider = provider
        self._repeatable = repeatable
        self._metadata = metadata

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()

    def install(self) -> None:
        """Wrap the client's `request`, and the methods that copy the client."""
        request = self._client.request
        wrapped = self._awrapped(request) if inspect.iscoroutinefunction(request) else self._wrapped(request)
        self._client.request = wrapped
        for name in _COPIERS:
            if callable(copier := getattr(self._client, name, None)):
                setattr(self._client, name, self._copying(copier))
        setattr(self._client, _MARK, self)

    def undo(self) -> None:
        """Leave the client as it was; streams that are under way are still tracked. Idempotent."""
        attributes = vars(self._client)
        if attributes.get(_MARK) is self:
            for name in ("request", *_COPIERS, _MARK):
                attributes.pop(name, None)

    def _wrapped(self, request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        def requesting(cast_to: Any, options: Any, **kwargs: Any) -> Any:
            call = self._call(options)
            result = request(cast_to, options, **kwargs)
            if call is not None:
                self._answered(call, result)
            return result

        return requesting

    def _awrapped(self, request: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(request)
        async def requesting(cast_to: Any, options: Any, **kwargs: Any) -> Any:
            call = self._call(options)
            result = await request(cast_to, options, **kwargs)
            if call is not None:
                self._answered(call, result)
            return result

        return requesting

    def _copying(self, copier: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(copier)
        def copying(*args: Any, **kwargs: Any) -> Any:
            copied = copier(*args, **kwargs)
            with _never_raising():
                instrument(
                    copied,
                    self._tracker,
                    user=self._user,
                    provider=self._provider,
                    repeatable=self._repeatable,
                    metadata=self._metadata,
                )
            return copied

        return copying

    def _call(self, options: Any) -> _Call | None:
        """Who asks for what; None for what costs no tokens."""
        with _never_raising():
            method, path = text(options, "method"), text(options, "url")
            if method is None or path is None or method.lower() != "post" or not path.endswith(PRICED_PATHS):
                return None
            try:
                user_id = user_id_of(self._user)
            except Exception as error:  # noqa: BLE001 - the host's function must not stop the host's request
                self._tracker.reject(error)
                return None
            return _Call(user_id, text(options, "json_data", "model"))
        return None

    def _answered(self, call: _Call, result: Any) -> None:
        with _never_raising():
            answer = _parsed(result)
            if answer is not None and listen(answer, functools.partial(self._ended, call)):
                return
            # A raw response whose body the caller will read itself: that there was a request is all we know.
            self._track(call, {} if answer is None else answer)

    def _ended(self, call: _Call, summary: StreamSummary) -> None:
        self._track(call, summary.answer())

    def _track(self, call: _Call, answer: object) -> None:
        track_openai(
            self._tracker,
            call.user_id,
            answer,
            provider=self._provider,
            model=call.model,
            repeatable=self._repeatable,
            metadata=self._metadata,
        )


def _parsed(result: Any) -> Any:
    """The answer within a raw response that has been read; None for one that has not."""
    http_response = field(result, "http_response")
    if http_response is None or not callable(getattr(result, "parse", None)):
        return result
    if inspect.iscoroutinefunction(result.parse) or not (
        field(http_response, "is_stream_consumed") or _streams(result)
    ):
        return None
    return result.parse()  # remembered by the raw response: the caller gets the same object


def _streams(result: Any) -> bool:
    """Is this the raw response of a stream of events, whose `parse` gives the stream without reading it?"""
    return bool(getattr(result, "_stream", False))


@contextlib.contextmanager
def _never_raising() -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("the cost of a request to OpenAI could not be tracked")
