"""The user behind a request: always from the token, never from a parameter."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from costledger.api.auth.tokens import Claims, InvalidToken
from costledger.api.auth.verifier import TokenVerifier
from costledger.api.problems import Problem
from costledger.schemas.errors import Unavailable

#: Where the middleware leaves who is asking, or why that is not known.
PRINCIPAL_STATE = "principal"
#: An issuer that cannot be asked: try again then, seconds.
ISSUER_RETRY_SECONDS = 5

_bearer = HTTPBearer(auto_error=False, bearerFormat="JWT", scheme_name="bearer", description="A token (JWT)")


class Role(StrEnum):
    """What a token may say beside its user."""

    ANALYST = "analyst"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a valid token."""

    user_id: str
    roles: frozenset[str] = frozenset()
    #: When the token ends, Unix seconds; 0 where that is not known.
    expires_at: int = 0

    @classmethod
    def of(cls, claims: Claims) -> Principal:
        """The holder of a token with these claims."""
        return cls(claims.user_id, claims.roles, claims.expires_at)

    def has(self, role: Role) -> bool:
        """Whether the token has a role; an operator may read what an analyst may."""
        return role in self.roles or (role is Role.ANALYST and Role.OPERATOR in self.roles)

    def require(self, role: Role) -> None:
        """403 without the role."""
        if not self.has(role):
            raise Problem.forbidden(f"needs the role {role.value!r}")

    def may_read(self, user_id: str) -> bool:
        """Whether the user is the holder, or the token has the role analyst."""
        return user_id == self.user_id or self.has(Role.ANALYST)

    def readable_user(self, user_id: str | None) -> str:
        """The user whose data is asked for: the holder's own, or with the role analyst another's; else 403."""
        return self._user(user_id, Role.ANALYST)

    def writable_user(self, user_id: str | None) -> str:
        """The user whose data is changed: the holder's own, or with the role operator another's; else 403."""
        return self._user(user_id, Role.OPERATOR)

    def _user(self, user_id: str | None, role: Role) -> str:
        if user_id is None or user_id == self.user_id:
            return self.user_id
        self.require(role)
        return user_id


def authenticate(tokens: TokenVerifier, authorization: str) -> Principal | Problem:
    """Who sends this `Authorization` header, or the problem that a route which needs to know answers with.

    May wait for an OIDC issuer: call it in a thread.
    """
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        return Problem.unauthorized("send a token: Authorization: Bearer ...")
    try:
        return Principal.of(tokens.verify(token))
    except InvalidToken as error:
        return Problem.unauthorized(str(error), code=error.code)
    except Unavailable as error:
        return Problem.unavailable(f"tokens cannot be checked: {error}", "issuer_unavailable", ISSUER_RETRY_SECONDS)


async def current_principal(
    request: Request, _credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    """The principal of a request; 401 without a valid token. (The middleware has checked it, in a thread.)"""
    found = request.scope["state"][PRINCIPAL_STATE]
    if isinstance(found, Problem):
        raise found
    assert isinstance(found, Principal)  # noqa: S101 - set by the middleware
    return found


CurrentPrincipal = Annotated[Principal, Depends(current_principal)]
