"""Opt-in tracking of the calls of botocore clients, through botocore's own events.

Two events of each call are listened to: `before-parameter-build`, where the parameters and the caller's context
are at hand, and `after-call`, where the answer is. Neither handler changes or raises anything.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import count
from threading import Lock
from types import TracebackType
from typing import Any, Final, Self

from costledger.producers.adapters.aws import PRICED_SERVICES, track_aws
from costledger.producers.adapters.aws_services import completed_transcription
from costledger.producers.adapters.reading import User, field, text, user_id_of
from costledger.producers.records import Metadata, Quantity
from costledger.producers.services import ServiceMethods
from costledger.schemas.errors import InvalidValue

logger = logging.getLogger(__name__)

_BUILDING: Final = "before-parameter-build"
_CALLED: Final = "after-call"
#: An event of our own, by which a hook finds that another one is there.
_PRESENT: Final = "costledger-present"
_NUMBERS: Final = count()
#: Parameters that a price depends on; bodies and images are not kept.
_PARAMS_KEPT: Final = ("Text", "TextList", "TextSegments", "Bucket", "JobId", "NextToken", "TranscriptionJobName")
#: Jobs whose end was tracked; a service looks at no more at a time.
_JOBS_REMEMBERED_MAX: Final = 4096

#: Told the answer of a completed transcription job, says how many seconds of audio it had; None: not known.
AudioSeconds = Callable[[Mapping[str, Any]], Quantity | None]


def instrument_botocore(
    client_or_session: Any,
    tracker: ServiceMethods,
    *,
    user: User,
    leaves_aws: bool = False,
    audio_seconds: AudioSeconds | None = None,
    metadata: Metadata | None = None,
) -> BotocoreHook:
    """Track what the calls of a boto3 or botocore client cost, or of all clients made of a session from now on.

    `user` is a user's id, or a function that is asked at each call, in the caller's own context. `leaves_aws`:
    the bytes of S3 objects that are read leave AWS. `audio_seconds`: how long a transcribed audio was, which
    AWS does not say. Calls return and raise what they did before; what goes wrong in tracking is counted and
    logged. Twice is once: the first hook stays and is returned, also for a client of an instrumented session.
    `undo()` on the hook ends it. Raises `InvalidValue` for what has no events.
    """
    events = _events_of(client_or_session)
    made = BotocoreHook(events, tracker, user, leaves_aws, audio_seconds, metadata)
    return made.install()


class BotocoreHook:
    """The tracking of one client or session; a context manager that ends with `undo`."""

    def __init__(
        self,
        events: Any,
        tracker: ServiceMethods,
        user: User,
        leaves_aws: bool,
        audio_seconds: AudioSeconds | None,
        metadata: Metadata | None,
    ) -> None:
        self._events = events
        self._tracker = tracker
        self._user = user
        self._leaves_aws = leaves_aws
        self._audio_seconds = audio_seconds
        self._metadata = metadata
        self._active = True
        self._handlers = {_PRESENT: self._present, _BUILDING: self._building, _CALLED: self._called}
        # Of this hook alone: clients of a session keep the handlers of a hook that was undone. It also names what
        # is noted in the context of a call.
        self._unique_id = f"costledger-{next(_NUMBERS)}"
        self._jobs = _Remembered(_JOBS_REMEMBERED_MAX)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()

    def install(self) -> BotocoreHook:
        """Register the handlers, unless a hook is there; returns the hook that is in force."""
        for _, reply in self._events.emit(_PRESENT):
            if isinstance(reply, BotocoreHook):
                return reply
        for event, handler in self._handlers.items():
            self._events.register(event, handler, unique_id=f"{self._unique_id}-{event}")
        return self

    def undo(self) -> None:
        """Track no more, also on clients that were made of an instrumented session. Idempotent."""
        if self._active:
            self._active = False
            for event in self._handlers:
                self._events.unregister(event, unique_id=f"{self._unique_id}-{event}")

    def _present(self, **_: Any) -> BotocoreHook | None:
        return self if self._active else None

    def _building(self, **kwargs: Any) -> None:
        try:
            context, model = kwargs.get("context"), kwargs.get("model")
            if self._active and isinstance(context, dict) and _service_of(model) in PRICED_SERVICES:
                params = kwargs.get("params")
                kept = {name: field(params, name) for name in _PARAMS_KEPT if field(params, name) is not None}
                context[self._unique_id] = (user_id_of(self._user), kept)
        except Exception as error:
            logger.exception("a call to AWS cannot be tracked")
            self._reject(error)

    def _called(self, **kwargs: Any) -> None:
        try:
            self._track(kwargs.get("context"), kwargs.get("model"), kwargs.get("parsed"), kwargs.get("http_response"))
        except Exception:
            logger.exception("the cost of a call to AWS could not be tracked")

    def _track(self, context: Any, model: Any, parsed: Any, http_response: Any) -> None:
        note = context.pop(self._unique_id, None) if isinstance(context, dict) else None
        if not self._active or note is None or not isinstance(parsed, Mapping):
            return
        user_id, params = note
        operation = field(model, "name")
        job = _finished_job(parsed, params)
        if job is not None and not self._jobs.add((operation, job)):
            return
        status = field(http_response, "status_code")
        answer = parsed if "ResponseMetadata" in parsed else {**parsed, "ResponseMetadata": {"HTTPStatusCode": status}}
        completed = self._audio_seconds is not None and completed_transcription(operation, answer) is not None
        seconds = self._audio_seconds(answer) if completed and self._audio_seconds is not None else None
        track_aws(
            self._tracker,
            user_id,
            _service_of(model) or "",
            operation,
            answer,
            params=params,
            audio_seconds=seconds,
            leaves_aws=self._leaves_aws,
            metadata=self._metadata,
        )

    def _reject(self, error: Exception) -> None:
        try:
            self._tracker.reject(error)
        except Exception:
            logger.exception("nor could that be reported")


class _Remembered:
    """The last so many keys: whether one is new."""

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._keys: OrderedDict[object, None] = OrderedDict()
        self._lock = Lock()

    def add(self, key: object) -> bool:
        """Remember a key; False where it was known."""
        with self._lock:
            if key in self._keys:
                self._keys.move_to_end(key)
                return False
            self._keys[key] = None
            if len(self._keys) > self._size_max:
                self._keys.popitem(last=False)
            return True


def _events_of(client_or_session: Any) -> Any:
    """The emitter of a client, of a boto3 session, or of a botocore session."""
    for path in (("meta", "events"), ("events",)):
        events = field(client_or_session, *path)
        if callable(getattr(events, "register", None)) and callable(getattr(events, "emit", None)):
            return events
    if callable(get_component := getattr(client_or_session, "get_component", None)):
        return get_component("event_emitter")
    raise InvalidValue(
        "client_or_session", type(client_or_session).__name__, "a client or session of boto3 or botocore"
    )


def _service_of(model: Any) -> str | None:
    service = text(model, "service_model", "service_name")
    return None if service is None else service.lower()


def _finished_job(parsed: Mapping[str, Any], params: Mapping[str, Any]) -> str | None:
    """The video job that this answer is the end of: it may be asked for many times, and is paid for once."""
    if text(parsed, "JobStatus") != "SUCCEEDED" or params.get("NextToken"):
        return None
    return text(parsed, "JobId") or text(params, "JobId")
