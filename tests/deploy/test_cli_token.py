"""`costledger token`, its key, and what `doctor` says of both."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest
from tests.deploy.conftest import Cli

from costledger.api.auth import TokenVerifier
from costledger.deploy.checks import _tokens
from costledger.deploy.data_directory import token_key_settings
from costledger.schemas.settings import Settings

KEY = "a key of the tests, of more than thirty-two bytes"


def test_a_token_by_command(cli: Cli) -> None:
    """What is printed is a token that the API with the same key believes; with --json, also until when."""
    settings = Settings(_env_file=None, api_token_key=KEY)
    printed = cli("token", "--user", "ann", "--role", "operator", "--role", "analyst", COSTLEDGER_API_TOKEN_KEY=KEY)
    assert printed.returncode == 0, printed.stderr
    claims = TokenVerifier.from_settings(settings).verify(printed.stdout.strip())
    assert (claims.user_id, claims.roles) == ("ann", {"analyst", "operator"})
    cli.settings = {"COSTLEDGER_API_TOKEN_KEY": KEY}
    document = cli.json("token", "--user", "ann", "--hours", "0.5")
    payload = jwt.decode(document["token"], KEY, ["HS256"], audience="costledger")
    assert payload["exp"] - payload["iat"] == 1800
    assert (document["user_id"], document["roles"]) == ("ann", [])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--user", "ann", "--role", "king"), 2, "king"),
        (("--user", "ann", "--hours", "721"), 2, "up to 720"),
        (("--user", "ann", "--hours", "NaN"), 2, "finite"),
        (("--user", "x" * 129), 2, "128"),
        ((), 2, "--user"),
    ],
)
def test_what_no_token_can_say(arguments: tuple[str, ...], code: int, said: str, cli: Cli) -> None:
    """Wrong roles, times and users are matters of usage."""
    done = cli("token", *arguments, COSTLEDGER_API_TOKEN_KEY=KEY)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_without_a_key(cli: Cli) -> None:
    """The setting to set is named."""
    done = cli("token", "--user", "ann")
    assert (done.returncode, "COSTLEDGER_API_TOKEN_KEY_FILE" in done.stderr) == (1, True)


def test_the_key_of_a_data_directory(tmp_path: Path) -> None:
    """Made once, for the owner alone, and long enough; where no file can be named the key itself is given."""
    named = token_key_settings(tmp_path)
    path = Path(named["COSTLEDGER_API_TOKEN_KEY_FILE"])
    assert path.stat().st_mode & 0o777 == 0o600
    TokenVerifier.from_settings(Settings(_env_file=None, api_token_key_file=path))
    key = path.read_text()
    assert token_key_settings(tmp_path) == named
    assert path.read_text() == key
    odd = tmp_path / "a directory"
    odd.mkdir()
    assert len(token_key_settings(odd)["COSTLEDGER_API_TOKEN_KEY"]) >= 32


def test_what_doctor_says_of_tokens(tmp_path: Path) -> None:
    """A missing key and one that others may read are warnings, with what to do."""
    missing = _tokens(Settings(_env_file=None))
    assert (missing.state, "COSTLEDGER_API_TOKEN_KEY_FILE" in missing.remedy) == ("warning", True)
    path = tmp_path / "key"
    path.write_text(KEY)
    path.chmod(0o644)
    settings = Settings(_env_file=None, api_token_key_file=path)
    assert (_tokens(settings).state, _tokens(settings).remedy) == ("warning", f"chmod 600 {path}")
    path.chmod(0o600)
    assert _tokens(settings).state == "ok"
