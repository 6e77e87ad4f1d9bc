"""The document of a run (`build/bench.json`): written anew after each benchmark, so that a later failure loses nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.latency_result import JUDGED_RATE
from tests.fixtures.git import UNKNOWN

Entry = Mapping[str, Any]


class BenchDocument:
    """One run's part of the document at `output`; what the run does not measure stays as it was.

    The document of before the run is kept as `NAME.previous.json`.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        #: The text of the document of before this run, or None.
        self.previous = output.read_text() if output.exists() else None
        #: By name, what this run has measured so far.
        self.measured: dict[str, Entry] = {}

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Write the document with these as well."""
        self._output.parent.mkdir(parents=True, exist_ok=True)
        if self.previous is not None:
            write_whole(self._output.with_suffix(".previous.json"), self.previous)
        self.measured |= entries
        write_whole(self._output, json.dumps(merged(entries_of(self.previous), self.measured), indent=2) + "\n")


def merged(before: Mapping[str, Entry], measured: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of before, and those measured in place of them."""
    return {**before, **{name: merged_entry(before.get(name), entry) for name, entry in measured.items()}}


def merged_entry(before: Entry | None, now: Entry) -> Entry:
    """The new entry; of latency the rates that were not measured now stay, and so does the value where there is no new one."""
    if before is None or "rates" not in now:
        return now
    rates = {**before.get("rates", {}), **now["rates"]}
    has_value = "value" in now or before.get("at_rate") != JUDGED_RATE
    return {**(now if has_value else before), "rates": rates}


def entries_of(text: str | None) -> dict[str, Entry]:
    """The entries of a document's text; none where nobody can read it."""
    try:
        found = json.loads(text or "{}")
    except json.JSONDecodeError:  # said by `compare`; the text itself is kept
        return {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, text: str) -> None:
    """Write a file so that others see the old one or the new one, and never a part."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)


def origins(text: str) -> str:
    """The commits and days that a document's entries are of, for people."""
    entries = [entry for entry in entries_of(text).values() if isinstance(entry, dict)]
    found = {f"commit {one.get('commit', UNKNOWN)} of {str(one.get('at', UNKNOWN))[:10]}" for one in entries}
    return ", ".join(sorted(found)) or "empty"
