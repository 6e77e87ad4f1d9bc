"""The user behind a request: always from the token, never from a parameter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request

from costledger.api.auth.tokens import InvalidToken, verify_token
from costledger.api.problems import Problem
from costledger.api.services import get_services


class Role(StrEnum):
    """What a token may say beside its user."""

    ANALYST = "analyst"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a valid token."""

    user_id: str
    roles: frozenset[str] = frozenset()

    def has(self, role: Role) -> bool:
        """Whether the token has a role; an operator may read what an analyst may."""
        return role in self.roles or (role is Role.ANALYST and Role.OPERATOR in self.roles)

    def require(self, role: Role) -> None:
        """403 without the role."""
        if not self.has(role):
            raise Problem.forbidden(f"needs the role {role.value!r}")

    def readable_user(self, user_id: str | None) -> str:
        """The user whose data is asked for: the holder's own, or with the role analyst another's; else 403."""
        if user_id is None or user_id == self.user_id:
            return self.user_id
        self.require(Role.ANALYST)
        return user_id


def current_principal(request: Request) -> Principal:
    """The principal of a request; 401 without a valid token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Problem.unauthorized("send a token: Authorization: Bearer ...")
    try:
        claims = verify_token(get_services(request).settings, token.strip())
    except InvalidToken as error:
        raise Problem.unauthorized(str(error), code=error.code) from error
    return Principal(claims.user_id, claims.roles)


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
