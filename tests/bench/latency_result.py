"""What is told of latency: a run at one rate, and what the runs at all rates say of each way to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.latencies import PACE_SHARE_MIN, Figures
from tests.bench.rates import Result

#: The value of each name is the 99th percentile at this rate (events/s), and at no other.
JUDGED_RATE = 5_000
COLUMNS = ("name", "events/s", "reached", "p50, ms", "p99, ms", "samples", "verdict")
CPU_COLUMNS = ("events/s", "sent late by at most, ms", "dropped", "CPU, cores")


@dataclass(frozen=True)
class LatencyRun:
    """One run: what the generator came to, what each process used, and the figures by name.

    `rate_reached` in events per second; `late_ms_max`: how late an event was sent at most (it counts as latency);
    `dropped`: events that the SDK gave up; `cpu_cores`: of generator, workers and everything on the machine, averaged over
    the load.
    """

    rate: int
    rate_reached: float
    late_ms_max: float
    dropped: int
    cpu_cores: dict[str, float]
    figures: dict[str, Figures]

    @property
    def in_pace(self) -> bool:
        """Whether the generator sent as many events a second as it should have."""
        return self.rate_reached >= PACE_SHARE_MIN * self.rate

    def reached(self) -> str:
        """The rate reached, for the table."""
        return f"{self.rate_reached:,.0f}" if self.in_pace else f"only {self.rate_reached:,.0f}"

    def cpu_row(self) -> tuple[str, ...]:
        """A line of the table of what was used."""
        cores = ", ".join(f"{name} {cores:.2f}" for name, cores in self.cpu_cores.items())
        return (f"{self.rate:,}", f"{self.late_ms_max:,.0f}", f"{self.dropped:,}", cores)


@dataclass(frozen=True)
class LatencyResult(Result):
    """One way to be seen, at every rate."""

    runs: Sequence[LatencyRun]

    @property
    def judged(self) -> LatencyRun | None:
        """The run at `JUDGED_RATE`, if there is one."""
        return next((run for run in self.runs if run.rate == JUDGED_RATE), None)

    def entry(self) -> dict[str, Any]:
        """Its part of the document: the 99th percentile in ms, None where that many events were not seen in time.

        Where the judged rate was not measured it has no value.
        """
        judged = self.judged
        value = {} if judged is None else {"value": judged.figures[self.name].p99_ms, "at_rate": judged.rate}
        return {
            **value,
            "unit": self.unit,
            "ratio_to": {},
            "ratio_range": {},
            "peers": {},
            "without_rate": {},
            "runs": 1,
            "rates": {str(run.rate): self._of_rate(run) for run in self.runs},
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Its lines of the table."""
        return [self._row(run) for run in self.runs]

    def _of_rate(self, run: LatencyRun) -> dict[str, Any]:
        figures = run.figures[self.name]
        sustained = figures.rate_sustained
        return {
            "p50": figures.p50_ms,
            "p99": figures.p99_ms,
            "samples": figures.samples,
            "unseen": figures.unseen,
            "keeps_up": figures.keeps_up,
            "rate_sustained": None if sustained is None else round(sustained),
            "rate_reached": round(run.rate_reached),
            "late_ms_max": round(run.late_ms_max, 1),
            "dropped": run.dropped,
            "cpu_cores": run.cpu_cores,
        }

    def _row(self, run: LatencyRun) -> tuple[str, ...]:
        figures = run.figures[self.name]
        shown = [f"{figures.samples - figures.unseen} of {figures.samples}" if figures.unseen else f"{figures.samples}"]
        times = ["none" if one is None else f"{one:,.0f}" for one in (figures.p50_ms, figures.p99_ms)]
        return (self.name, f"{run.rate:,}", run.reached(), *times, *shown, figures.verdict())


def results_of(runs: Sequence[LatencyRun]) -> list[LatencyResult]:
    """A result of each name. It failed where at some rate nothing was seen at all: then something does not work."""
    results = []
    for name in runs[0].figures:
        nothing = {
            f"{run.rate} events/s": run.figures[name].verdict()
            for run in runs
            if run.figures[name].unseen == run.figures[name].samples
        }
        results.append(LatencyResult(name, "ms", 1, {}, failed=nothing, runs=runs))
    return results
