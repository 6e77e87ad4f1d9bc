"""Importing what an extra brings, with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def needed(module: str, extra: str, purpose: str) -> ModuleType:
    """The module; `ImportError` that says what to install where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(
            f"{purpose} needs the package {package}: pip install 'costledger[{extra}]'", name=package
        ) from error
