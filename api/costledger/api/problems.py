"""Errors as `application/problem+json` (RFC 9457), each with a stable `code`."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Self

from starlette.responses import JSONResponse

from costledger.schemas.errors import InvalidValue, shown

MEDIA_TYPE: Final = "application/problem+json"
#: A dependency that is away may be back then, seconds.
RETRY_AFTER_SECONDS: Final = 2


class Problem(Exception):
    """An answer that is an error. `errors` names each wrong field, its value and its limit."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers

    @classmethod
    def unauthorized(cls, detail: str, code: str = "token_missing") -> Self:
        """401."""
        challenge = "Bearer" if code == "token_missing" else 'Bearer error="invalid_token"'
        return cls(HTTPStatus.UNAUTHORIZED, code, detail, headers={"WWW-Authenticate": challenge})

    @classmethod
    def forbidden(cls, detail: str, code: str = "forbidden") -> Self:
        """403."""
        return cls(HTTPStatus.FORBIDDEN, code, detail)

    @classmethod
    def not_found(cls, detail: str, code: str) -> Self:
        """404."""
        return cls(HTTPStatus.NOT_FOUND, code, detail)

    @classmethod
    def invalid(cls, error: InvalidValue) -> Self:
        """422 for a value out of bounds."""
        return cls.invalid_fields([invalid_field(error.field, error.value, error.limit)])

    @classmethod
    def invalid_fields(cls, errors: list[dict[str, Any]]) -> Self:
        """422 for these fields, each as `invalid_field` gives it."""
        detail = "; ".join(f"{one['field']} is {one['value']}; it must be {one['limit']}" for one in errors)
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_value", detail, errors=errors)

    @classmethod
    def unknown_user(cls, user_id: str) -> Self:
        """404 for another user of whom nothing is known: neither a budget nor an event."""
        return cls.not_found(f"nothing is known of the user {user_id!r}", "unknown_user")

    @classmethod
    def unavailable(cls, detail: str, code: str = "unavailable", retry_after: int = RETRY_AFTER_SECONDS) -> Self:
        """503: something that this answer needs cannot be reached; try again after so many seconds."""
        return cls(HTTPStatus.SERVICE_UNAVAILABLE, code, detail, headers={"Retry-After": str(retry_after)})

    def response(self, request_id: str | None = None) -> JSONResponse:
        """The answer; `request_id` is where the log has more."""
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors is not None:
            content["errors"] = self.errors
        if request_id is not None:
            content["request_id"] = request_id
        headers = None if self.headers is None else dict(self.headers)
        return JSONResponse(content, self.status.value, headers, media_type=MEDIA_TYPE)


def invalid_field(field: str, value: object, limit: str) -> dict[str, Any]:
    """One entry of a problem's `errors`: the value is shown as in a log, cut to a sensible length."""
    return {"field": _sayable(field), "value": _sayable(value), "limit": limit}


def _sayable(value: object) -> str:
    """What JSON in UTF-8 cannot carry would turn the explanation into an error of its own."""
    text = value if isinstance(value, str) else shown(value)
    return text if text.isprintable() and len(text) <= 120 else shown(value)
