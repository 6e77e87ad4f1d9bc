"""The oracle: what was attempted, on disk before `track()` was called. Lines of text, one write each.

`<name>.attempted` has a line for each attempt, in its order:

    event     event_id user service operation occurred_at_us amount|-    an event, once
    repeat    the same                                                   an event sent again, unchanged
    conflict  the same                                                   another payload under an id used before
    refused   the same                                                   an event that must be put aside
    poison    sha256 of the bytes                                        bytes that are no event

`<name>.acked` has the ids that Kafka acknowledged (mode `memory` alone). `<name>.begun` appears when the generator can be
told to end, `<name>.done` with the tracker's counts as JSON when it ended in an orderly way. A line without its end was
being written when the process was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Kind = str
EVENT: Final = "event"
REPEAT: Final = "repeat"
CONFLICT: Final = "conflict"
REFUSED: Final = "refused"
POISON: Final = "poison"


class OracleFile:
    """Appends lines; each is in the file (not yet on the disk's platter) when `write` returns."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, *fields: object) -> None:
        """One line."""
        os.write(self._fd, ("\t".join(map(str, fields)) + "\n").encode())

    def close(self) -> None:
        """No more lines."""
        os.close(self._fd)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of `<name>.attempted`; `fields` are those after the kind."""

    kind: Kind
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What one generator did. `finished`: it ended in an orderly way, and told `stats`."""

    path: Path
    durability: str

    @property
    def stats(self) -> dict[str, int] | None:
        """The tracker's counts; None where the generator was killed."""
        done = self.path.with_suffix(".done")
        if not done.exists():
            return None
        counts: dict[str, Any] = json.loads(done.read_text())
        return {name: int(count) for name, count in counts.items()}

    def begun(self) -> bool:
        """Whether it knows by now what SIGTERM means."""
        return self.path.with_suffix(".begun").exists()

    def attempts(self) -> Iterator[Attempt]:
        """All whole lines, in their order."""
        for line in _lines(self.path.with_suffix(".attempted")):
            kind, *fields = line.split("\t")
            yield Attempt(kind, tuple(fields))

    def acked(self) -> set[str]:
        """The ids that Kafka acknowledged (mode `memory`)."""
        return set(_lines(self.path.with_suffix(".acked")))

    def count(self) -> int:
        """How many attempts there are so far."""
        return sum(1 for _ in _lines(self.path.with_suffix(".attempted")))


def _lines(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    with path.open() as lines:
        for line in lines:
            if line.endswith("\n"):
                yield line[:-1]
