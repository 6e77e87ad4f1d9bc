"""Bearer tokens (JWT): signing with the local key, and checking."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import jwt

from costledger.schemas.errors import CostledgerError, SettingsError
from costledger.schemas.settings import Settings

ALGORITHM: Final = "HS256"
LOCAL_ISSUER: Final = "costledger"
KEY_BYTES_MIN: Final = 32


class InvalidToken(CostledgerError):
    """A token that is not accepted; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says."""

    user_id: str
    roles: frozenset[str]


def local_key(settings: Settings) -> str:
    """The key of locally signed tokens; `SettingsError` where there is none or it is short."""
    if settings.api_token_key is not None:
        key = settings.api_token_key.get_secret_value()
    elif settings.api_token_key_file is not None:
        key = settings.api_token_key_file.read_text(encoding="utf-8").strip()
    else:
        raise SettingsError("set COSTLEDGER_API_TOKEN_KEY or COSTLEDGER_API_TOKEN_KEY_FILE")
    if len(key.encode()) < KEY_BYTES_MIN:
        raise SettingsError(f"COSTLEDGER_API_TOKEN_KEY has {len(key.encode())} bytes; it must have {KEY_BYTES_MIN}")
    return key


def sign_token(settings: Settings, user_id: str, roles: list[str], lifetime_seconds: int) -> str:
    """A token for a user, signed with the local key."""
    now = int(time.time())
    claims = {
        "iss": LOCAL_ISSUER,
        "aud": LOCAL_ISSUER,
        "sub": user_id,
        "roles": roles,
        "iat": now,
        "exp": now + lifetime_seconds,
    }
    return jwt.encode(claims, local_key(settings), algorithm=ALGORITHM)


def verify_token(settings: Settings, token: str) -> Claims:
    """The claims of a token; `InvalidToken` where it is expired, forged or not for us."""
    try:
        claims = jwt.decode(
            token,
            local_key(settings),
            algorithms=[ALGORITHM],
            issuer=LOCAL_ISSUER,
            audience=LOCAL_ISSUER,
            options={"require": ["exp", "iat", "iss", "aud", "sub"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise InvalidToken("token_expired", "the token has expired") from error
    except jwt.InvalidTokenError as error:
        raise InvalidToken("token_invalid", f"the token is not accepted: {error}") from error
    return Claims(claims["sub"], frozenset(claims.get("roles", ())))
