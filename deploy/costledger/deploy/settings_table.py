"""Every setting with its default and meaning, from the settings' own declarations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from costledger.schemas.settings import CONFIG_FILE_VARIABLE, ENV_FILE_VARIABLE, PREFIX, Settings

_FILES = {
    ENV_FILE_VARIABLE: (".env", "file with COSTLEDGER_* lines; the environment wins over it"),
    CONFIG_FILE_VARIABLE: ("", "TOML file with settings under their names in lower case, without the prefix"),
}


@dataclass(frozen=True, slots=True)
class DescribedSetting:
    """One setting as people see it. `default` is written as it would be in the environment; empty is unset."""

    variable: str
    default: str
    description: str


def described_settings() -> list[DescribedSetting]:
    """All settings in the order in which they are declared, then the two that name files of settings."""
    declared = [
        DescribedSetting(PREFIX + name.upper(), _as_text(field), _meaning(field))
        for name, field in Settings.model_fields.items()
    ]
    return declared + [DescribedSetting(name, default, meaning) for name, (default, meaning) in _FILES.items()]


def _as_text(field: FieldInfo) -> str:
    default: Any = field.get_default(call_default_factory=True, validated_data={})
    if default is None:
        return ""
    if isinstance(default, SecretStr):
        return default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, (tuple, list, dict)):
        # Decimals in JSON become text; the settings read them exactly.
        return json.dumps(to_jsonable_python(default))
    return str(default)


def _meaning(field: FieldInfo) -> str:
    """The description with what the value may be."""
    bounds = []
    for rule in field.metadata:
        bounds += [
            f"{word} {getattr(rule, name)}"
            for kind, name, word in ((Gt, "gt", "above"), (Ge, "ge", "from"), (Lt, "lt", "below"), (Le, "le", "up to"))
            if isinstance(rule, kind)
        ]
    choices = [str(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    notes = "|".join(choices) or " ".join(bounds)
    return f"{field.description}{f' ({notes})' if notes else ''}"
