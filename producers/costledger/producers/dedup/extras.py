"""Importing what an extra brings, with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from costledger.schemas.errors import SettingsError


def needed(module: str, extra: str, purpose: str) -> ModuleType:
    """The module; `SettingsError` that says what to install where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SettingsError(f"{purpose} needs the package {package}: pip install 'costledger[{extra}]'") from error
