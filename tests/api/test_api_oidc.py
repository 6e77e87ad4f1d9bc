"""Tokens of an OIDC issuer, beside those of the local key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.testclient import TestClient
from tests.api.issuer import AUDIENCE, Issuer
from tests.fixtures.fix_api import API_KEY, make_token

from costledger.api.auth import TokenVerifier, oidc
from costledger.api.auth.oidc import OidcTokens
from costledger.api.auth.tokens import InvalidToken, LocalTokens
from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import Settings


@pytest.fixture
def issuer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Issuer]:
    """An issuer, reached without a proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    issuer = Issuer()
    yield issuer
    issuer.stop()


@pytest.fixture
def verifier(issuer: Issuer) -> TokenVerifier:
    """Believes the local key and the issuer."""
    return TokenVerifier(LocalTokens(API_KEY, 86_400), OidcTokens(issuer.url, AUDIENCE))


def test_each_token_is_checked_by_its_issuers_rules(verifier: TokenVerifier, issuer: Issuer) -> None:
    """RS256 and ES256 of the issuer and HS256 of the local key are accepted; keys are fetched once."""
    for key in ("rsa-1", "ec-1", "rsa-1"):
        found = verifier.verify(issuer.token("zoë", key, roles=["analyst"]))
        assert (found.user_id, found.roles) == ("zoë", {"analyst"})
    assert verifier.verify(make_token("local")).user_id == "local"
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def refused_tokens(issuer: Issuer) -> dict[str, str]:
    public = issuer.keys["rsa-1"].public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    stranger = Issuer()
    stranger.stop()
    # The library refuses to sign with such a key itself, so the confusion is made by hand.
    hmac = jwt.get_algorithm_by_name("HS256")
    unsigned = issuer.token(headers={"kid": "rsa-1"}).rsplit(".", 1)[0]
    header = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"rsa-1","typ":"JWT"}').decode()
    confused = f"{header}.{unsigned.split('.')[1]}"
    signature = jwt.utils.base64url_encode(hmac.sign(confused.encode(), pem)).decode()
    return {
        "algorithm confusion": f"{confused}.{signature}",
        "local key, issuer's name": make_token("u", iss=issuer.url, aud=AUDIENCE),
        "a longer hash than allowed": issuer.token(algorithm="RS512"),
        "another's signature": jwt.encode(
            {"iss": issuer.url, "aud": AUDIENCE, "sub": "u", "exp": time.time() + 60},
            stranger.keys["rsa-1"],
            "RS256",
            {"kid": "rsa-1"},
        ),
        "the other key's name": issuer.token(headers={"kid": "ec-1"}),
        "no key's name": issuer.token(headers={}),
        "an unknown key": issuer.token(headers={"kid": "other"}),
        "another audience": issuer.token(aud="somebody else"),
        "no audience": issuer.token(aud=None),
        "no end": issuer.token(exp=None),
        "no subject": issuer.token(None),
        "subject too long": issuer.token("u" * 129),
        "subject with NUL": issuer.token("a\0"),
        "roles are text": issuer.token(roles="operator"),
        "another issuer": issuer.token(iss=f"{issuer.url}/"),
    }


def test_what_the_issuer_did_not_say_is_refused(verifier: TokenVerifier, issuer: Issuer) -> None:
    """Wrong signature, key, audience, claims: 401, whatever else is right."""
    for name, token in refused_tokens(issuer).items():
        with pytest.raises(InvalidToken) as caught:
            pytest.fail(f"{name}: {verifier.verify(token)}")
        assert caught.value.code == "token_invalid", name
    with pytest.raises(InvalidToken) as caught:
        verifier.verify(issuer.token(exp=int(time.time()) - 60))
    assert caught.value.code == "token_expired"


def test_roles_may_lie_deeper(issuer: Issuer) -> None:
    """The claim of the settings is taken by its whole name, or by its parts between points."""
    tokens = OidcTokens(issuer.url, AUDIENCE, roles_claim="realm_access.roles")
    assert tokens.verify(issuer.token(realm_access={"roles": ["operator"]})).roles == {"operator"}
    assert tokens.verify(issuer.token(**{"realm_access.roles": ["analyst"]})).roles == {"analyst"}
    assert tokens.verify(issuer.token(realm_access=["operator"])).roles == frozenset()
    assert tokens.verify(issuer.token()).roles == frozenset()


def test_made_up_keys_do_not_make_it_ask_again(verifier: TokenVerifier, issuer: Issuer) -> None:
    """Tokens with names of keys that nobody has cost the issuer nothing."""
    verifier.verify(issuer.token())
    for number in range(20):
        with pytest.raises(InvalidToken):
            verifier.verify(issuer.token(headers={"kid": f"made-up-{number}"}))
    assert issuer.asked.count("/keys") == 1


def test_a_new_key_is_found(verifier: TokenVerifier, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotated key is believed once the pause between two questions is over."""
    monkeypatch.setattr(oidc, "UNKNOWN_KEY_SECONDS", 0.0)
    verifier.verify(issuer.token())
    issuer.keys["ec-2"] = issuer.keys.pop("ec-1")
    assert verifier.verify(issuer.token(key="ec-2")).user_id == "u"


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://another.example"},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"x": "y" * 70_000},
    ],
    ids=["another issuer", "no keys", "keys in a file", "too long"],
)
def test_a_discovery_document_that_is_wrong(discovery: dict[str, Any], issuer: Issuer) -> None:
    """Keys are taken from nowhere but where the issuer itself says that they are."""
    issuer.discovery = discovery
    with pytest.raises(Unavailable):
        OidcTokens(issuer.url, AUDIENCE).verify(issuer.token())
    assert "/keys" not in issuer.asked


def test_an_issuer_that_is_away(
    api_settings: Settings,
    issuer: Issuer,
    start_api: Callable[[Settings], TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """503 with Retry-After while its keys cannot be had; local tokens work, and it is not asked again at once."""
    client = start_api(api_settings.model_copy(update={"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}))
    headers = {"Authorization": f"Bearer {issuer.token('zoë')}"}
    issuer.broken = 500
    for _ in range(3):
        answer = client.get("/api/billing/budget", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    assert len(issuer.asked) == 1
    local = {"Authorization": f"Bearer {make_token('u')}"}
    assert client.get("/api/billing/budget", headers=local).status_code == 200
    issuer.broken = None
    later = time.monotonic() + oidc.PAUSE_SECONDS + 1
    monkeypatch.setattr(oidc.time, "monotonic", lambda: later)
    answer = client.get("/api/billing/budget", headers=headers)
    assert (answer.status_code, answer.json()["user_id"]) == (200, "zoë")
