"""Locally signed tokens: whose request it is comes from them, and nothing that somebody made up is believed."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.fixtures.fix_api import API_KEY, bearer, make_token

from costledger.api.app import create_app
from costledger.api.auth import TokenVerifier, sign_token
from costledger.api.auth.tokens import InvalidToken, LocalTokens
from costledger.schemas.errors import InvalidValue, SettingsError
from costledger.schemas.settings import Settings, load_settings

BUDGET = "/api/billing/budget"


def raw(header: dict[str, Any], payload: object, signature: bytes = b"") -> str:
    """A token of any form, with any signature."""
    parts = [json.dumps(header).encode(), payload if isinstance(payload, bytes) else json.dumps(payload).encode()]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in [*parts, signature])


def signed(payload: object) -> str:
    """A token with this payload, of any form, and the signature of the local key."""
    unsigned = raw({"alg": "HS256", "typ": "JWT"}, payload).rpartition(".")[0]
    signature = hmac.digest(API_KEY.encode(), unsigned.encode(), "sha256")
    return f"{unsigned}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def claims(**other: Any) -> dict[str, Any]:
    return {"iss": "costledger", "aud": "costledger", "sub": "u", "iat": 1_700_000_000, "exp": 4_000_000_000, **other}


REFUSED = {
    "another key": make_token("u", key="another key, of more than thirty-two bytes too"),
    "alg none": raw({"alg": "none", "typ": "JWT"}, claims()),
    "alg none, signed": jwt.encode(claims(), None, "none"),
    "another hash": jwt.encode(claims(), API_KEY * 2, "HS512"),
    "another issuer": make_token("u", iss="https://somebody.example"),
    "no issuer": make_token("u", iss=None),
    "issuer is a list": signed(claims(iat=int(time.time()), exp=int(time.time()) + 3600, iss=["costledger"])),
    "another audience": make_token("u", aud="another"),
    "no audience": make_token("u", aud=None),
    "no subject": make_token("u", sub=None),
    "empty subject": make_token("", sub=""),
    "subject of blanks": make_token("   "),
    "subject too long": make_token("u" * 129),
    "subject with NUL": make_token("a\0b"),
    "subject with half a surrogate pair": make_token("a\ud800"),
    "subject with a line end": make_token("a\nb"),
    "subject is a number": signed(claims(iat=int(time.time()), exp=int(time.time()) + 3600, sub=7)),
    "no end": make_token("u", exp=None),
    "end is text": make_token("u", exp="tomorrow"),
    "end is infinite": signed(b'{"iss":"costledger","aud":"costledger","sub":"u","exp":1e999,"iat":1}'),
    "no beginning": make_token("u", iat=None),
    "from the future": make_token("u", iat=4_000_000_000, exp=4_000_000_100),
    "lives too long": make_token("u", seconds=31 * 86_400),
    "not yet valid": make_token("u", nbf=4_000_000_000),
    "roles are text": make_token("u", roles="operator"),
    "roles are a map": make_token("u", roles={"operator": True}),
    "roles are numbers": make_token("u", roles=[1]),
    "too many roles": make_token("u", *(str(number) for number in range(65))),
    "unknown critical header": jwt.encode(claims(), API_KEY, "HS256", {"crit": ["x"], "x": 1}),
    "no JSON": signed(b"no JSON"),
    "a list": signed([]),
    "nested deeply": signed(b'{"iss":' + b"[" * 3000),
    "too long": make_token("u", padding="x" * 8192),
    "two parts": "a.b",
    "no token": "nonsense",
}


@pytest.mark.parametrize("token", REFUSED.values(), ids=REFUSED)
def test_what_somebody_made_up_is_refused(token: str) -> None:
    """No token is accepted that the local key has not signed, or that says something it may not."""
    verifier = TokenVerifier(LocalTokens(API_KEY, 30 * 86_400), None)
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(token)
    assert caught.value.code == "token_invalid"


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: raw({"alg": "HS256"}, data, data)))
def test_any_text_is_no_token(text: str) -> None:
    """Whatever is sent as a token is refused as one, and is no defect."""
    with pytest.raises(InvalidToken):
        TokenVerifier(LocalTokens(API_KEY, 30 * 86_400), None).verify(text)


def test_the_forms_above_are_what_is_refused() -> None:
    """The same token by hand, with nothing wrong in it, is accepted."""
    payload = claims(iat=int(time.time()), exp=int(time.time()) + 60)
    assert TokenVerifier(LocalTokens(API_KEY, 86_400), None).verify(signed(payload)).user_id == "u"


def test_a_signed_token_is_believed(api_settings: Settings) -> None:
    """What `costledger token` signs says user and roles to the API; bounds hold where it is made, too."""
    verifier = TokenVerifier.from_settings(api_settings)
    found = verifier.verify(sign_token(api_settings, "Zoë", ["analyst"], 60))
    assert (found.user_id, found.roles) == ("Zoë", {"analyst"})
    for user, seconds in (("", 60), ("u\0", 60), ("u" * 129, 60), ("u", 0), ("u", 10**9)):
        with pytest.raises(InvalidValue):
            sign_token(api_settings, user, [], seconds)


def test_answers_to_requests_without_a_valid_token(api_client: TestClient) -> None:
    """401 says by its code whether a token is missing, expired or not accepted; nothing else is told."""
    cases = {
        "token_missing": [
            {},
            {"Authorization": "Basic dTpw"},
            {"Authorization": "Bearer"},
            {"Authorization": "Bearer "},
        ],
        "token_expired": [bearer("u", seconds=-10)],
        "token_invalid": [bearer("u", aud="another"), {"Authorization": "Bearer x.y.z"}],
    }
    for code, headers in cases.items():
        for one in headers:
            answer = api_client.get(BUDGET, headers=one)
            assert (answer.status_code, answer.json()["code"]) == (401, code)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert api_client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_a_token_in_a_cookie_is_for_pages_alone(api_client: TestClient) -> None:
    """No cookie opens the API: another site could make a browser send it."""
    answer = api_client.get(BUDGET, headers={"Cookie": f"costledger_session={make_token('u')}"})
    assert answer.status_code == 401


def test_the_key_may_be_in_a_file_and_is_read_once(
    api_settings: Settings, tmp_path: Path, start_api: Callable[[Settings], TestClient]
) -> None:
    """The key is read when the API starts, not per request."""
    file = tmp_path / "key"
    file.write_text(f"{API_KEY}\n")
    client = start_api(api_settings.model_copy(update={"api_token_key": None, "api_token_key_file": file}))
    assert client.get(BUDGET, headers=bearer("u")).status_code == 200
    file.unlink()
    assert client.get(BUDGET, headers=bearer("u")).status_code == 200


def test_without_a_way_to_log_in_there_is_no_api(tmp_path: Path) -> None:
    """No key and no issuer, a short key, a file that is not there: an error that says what to do."""
    for settings, said in (
        ({}, "COSTLEDGER_API_TOKEN_KEY_FILE"),
        ({"api_token_key": "short"}, "has 5 bytes; it must have at least 32"),
        ({"api_token_key_file": tmp_path / "none"}, "cannot be read"),
        ({"oidc_issuer": "https://issuer.example"}, "COSTLEDGER_OIDC_AUDIENCE"),
        ({"oidc_issuer": "http://issuer.example", "oidc_audience": "a"}, "https"),
        ({"oidc_issuer": "costledger", "oidc_audience": "a"}, "cannot be 'costledger'"),
        ({"oidc_issuer": "https://i.example", "oidc_audience": "a", "oidc_jwks_url": "file:///etc/passwd"}, "https"),
    ):
        with pytest.raises(SettingsError, match=said):
            create_app(Settings(_env_file=None, **settings))


@pytest.mark.parametrize("limit", ["5/fortnight", "0/minute", "many", "5", "5 per minute", "-1/second"])
def test_a_wrong_rate_is_an_error_at_start(limit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A limit that nobody can read is told before the first request."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="API_RATE_LIMIT"):
        load_settings(api_rate_limit=limit)
