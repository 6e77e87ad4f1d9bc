"""Errors as `application/problem+json` (RFC 9457), each with a stable `code`."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final, Self

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from costledger.schemas.errors import InvalidValue

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):
    """An answer that is an error. `errors` names each wrong field, its value and its limit."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
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
        return cls(HTTPStatus.UNAUTHORIZED, code, detail, headers={"WWW-Authenticate": "Bearer"})

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
        named = {"field": error.field, "value": str(error.value), "limit": error.limit}
        return cls(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_value", str(error), errors=[named])

    def response(self) -> JSONResponse:
        """The answer."""
        content: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
        }
        if self.errors is not None:
            content["errors"] = self.errors
        return JSONResponse(content, self.status.value, self.headers, media_type=MEDIA_TYPE)


def register(app: FastAPI) -> None:
    """Have every error of the app answered as a problem."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(InvalidValue, _invalid_value)
    app.add_exception_handler(RequestValidationError, _invalid_request)


async def _problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)  # noqa: S101 - what the handler is registered for
    return error.response()


async def _invalid_value(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, InvalidValue)  # noqa: S101 - what the handler is registered for
    return Problem.invalid(error).response()


async def _invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    errors = [
        {"field": ".".join(str(part) for part in one["loc"][1:]), "value": str(one.get("input")), "limit": one["msg"]}
        for one in error.errors()
    ]
    detail = "; ".join(f"{one['field']}: {one['limit']}" for one in errors)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_value", detail, errors=errors).response()
