"""The figures of a whole run: what every scenario's check has measured, as JSON and as a table in Markdown."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.fault.harness.findings import Findings

REPORT_NAMES: Final = ("report.json", "report.md")
#: The columns that scenarios have in common; the others are in the JSON document alone.
_COLUMNS: Final = {
    "attempts": "events",
    "lost": "lost",
    "doubled": "doubled",
    "alerts": "alerts",
    "dead_letters": "dead letters",
    "healed_seconds": "caught up, s",
    "revived": "workers that the harness started again",
    "crashed": "of these ended by themselves",
    "snapshots": "snapshots",
    "rss_peak_mib": "most memory, MiB",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One check of all promises. `broken` names the promises that did not hold."""

    file: str
    scenario: str
    what: str
    broken: tuple[str, ...]
    figures: Mapping[str, float]


@dataclass(slots=True)
class RunReport:
    """Gathers rows while tests run."""

    began: float = field(default_factory=time.time)
    rows: list[Row] = field(default_factory=list)

    def add(self, file: str, scenario: str, what: str, findings: Findings) -> None:
        """One check."""
        broken = tuple(sorted(findings.broken, key=lambda name: int(name.removeprefix("I"))))
        self.rows.append(Row(file, scenario, what, broken, dict(findings.figures)))

    def given(self) -> str:
        """The rows, for `take` in another process."""
        return json.dumps([asdict(row) for row in self.rows])

    def take(self, given: str) -> None:
        """Add the rows of another process."""
        self.rows += [Row(**{**row, "broken": tuple(row["broken"])}) for row in json.loads(given)]

    def total(self, figure: str) -> int:
        """The sum over all tests: of one that checks more than once the most, since what it has made is still there."""
        most: dict[tuple[str, str], float] = {}
        for row in self.rows:
            test = row.file, row.scenario
            most[test] = max(most.get(test, 0), row.figures.get(figure, 0))
        return int(sum(most.values()))

    def document(self, seed: str | None, commit: str, outcomes: Mapping[str, int]) -> dict[str, Any]:
        """Everything. `outcomes`: how many tests passed, failed ..."""
        return {
            "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.began)),
            "seconds": round(time.time() - self.began),
            "seed": seed,
            "commit": commit,
            "machine": {
                "processors": os.cpu_count(),
                "system": f"{platform.system()} {platform.machine()}",
                "python": platform.python_version(),
            },
            "tests": dict(outcomes),
            "checks": len(self.rows),
            "events": self.total("attempts"),
            "lost": self.total("lost"),
            "doubled": self.total("doubled"),
            "broken": sorted({name for row in self.rows for name in row.broken}),
            "scenarios": [asdict(row) for row in self.rows],
        }

    def table(self) -> str:
        """Markdown, a line for each check and one for all."""
        lines = [
            f"| scenario | file | {' | '.join(_COLUMNS.values())} | promises |",
            f"|---|---|{'---|' * len(_COLUMNS)}---|",
        ]
        for row in self.rows:
            cells = [_cell(row.figures.get(name)) for name in _COLUMNS]
            held = f"**broken: {', '.join(row.broken)}**" if row.broken else "hold"
            lines.append(f"| {row.scenario} | {row.file} | {' | '.join(cells)} | {held} |")
        sums = [
            f"{self.total(name):,}" if name in ("attempts", "lost", "doubled", "alerts") else "" for name in _COLUMNS
        ]
        lines.append(f"| all {len(self.rows)} | | {' | '.join(sums)} | |")
        return "\n".join(lines) + "\n"

    def write(self, folder: Path, seed: str | None, commit: str, outcomes: Mapping[str, int]) -> None:
        """`report.json` and `report.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        told = self.document(seed, commit, outcomes)
        head = f"Begun {told['began']}, {told['seconds']} s, seed {seed}, commit {commit}; {dict(outcomes)}\n\n"
        texts = (json.dumps(told, indent=1) + "\n", head + self.table())
        for name, text in zip(REPORT_NAMES, texts, strict=True):
            (folder / name).write_text(text, encoding="utf-8")


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}"
