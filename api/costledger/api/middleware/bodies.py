"""What comes in: no more bytes than allowed, JSON that is JSON, and no text that PostgreSQL or UTF-8 cannot hold.

The whole body is read here, before any route: it is small by the settings. A document is parsed once, its numbers
as `Decimal`: 0.1 stays a tenth. Routes get it through `documents.ExactRoute`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from costledger.api.middleware.observing import STATE
from costledger.api.problems import Problem, invalid_field

#: The document of a request, parsed; absent where it has none.
DOCUMENT: Final = "document"
#: A client that sends its body slower than this is not waited for.
BODY_SECONDS_MAX: Final = 10.0
#: Only these routes speak JSON alone; pages have forms.
JSON_PREFIX: Final = "/api/"
QUERY_FIELDS_MAX: Final = 100
DEPTH_MAX: Final = 32
_TEXT_LIMIT: Final = "text without NUL characters and without half a surrogate pair"
_WITH_BODY: Final = frozenset({"DELETE", "PATCH", "POST", "PUT"})


class _Number(Decimal):
    """A JSON number with a point.

    FastAPI validates with pydantic's `from_attributes`: an instance of a class that is not built in is taken for an
    object with the fields of a model. A plain Decimal in place of an object would be a model with nothing set.
    """


_Number.__module__ = "builtins"


class Receiving:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            check_address(scope)
            if scope["method"] in _WITH_BODY:
                body = await self._body(scope, receive)
                if body and scope["path"].startswith(JSON_PREFIX):
                    scope[STATE][DOCUMENT] = parse_document(Headers(scope=scope).get("content-type", ""), body)
                receive = _replayed(body, receive)
        except Problem as problem:
            await problem.response(scope[STATE]["request_id"])(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._bytes_max:
            self._refuse()
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                return await self._read(receive)
        except TimeoutError:
            detail = f"the body did not arrive within {BODY_SECONDS_MAX:g} s"
            raise Problem(
                HTTPStatus.REQUEST_TIMEOUT, "body_too_slow", detail, headers={"Connection": "close"}
            ) from None

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(HTTPStatus.BAD_REQUEST, "incomplete", "the connection ended before the body did")
            body += message.get("body", b"")
            # Also where no length was announced, or a wrong one.
            if len(body) > self._bytes_max:
                self._refuse()
            more = message.get("more_body", False)
        return bytes(body)

    def _refuse(self) -> NoReturn:
        detail = f"the body has more than {self._bytes_max} bytes"
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", detail, headers={"Connection": "close"})


def parse_document(content_type: str, body: bytes) -> Any:
    """The JSON document of a body: numbers with a point are `Decimal`; `Problem` 415, 400 or 422 for anything else."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "send Content-Type: application/json"
        )
    try:
        document = json.loads(body, parse_float=_Number, parse_constant=_refuse_constant)
    except RecursionError:
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed_json", f"nested more than {DEPTH_MAX} deep") from None
    except ValueError as error:  # also UTF-8 that is none, and integers of thousands of digits
        raise Problem(HTTPStatus.BAD_REQUEST, "malformed_json", f"the body is not JSON: {error}") from None
    errors = [invalid_field(".".join(path) or "body", text, _TEXT_LIMIT) for path, text in unfit_texts(document)]
    if errors:
        raise Problem.invalid_fields(errors[:QUERY_FIELDS_MAX])
    return document


def unfit_texts(document: Any) -> Iterator[tuple[list[str], str]]:
    """Every text in the document that no database can hold, with the path to it; `Problem` where it is too deep."""
    waiting: list[tuple[list[str], Any]] = [([], document)]
    while waiting:
        path, value = waiting.pop()
        if len(path) > DEPTH_MAX:
            raise Problem(HTTPStatus.BAD_REQUEST, "malformed_json", f"nested more than {DEPTH_MAX} deep")
        if isinstance(value, str):
            if is_unfit(value):
                yield path, value
        elif isinstance(value, list):
            waiting += [([*path, str(place)], one) for place, one in enumerate(value)]
        elif isinstance(value, dict):
            waiting += [([*path, key], one) for key, one in value.items()]
            waiting += [([*path, "(name)"], key) for key in value if is_unfit(key)]


def is_unfit(text: str) -> bool:
    """Whether a text has NUL in it, which PostgreSQL refuses, or a lone surrogate, which UTF-8 cannot hold."""
    return "\0" in text or any("\ud800" <= character <= "\udfff" for character in text)


def check_address(scope: Scope) -> None:
    """`Problem` 422 where the path or the query holds text that is unfit."""
    query = scope["query_string"].decode("ascii", "replace")
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        limit = f"at most {QUERY_FIELDS_MAX} fields"
        raise Problem.invalid_fields([invalid_field("query", "too many fields", limit)]) from None
    errors = [invalid_field(name, value, _TEXT_LIMIT) for name, value in fields if is_unfit(name) or is_unfit(value)]
    if is_unfit(scope["path"]):
        errors.append(invalid_field("path", scope["path"], _TEXT_LIMIT))
    if errors:
        raise Problem.invalid_fields(errors)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, in one piece; after it whatever the connection has to say."""
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
