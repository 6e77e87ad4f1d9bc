"""FOCUS's own validator, in a virtual environment of its own under build/, and what of its complaints is its own fault.

It needs another `multimethod` than its newest, exits with 0 whatever it finds, and reads one of its files relative to the
working directory: so it is run where it is installed, and its output is read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VERSION: Final = "1.0.0"
REQUIREMENTS: Final = (f"focus_validator=={VERSION}", "multimethod<2")
FOLDER: Final = Path(__file__).resolve().parents[3] / "build" / f"focus-validator-{VERSION}"
_INSTALL_SECONDS_MAX: Final = 240
_RUN_SECONDS_MAX: Final = 120
_FAILED: Final = re.compile(r"^(\w+) failed:$", re.MULTILINE)
_NUMBER: Final = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?")

Rows = Sequence[dict[str, str]]


class NotInstalled(Exception):
    """The validator cannot be installed here; says why."""


@dataclass(frozen=True)
class Waiver:
    """A rule of the validator that is wrong, why, and what must be so of the file for it to be excused."""

    rule: str
    reason: str
    excused: Callable[[Rows], bool]


def _has(column: str) -> Callable[[Rows], bool]:
    return lambda rows: column in rows[0]


def _is_a_number_to_pandas(column: str) -> Callable[[Rows], bool]:
    """Every value is made of digits: without types in CSV it is read as a number."""
    return lambda rows: all(_NUMBER.fullmatch(row[column]) for row in rows if row[column])


_OLD_NAME: Final = "asks for the column's name of FOCUS 0.5; FOCUS 1.0 calls it "
_NO_TYPES: Final = "an identifier made of digits is text, also where a CSV file, which has no types, is read as numbers"
WAIVERS: Final = {
    waiver.rule: waiver
    for waiver in (
        Waiver("InvoiceIssuer_Required", _OLD_NAME + "InvoiceIssuerName", _has("InvoiceIssuerName")),
        Waiver("Provider_Required", _OLD_NAME + "ProviderName", _has("ProviderName")),
        Waiver("Publisher_Required", _OLD_NAME + "PublisherName", _has("PublisherName")),
        Waiver("ResourceID_Required", _OLD_NAME + "ResourceId", _has("ResourceId")),
        Waiver(
            "SkuPriceId_Nullable",
            "reads the column ChargeType of FOCUS 0.5, which is ChargeCategory in 1.0, and fails without it on any file",
            lambda rows: "ChargeType" not in rows[0] and "ChargeCategory" in rows[0],
        ),
        Waiver("BillingAccountId_IsString", _NO_TYPES, _is_a_number_to_pandas("BillingAccountId")),
        Waiver("SubAccountId_IsString", _NO_TYPES, _is_a_number_to_pandas("SubAccountId")),
    )
}


def installed() -> Path:
    """The validator's Python; installed the first time. `NotInstalled` where that is not possible."""
    python = FOLDER / "bin" / "python"
    done = FOLDER / ".complete"
    if done.exists():
        return python
    shutil.rmtree(FOLDER, ignore_errors=True)
    venv.EnvBuilder(with_pip=False).create(FOLDER)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-compile"]
    try:
        result = subprocess.run(
            [*command, "--disable-pip-version-check", "--no-input", *REQUIREMENTS],
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"pip took more than {_INSTALL_SECONDS_MAX} s") from None
    if result.returncode != 0:
        raise NotInstalled(" ".join(result.stderr.split())[-500:])
    done.touch()
    return python


def failures(python: Path, file: Path) -> list[str]:
    """The names of the rules of FOCUS 1.0 that the validator says this file breaks."""
    (packages,) = FOLDER.glob("lib/python*/site-packages")
    result = subprocess.run(
        [str(python), "-m", "focus_validator.main", "--data-file", str(file), "--validate-version", "1.0"],
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
        timeout=_RUN_SECONDS_MAX,
    )
    found = _FAILED.findall(result.stdout)
    # Whatever it exits with: without a verdict nothing was validated.
    if found and "Validation failed!" in result.stdout:
        return found
    assert "Validation succeeded." in result.stdout, f"no verdict:\n{result.stdout}\n{result.stderr}"
    return []


def unexplained(found: Sequence[str], rows: Rows) -> list[str]:
    """The rules that are broken in earnest."""
    return [rule for rule in found if rule not in WAIVERS or not WAIVERS[rule].excused(rows)]
