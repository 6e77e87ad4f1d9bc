"""Which accelerator modules (PEP 399) are in use: `_name`, compiled from `_name.pyx`, in the place of Python in `name`."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_PACKAGES: Final = tuple(f"costledger.{part}" for part in ("schemas", "producers", "streams", "sinks", "api", "deploy"))


def twins(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Every accelerator module of `packages` by its full name, and why it is not in use: an empty text if it is."""
    found = {}
    for package in packages:
        spec = find_spec(package)
        for folder in map(Path, (spec and spec.submodule_search_locations) or ()):
            for source in sorted(folder.rglob("_*.pyx")):
                name = ".".join((package, *source.relative_to(folder).with_suffix("").parts))
                found[name] = _why_not(name, source)
    return found


def _why_not(name: str, source: Path) -> str:
    if not any(source.with_suffix(suffix).is_file() for suffix in EXTENSION_SUFFIXES):
        return "not compiled"
    try:
        import_module(name)
    except ImportError as error:
        return str(error)
    return ""
