"""Bearer tokens (JWT): what a valid one says, and those that are signed with the local key."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from costledger.schemas.errors import CostledgerError, InvalidValue, SettingsError
from costledger.schemas.events import NAME_CHARACTERS_MAX
from costledger.schemas.settings import Settings

ALGORITHM: Final = "HS256"
LOCAL_ISSUER: Final = "costledger"
KEY_BYTES_MIN: Final = 32
#: A token is a header of a request, and is parsed before it is believed.
TOKEN_CHARACTERS_MAX: Final = 8192
ROLES_MAX: Final = 64
#: Claims without which no token is accepted.
REQUIRED_CLAIMS: Final = ("exp", "iss", "aud", "sub")
#: What PyJWT and the JSON reader raise for a token that somebody made up; the latter for deep nesting and huge numbers.
UNREADABLE: Final = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


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
    #: When it ends, Unix seconds.
    expires_at: int = 0


def check_user_id(user_id: object, field: str = "user_id") -> str:
    """The user id, if it is one that an event may have; else `InvalidValue`."""
    # isprintable: no control characters, no NUL, no lone surrogates, no line ends.
    if (
        isinstance(user_id, str)
        and 0 < len(user_id) <= NAME_CHARACTERS_MAX
        and user_id.isprintable()
        and user_id.strip()
    ):
        return user_id
    raise InvalidValue(field, user_id, f"text of 1 to {NAME_CHARACTERS_MAX} printable characters")


def local_key(settings: Settings) -> str:
    """The key of locally signed tokens; `SettingsError` where there is none or it is short."""
    if settings.api_token_key is not None:
        key, where = settings.api_token_key.get_secret_value(), "COSTLEDGER_API_TOKEN_KEY"
    elif settings.api_token_key_file is not None:
        where = f"{settings.api_token_key_file} (COSTLEDGER_API_TOKEN_KEY_FILE)"
        try:
            key = settings.api_token_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{where} cannot be read: {error}") from error
    else:
        raise SettingsError(
            "there is no key for tokens: set COSTLEDGER_API_TOKEN_KEY, or COSTLEDGER_API_TOKEN_KEY_FILE to a file that "
            f"holds one of at least {KEY_BYTES_MIN} bytes (openssl rand -base64 48 makes one)"
        )
    if len(key.encode()) < KEY_BYTES_MIN:
        raise SettingsError(f"the key in {where} has {len(key.encode())} bytes; it must have at least {KEY_BYTES_MIN}")
    return key


def sign_token(settings: Settings, user_id: str, roles: Iterable[str], lifetime_seconds: int) -> str:
    """A token for a user, signed with the local key; `InvalidValue` for a user or a life out of bounds."""
    check_user_id(user_id)
    longest = settings.api_token_seconds_max
    if not 0 < lifetime_seconds <= longest:
        raise InvalidValue(
            "lifetime_seconds", lifetime_seconds, f"from 1 to {longest} (COSTLEDGER_API_TOKEN_SECONDS_MAX)"
        )
    now = int(time.time())
    claims = {
        "iss": LOCAL_ISSUER,
        "aud": LOCAL_ISSUER,
        "sub": user_id,
        "roles": sorted(set(roles)),
        "iat": now,
        "exp": now + lifetime_seconds,
    }
    return jwt.encode(claims, local_key(settings), algorithm=ALGORITHM)


class LocalTokens:
    """Checks tokens that are signed with the local key."""

    issuer: Final = LOCAL_ISSUER

    def __init__(self, key: str, seconds_max: int) -> None:
        self._key = key
        self._seconds_max = seconds_max

    def verify(self, token: str) -> Claims:
        """The claims of a token; `InvalidToken` where it is expired, forged or lives longer than any may."""
        payload = decoded(token, self._key, [ALGORITHM], LOCAL_ISSUER, LOCAL_ISSUER, ("iat",))
        if payload["exp"] - payload["iat"] > self._seconds_max:
            raise InvalidToken("token_invalid", f"the token lives longer than {self._seconds_max} s")
        return claims_of(payload, payload.get("roles"))


def decoded(
    token: str,
    key: Any,
    algorithms: list[str],
    issuer: str,
    audience: str,
    required: tuple[str, ...] = (),
    leeway_seconds: float = 0,
) -> dict[str, Any]:
    """The payload of a token whose signature, issuer, audience and times are right; else `InvalidToken`."""
    try:
        payload: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            issuer=issuer,
            audience=audience,
            leeway=leeway_seconds,
            options={"require": [*REQUIRED_CLAIMS, *required]},
        )
    except jwt.ExpiredSignatureError as error:
        raise InvalidToken("token_expired", "the token has expired") from error
    except UNREADABLE as error:
        raise InvalidToken("token_invalid", f"the token is not accepted: {error}") from error
    for name in ("exp", *required):
        if isinstance(payload[name], bool) or not isinstance(payload[name], (int, float)):
            raise InvalidToken("token_invalid", f"the token is not accepted: {name} must be a number")
    return payload


def claims_of(payload: Mapping[str, Any], roles: object) -> Claims:
    """User and roles of a payload that is believed; `InvalidToken` where they are of a wrong form."""
    try:
        user_id = check_user_id(payload["sub"], "sub")
    except InvalidValue as error:
        raise InvalidToken("token_invalid", f"the token is not accepted: {error}") from error
    if roles is None:
        roles = []
    if not isinstance(roles, list) or len(roles) > ROLES_MAX or not all(isinstance(role, str) for role in roles):
        raise InvalidToken("token_invalid", f"the token is not accepted: its roles must be a list of {ROLES_MAX} texts")
    return Claims(user_id, frozenset(roles), int(payload["exp"]))
