"""What can be said of a price file: one remark, and the error that carries those which make a file unusable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from costledger.schemas.errors import PriceError

#: Remarks that one error message spells out; `check_prices` has them all.
_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark on a price file.

    An *error* makes the file unusable; a *review* holds one entry back until a person has said that it is right;
    a *warning* is for a person to judge. `entry` counts from 1 in the order of the file; it and `field` are None
    where the remark is on the file as a whole. `message` names the value and the limit.
    """

    severity: Literal["error", "review", "warning"]
    file: str
    message: str
    entry: int | None = None
    field: str | None = None

    def __str__(self) -> str:
        entry = "" if self.entry is None else f", entry {self.entry}"
        return f"{self.file}{entry}: {self.message}"


class PriceFileError(PriceError):
    """A price file cannot be used; `findings` are the reasons, each with severity "error"."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        lines = [str(finding) for finding in findings[:_SHOWN_MAX]]
        if len(findings) > _SHOWN_MAX:
            lines.append(f"and {len(findings) - _SHOWN_MAX} more")
        super().__init__("\n".join(lines))
        self.findings = tuple(findings)

    def __reduce__(self) -> tuple[type[PriceFileError], tuple[tuple[Finding, ...]]]:
        return type(self), (self.findings,)
