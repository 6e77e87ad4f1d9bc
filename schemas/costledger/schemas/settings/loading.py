"""Reading the settings: where they come from, and errors for whatever is unknown or contradicts itself."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from dotenv import dotenv_values
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from pydantic_settings import SettingsError as PydanticSettingsError

from costledger.schemas.errors import InvalidValue, SettingsError
from costledger.schemas.settings.fields import (
    CONFIG_FILE_VARIABLE,
    ENV_FILE_VARIABLE,
    PREFIX,
    Settings,
    config_file,
)

#: Names under our prefix that are not settings of the running system.
_OTHER_NAMES: Final = frozenset(
    {ENV_FILE_VARIABLE, CONFIG_FILE_VARIABLE, "COSTLEDGER_REAL_DATA", "COSTLEDGER_API_URL", "COSTLEDGER_COMPILE"}
)
_OTHER_PREFIXES: Final = ("COSTLEDGER_TEST_", "COSTLEDGER_FAULT_", "COSTLEDGER_BENCH_")


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; raises `SettingsError` naming each setting that is wrong or unknown."""
    env_file = Path(os.environ.get(ENV_FILE_VARIABLE, ".env"))
    _refuse_missing(ENV_FILE_VARIABLE, env_file)
    _refuse_missing(CONFIG_FILE_VARIABLE, config_file())
    _refuse_unknown("the environment", os.environ)
    if env_file.is_file():
        _refuse_unknown(str(env_file), dotenv_values(env_file))
    _refuse_unknown("the arguments", _as_variables(overrides))
    _refuse_unknown_toml()
    try:
        settings = Settings(_env_file=env_file, **overrides)
        settings.budget_defaults()
    except ValidationError as error:
        # The library's own error holds the values, of secrets too: it must not follow into a log.
        raise SettingsError(_explained(error)) from None
    except PydanticSettingsError as error:
        raise SettingsError(_explained_form(error)) from error
    except InvalidValue as error:
        raise SettingsError(str(error)) from error
    _refuse_plaintext(settings)
    _refuse_contradictions(settings)
    return settings


def _refuse_missing(variable: str, path: Path | None) -> None:
    if variable in os.environ and path is not None and not path.is_file():
        raise SettingsError(f"{variable} names {path}, which is not a file")


def _refuse_unknown(where: str, names: Iterable[str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _OTHER_NAMES
    for name in names:
        # Names in lower case are read too.
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in known and not upper.startswith(_OTHER_PREFIXES):
            near = difflib.get_close_matches(upper, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} in {where} is no setting of costledger{hint}")


def _refuse_unknown_toml() -> None:
    path = config_file()
    if path is None:
        return
    try:
        names = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"{path} is not a TOML file: {error}") from error
    _refuse_unknown(str(path), _as_variables(names))


def _as_variables(names: Iterable[str]) -> list[str]:
    return [PREFIX + name for name in names]


def _explained(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        name = ".".join(str(part) for part in problem["loc"])
        # The value of a secret must not reach a log.
        secret = any(part in name for part in ("password", "url", "token_key", "recipients"))
        value = "" if secret else f" is {problem.get('input')!r}"
        lines.append(f"{PREFIX}{name.upper()}{value}: {problem['msg']}")
    return "\n".join(lines)


def _explained_form(error: PydanticSettingsError) -> str:
    """What the library says of a value that should be JSON, by the variable's own name."""
    named = re.search('field "([a-z_]+)"', str(error))
    if named is None:
        return str(error)
    field = Settings.model_fields[named.group(1)]
    example = json.dumps(to_jsonable_python(field.get_default(call_default_factory=True, validated_data={})))
    return f"{PREFIX}{named.group(1).upper()} must be JSON: {field.description}; its default is {example}"


def _refuse_plaintext(settings: Settings) -> None:
    if settings.allow_plaintext or settings.security_protocol not in {"PLAINTEXT", "SASL_PLAINTEXT"}:
        return
    for server in settings.bootstrap_servers.split(","):
        host = server.strip().rsplit(":", 1)[0].strip("[]")
        if not host:
            raise SettingsError(
                f"{PREFIX}BOOTSTRAP_SERVERS is {settings.bootstrap_servers!r}: it must name a server, as host:port"
            )
        if not _is_this_machine(host):
            raise SettingsError(
                f"{PREFIX}SECURITY_PROTOCOL is {settings.security_protocol}, and {host} is not this machine: "
                f"use SASL_SSL or SSL, or set {PREFIX}ALLOW_PLAINTEXT=true if the network is trusted"
            )


def _refuse_contradictions(settings: Settings) -> None:
    if settings.security_protocol.startswith("SASL"):
        for name, value in (("SASL_USERNAME", settings.sasl_username), ("SASL_PASSWORD", settings.sasl_password)):
            if not value:
                raise SettingsError(f"{PREFIX}{name} is missing: {settings.security_protocol} needs it")
    if settings.oidc_issuer is not None and settings.oidc_audience is None:
        raise SettingsError(f"{PREFIX}OIDC_AUDIENCE is missing: {PREFIX}OIDC_ISSUER needs it")
    stall, session = settings.stream_stall_timeout_seconds, settings.stream_session_timeout_seconds
    if stall <= session:
        raise SettingsError(
            f"{PREFIX}STREAM_STALL_TIMEOUT_SECONDS is {stall:g}; "
            f"it must be above {PREFIX}STREAM_SESSION_TIMEOUT_SECONDS ({session:g})"
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:  # a name, and who answers to it is not known here
        return False
