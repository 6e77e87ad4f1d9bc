"""What a soak has measured: `soak.json`, `soak.svg` and a table for people."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.fault.harness.findings import Findings
from tests.fault.soak.course import Course, Plan, Rest, increments
from tests.fault.soak.drawing import Bar, Panel, Series, draw
from tests.fault.soak.sampling import CONSUMERS, FOLLOWERS, Look
from tests.fault.soak.slopes import Trend, fit_trend, levels, staying
from tests.fault.soak.soak import SERVICE, WATCHED

#: Of the mean, by least squares.
SLOPE_PERCENT_PER_HOUR_MAX: Final = 1.0
#: A process fills its caches at first: its memory is fitted from this age on, or from a quarter of its life on.
WARM_UP_SECONDS: Final = 240.0
#: So many events fill what the stream remembers of each of twelve partitions (20,000), and all hours of all users.
WARM_UP_EVENTS: Final = 300_000
MIB: Final = 2**20
ROLES: Final = (*WATCHED, SERVICE)
RESIDENT: Final = "resident_bytes"
#: By these a leak is judged, at rest. Resident memory goes by steps: see costledger.schemas.memory.
IN_USE: Final = ("python_blocks", "c_bytes")
#: Of a slope: with more nothing could be said of a leak.
ERROR_PERCENT_PER_HOUR_MAX: Final = 3.0
#: Of the rests: a process that does not tell is not judged by those in which it did.
SAMPLED_SHARE_MIN: Final = 0.75
#: Of the most before the harms: what stays of later bursts.
RESIDENT_SHARE_MAX: Final = 1.05


#: Of the users of all partitions, what a stream worker has of its own half: with more it has those of its twin, who is dead,
#: with fewer it is on its way to having them back.
OWN_USERS_SHARE: Final = (0.25, 0.75)


class Bound(NamedTuple):
    """Bytes of resident memory; levels are the lowest samples of each minute.

    `before_max` is the most before the harms, also for a moment; the others are the highest levels of the two halves of them.
    """

    before_max: float
    first_level: float
    last_level: float


def memory_series(looks: Sequence[Look], measure: str = RESIDENT) -> dict[str, list[tuple[float, float]]]:
    """By life of a process (`stream/1`): (seconds, what is measured), where that is known."""
    series: dict[str, list[tuple[float, float]]] = {}
    for look in looks:
        for life, memory in look.memory.items():
            value = getattr(memory, measure)
            if value is not None:
                series.setdefault(life, []).append((look.at_seconds, float(value)))
    return series


def with_own_users(looks: Sequence[Look]) -> list[Look]:
    """The looks, each without the processes that have another's users, who is dead, or not all of their own."""
    most = max((memory.users or 0 for look in looks for memory in look.memory.values()), default=0)
    least, allowed = (share * most for share in OWN_USERS_SHARE)
    return [
        replace(
            look,
            memory={
                life: one for life, one in look.memory.items() if one.users is None or least <= one.users <= allowed
            },
        )
        for look in looks
    ]


def memory_trends(
    looks: Sequence[Look], until_seconds: float, since_seconds: float = 0.0, measure: str = RESIDENT
) -> dict[str, Trend]:
    """Of each watched worker and of the service: the trend of the levels of its longest life, its warm-up left out.

    Of the stream while its twin is alive: what it takes over meanwhile, and gives back, is the twin's.
    The warm-up ends when the worker is old enough and enough events have passed; at the middle of its life at the latest.
    """
    trends: dict[str, Trend] = {}
    looks = with_own_users(looks)
    filled = next((look.at_seconds for look in looks if (look.done.get("stream") or 0) >= WARM_UP_EVENTS), math.inf)
    for role in ROLES:
        points = [point for point in _longest_life(looks, role, measure) if point[0] <= until_seconds]
        if not points:
            continue
        first, last = points[0][0], points[-1][0]
        begins = max(first + min(WARM_UP_SECONDS, (last - first) / 4), min(filled, (first + last) / 2), since_seconds)
        warm = [point for point in points if point[0] >= begins]
        if len(levels(warm)) > 2:
            trends[role] = fit_trend(levels(warm))
    return trends


def rest_trends(looks: Sequence[Look], rests: Sequence[Rest], measure: str) -> dict[str, Trend]:
    """Of each watched worker and of the service: the trend of what its longest life held in each rest, and did not give back.

    Of two rests or more. Of a rest the least: what a worker has just received is on its way, and what only the collector can free
    goes when that comes, which it does at least once in the time of a rest and the turn before. And no more than in any later
    rest: Kafka's client keeps what it had fetched of a partition that was taken away until it has that partition again (measured
    once, in a sink: 6.7 MiB for some minutes).
    """
    trends: dict[str, Trend] = {}
    looks = with_own_users(looks)
    for role in ROLES:
        life = _longest_life(looks, role, measure)
        points = []
        for rest in rests:
            held = [value for at, value in life if rest.quiet_at_seconds <= at <= rest.to_seconds]
            if held:
                points.append((rest.quiet_at_seconds, min(held)))
        if len(points) > 1:
            trends[role] = fit_trend(staying(points))
    return trends


def resident_bounds(looks: Sequence[Look], since_seconds: float, until_seconds: float) -> dict[str, Bound]:
    """By role: of all its lives before the harms, and of its longest one since."""
    middle = (since_seconds + until_seconds) / 2
    series = memory_series(looks)
    bounds: dict[str, Bound] = {}
    for role in ROLES:
        lives = [points for life, points in series.items() if life.split("/")[0] == role]
        before = [value for points in lives for at, value in points if at < since_seconds]
        points = [point for point in _longest_life(looks, role, RESIDENT) if since_seconds <= point[0] <= until_seconds]
        halves = [levels([point for point in points if (point[0] >= middle) == last]) for last in (False, True)]
        if before and all(halves):
            bounds[role] = Bound(max(before), *(max(value for _, value in half) for half in halves))
    return bounds


def memory_findings(told: dict[str, Any]) -> list[str]:
    """What is wrong with the memory of a document: measured too rarely or too noisily to be judged, growing, or not bounded."""
    findings = []
    samples_min = math.ceil(SAMPLED_SHARE_MIN * len(told["rests"]))
    for role in ROLES:
        for measure in IN_USE:
            trend = told["memory"].get(role, {}).get(measure)
            name = f"memory of {role}, {measure}"
            if trend is None or trend["samples"] < samples_min:
                findings.append(f"{name}: {trend and trend['samples']} rests are known; {samples_min} must be")
            elif trend["error_percent_per_hour"] > ERROR_PERCENT_PER_HOUR_MAX:
                findings.append(f"{name}: too noisy to be judged: {trend}")
            elif trend["percent_per_hour"] - 2 * trend["error_percent_per_hour"] >= SLOPE_PERCENT_PER_HOUR_MAX:
                findings.append(f"{name}: grows: {trend}")
        bound = told["resident_memory"].get(role)
        if bound is None:
            findings.append(f"resident memory of {role} is not known from before the harms to their end")
        elif max(bound["first_level"], bound["last_level"]) > RESIDENT_SHARE_MAX * bound["before_max"]:
            findings.append(f"resident memory of {role}: more stays than any burst took before the harms: {bound}")
    return findings


def _at_most(trend: dict[str, float]) -> float:
    return trend["percent_per_hour"] + 2 * trend["error_percent_per_hour"]


def _longest_life(looks: Sequence[Look], role: str, measure: str) -> list[tuple[float, float]]:
    lives = [points for life, points in memory_series(looks, measure).items() if life.split("/")[0] == role]
    return max(lives, key=len, default=[])


def document(plan: Plan, course: Course, looks: Sequence[Look], findings: Findings, seed: int) -> dict[str, Any]:
    """Everything, as JSON has it."""
    between = (course.ended_at_seconds, course.began_at_seconds)
    trends = {RESIDENT: memory_trends(looks, *between)}
    trends |= {measure: rest_trends(looks, course.rests, measure) for measure in IN_USE}
    slowest = {
        name: max(times, default=None)
        for name in FOLLOWERS
        if None not in (times := [fault.caught_up_seconds[name] for fault in course.faults])
    }
    return {
        "seed": seed,
        "machine": {"processors": os.cpu_count(), "python": platform.python_version(), "load_average": os.getloadavg()},
        "maximum_events_per_second": round(course.maximum_rate),
        "maximum_limit": course.maximum_limit,
        "load_events_per_second": round(course.rate),
        "carried_events_per_second": round(course.carried_rate),
        "fault_seconds": plan.fault_seconds,
        "faults": [
            {
                "name": fault.name,
                "at_seconds": round(fault.at_seconds, 1),
                "healed_at_seconds": round(fault.healed_at_seconds, 1),
                "caught_up_seconds": fault.caught_up_seconds,
            }
            for fault in course.faults
        ],
        "caught_up_seconds_max": slowest,
        "rests": [[round(seconds, 1) for seconds in rest] for rest in course.rests],
        "restarts": [
            {"at_seconds": round(at, 1), "worker": name, "exit_code": code} for at, name, code in course.restarts
        ],
        "memory": {
            role: {measure: trends[measure][role].as_dict() for measure in trends if role in trends[measure]}
            for role in ROLES
        },
        "resident_memory": {
            role: bound._asdict()
            for role, bound in resident_bounds(looks, course.began_at_seconds, course.ended_at_seconds).items()
        },
        "figures": findings.figures,
        "looks": [
            [round(look.at_seconds, 1), look.written, look.done, look.lag, look.lag_seconds, look.memory]
            for look in looks
        ],
    }


def picture(course: Course, looks: Sequence[Look]) -> str:
    """Throughput, lag and memory over time, with the faults."""
    throughput = [Series("written", increments(list(looks), lambda look: look.written))]
    lag = []
    for name in CONSUMERS:
        throughput.append(Series(name, increments(list(looks), lambda look, name=name: look.done[name])))
        points = [(look.at_seconds, float(behind)) for look in looks if (behind := look.lag[name]) is not None]
        lag.append(Series(name, points))
    lives = memory_series(looks)
    memory = [
        Series(role, [(at, rss / MIB) for life in lives if life.split("/")[0] == role for at, rss in lives[life]])
        for role in (*ROLES, "stream-2", "sink-2")
    ]
    panels = [
        Panel("Throughput", "events/s", throughput),
        Panel("Lag", "messages", lag),
        Panel("Resident memory", "MiB", memory),
    ]
    bars = [Bar(fault.name, fault.at_seconds, fault.healed_at_seconds) for fault in course.faults]
    title = f"Soak: {course.rate:,.0f} events/s of {course.maximum_rate:,.0f}, {len(course.faults)} faults"
    return draw(title, panels, bars)


def table(told: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"maximum {told['maximum_events_per_second']:,} events/s ({told['maximum_limit'] or 'nothing'} did no more), "
        f"load {told['load_events_per_second']:,} events/s, "
        f"{told['fault_seconds'] / 60:g} min, {len(told['faults'])} faults, seed {told['seed']}",
        "figures: " + ", ".join(f"{name} {value:,}" for name, value in told["figures"].items()),
        "",
        f"{'fault':<36}{'at':>8}" + "".join(f"{name + ' caught up':>20}" for name in FOLLOWERS),
    ]
    for fault in told["faults"]:
        times = fault["caught_up_seconds"]
        shown = "".join(f"{'never' if times[name] is None else f'{times[name]:.1f} s':>20}" for name in FOLLOWERS)
        lines.append(f"{fault['name']:<36}{fault['at_seconds']:>6.0f} s{shown}")
    lines += ["", f"{'memory of':<26}{'mean':>18}{'slope':>16}{'standard error':>18}{'at most':>16}{'fitted':>10}"]
    for role, trends in told["memory"].items():
        for measure, trend in trends.items():
            mean = f"{trend['mean']:,.0f}" if measure == "python_blocks" else f"{trend['mean'] / MIB:.1f} MiB"
            lines.append(
                f"{role:<12}{measure:<14}{mean:>18}{trend['percent_per_hour']:>12.2f} %/h"
                f"{trend['error_percent_per_hour']:>14.2f} %/h{_at_most(trend):>12.2f} %/h{trend['samples']:>8}"
            )
    for role, bound in told["resident_memory"].items():
        before, first, last = (f"{bound[name] / MIB:.0f} MiB" for name in Bound._fields)
        lines.append(f"{role:<12}resident: at most {before} before the harms, then levels up to {first}, up to {last}")
    for restart in told["restarts"]:
        lines.append(
            f"{restart['worker']} ended with {restart['exit_code']} at {restart['at_seconds']} s: started again"
        )
    return "\n".join(lines)


def write(folder: Path, told: dict[str, Any], svg: str) -> None:
    """`soak.json` and `soak.svg`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "soak.json").write_text(json.dumps(told) + "\n", encoding="utf-8")
    (folder / "soak.svg").write_text(svg, encoding="utf-8")
