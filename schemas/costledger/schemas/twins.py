"""Compiled twins of hot functions: the same answers in less time, where there was a C compiler at installation.

`_name.pyx` (Cython) beside `name.py` is the twin of what is slow in it, as in the standard library (PEP 399). The Python code
says what is right; tests hold the twin against it. Without twins everything works, slower (`costledger doctor` says so).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def twin_of(module: str, function: str) -> Any:
    """The function of that name in a module's compiled twin; None where there is no twin, or an old one without it."""
    package, _, name = module.rpartition(".")
    try:
        return getattr(import_module(f"{package}._{name}"), function)
    except (ImportError, AttributeError):
        return None
