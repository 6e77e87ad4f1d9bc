"""`api_p95`: how long the API's routes take for 8 readers at once, on a large ledger and on one a tenth of its size."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
import psycopg
from psycopg import sql
from tests.bench.ledger_filler import HEAVY, USERS, fill
from tests.bench.processes import environment, running
from tests.bench.rates import Result

from costledger.sinks.migrations import migrate

READERS = 8
REQUESTS = 400
WARM_UP_REQUESTS = 80
TENTH = "tenth_ledger"
_KEY = "a key of the benchmark, of more than thirty-two bytes"
PROGRAMS = Path(__file__).parent / "programs"
_START_SECONDS_MAX = 60.0
_READ_SECONDS_MAX = 900.0
_POLL_SECONDS = 0.05
_FRIDAY = 4
Requests = list[tuple[str, str]]


@dataclass(frozen=True)
class ApiResult(Result):
    """The slowest route's 95th percentile; beside it every route's median and 95th percentile, in both ledgers."""

    routes: dict[str, dict[str, float]]
    events: dict[str, int]

    def entry(self) -> dict[str, Any]:
        """Its part of the document."""
        return {**super().entry(), "readers": READERS, "events": self.events, "routes": self.routes}

    def rows(self) -> list[tuple[str, ...]]:
        """A table of the routes."""
        names = ("p50", "p95", "tenth_p50", "tenth_p95", "ratio")
        return [(route, *(f"{one[name]:,.2f}" for name in names)) for route, one in self.routes.items()]


ROUTE_COLUMNS = ("route", "p50, ms", "p95, ms", "p50 of a tenth", "p95 of a tenth", "ratio of p95")


class ApiBench:
    """Fills both ledgers and reads the routes of an API on each."""

    def __init__(
        self,
        services: Mapping[str, str],
        folder: Path,
        *,
        events: int,
        days: int,
        runs: int,
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        self._services = services
        self._folder = folder
        self._events = events
        self._days = days
        self._runs = runs
        self._seed = seed
        self._say = say

    def measure(self) -> ApiResult:
        """Both ledgers are there at once, and are read in turn."""
        now = full_periods(datetime.now(UTC))
        times: dict[str, list[dict[str, list[float]]]] = {"api_p95": [], TENTH: []}
        with self._ledger() as large, self._ledger() as small:
            filled = {}
            for name, url, events in (("api_p95", large, self._events), (TENTH, small, self._events // 10)):
                started = time.monotonic()
                self._say(f"filling a ledger with {events:,} events of {self._days} days")
                filled[name] = fill(url, events, now, seed=self._seed, days=self._days, say=self._say)
                self._say(f"{filled[name]:,} events in {time.monotonic() - started:.0f} s")
            for run in range(self._runs):
                order = [("api_p95", large), (TENTH, small)]
                for name, url in order if run % 2 == 0 else order[::-1]:
                    times[name].append(self._read(url, now, run))
                    self._say(f"  run {run + 1} of {self._runs}: {name} read")
        return result(times, filled)

    def _read(self, url: str, now: datetime, run: int) -> dict[str, list[float]]:
        settings = {
            **self._services,
            "COSTLEDGER_DATABASE_URL": url,
            "COSTLEDGER_API_PORT": "0",
            "COSTLEDGER_API_TOKEN_KEY": _KEY,
            "COSTLEDGER_API_RATE_LIMIT": "1000000/second",
        }
        routes = requests_of(random.Random(self._seed + run), REQUESTS)
        arguments = [str(PROGRAMS / "api_server.py"), now.isoformat()]
        with running(f"api-{run}-{uuid.uuid4().hex[:6]}", arguments, self._folder, settings) as api:
            address = address_of(api.log_path, api.check)
            _readers(address, {route: requests[:WARM_UP_REQUESTS] for route, requests in routes.items()}, self._folder)
            times = _readers(address, routes, self._folder)
            api.stop()
        return times

    @contextmanager
    def _ledger(self) -> Iterator[str]:
        """URL of an empty ledger; dropped at the end."""
        server_url = self._services["COSTLEDGER_DATABASE_URL"]
        name = f"bench_{uuid.uuid4().hex[:12]}"
        url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
        with psycopg.connect(server_url, autocommit=True) as server:
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            try:
                migrate(url)
                yield url
            finally:
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def full_periods(today: datetime) -> datetime:
    """The evening of the last Friday of the last full month: a running day, week and month that have much in them, whatever day it is."""
    last = today.astimezone(UTC).replace(day=1, hour=20, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return last - timedelta(days=(last.weekday() - _FRIDAY) % 7)


def requests_of(chance: random.Random, count: int) -> dict[str, Requests]:
    """Route -> requests: for users of the crowd evenly, and for the busiest ones by themselves."""

    def costs(period: str, users: list[str], *, detailed: bool = True) -> Requests:
        path = f"/api/analytics/costs?period={period}&detailed={str(detailed).lower()}"
        return [(path, _token(chance.choice(users))) for _ in range(count)]

    crowd = [f"user-{number:05d}" for number in range(USERS)]
    analyst = _token("analyst", "analyst")
    cursors = [quote(chance.choice(crowd).encode().hex()) for _ in range(count)]
    return {
        "costs, day": costs("day", crowd),
        "costs, week": costs("week", crowd),
        "costs, month": costs("month", crowd),
        **{f"costs, month, {user}": costs("month", [user]) for user in HEAVY},
        **{
            f"tiers, {period}": [(f"/api/analytics/tiers?period={period}", analyst)] * count
            for period in ("day", "month")
        },
        "users": [(f"/api/analytics/users?cursor={cursor}", analyst) for cursor in cursors],
        "budget": [("/api/billing/budget", _token(chance.choice(crowd))) for _ in range(count)],
        "alerts": [("/api/alerts", _token(chance.choice(crowd))) for _ in range(count)],
    }


def result(times: Mapping[str, list[dict[str, list[float]]]], filled: dict[str, int]) -> ApiResult:
    """The percentiles of each run, and their medians over the runs."""
    p95 = {
        name: [{route: percentile(one) for route, one in run.items()} for run in runs] for name, runs in times.items()
    }
    p50 = {name: [{route: median(one) for route, one in run.items()} for run in runs] for name, runs in times.items()}

    def over_runs(runs: list[dict[str, float]], route: str) -> float:
        return round(median(run[route] for run in runs), 2)

    routes = {}
    for route in times["api_p95"][0]:
        large, small = over_runs(p95["api_p95"], route), over_runs(p95[TENTH], route)
        routes[route] = {
            "p50": over_runs(p50["api_p95"], route),
            "p95": large,
            "tenth_p50": over_runs(p50[TENTH], route),
            "tenth_p95": small,
            "ratio": round(large / small, 2),
        }
    worst = {name: [max(run.values()) for run in runs] for name, runs in p95.items()}
    return ApiResult("api_p95", "ms", 1, worst, routes, filled)


def percentile(milliseconds: list[float]) -> float:
    """The 95th."""
    return quantiles(milliseconds, n=20)[-1]


def _token(user: str, *roles: str) -> str:
    now = int(time.time())
    claims = {
        "iss": "costledger",
        "aud": "costledger",
        "sub": user,
        "roles": list(roles),
        "iat": now,
        "exp": now + 3600,
    }
    return jwt.encode(claims, _KEY, "HS256")


def address_of(log_path: Path, check: Callable[[], None]) -> str:
    """What the server has printed, once it takes connections."""
    deadline = time.monotonic() + _START_SECONDS_MAX
    while time.monotonic() < deadline:
        check()
        for line in log_path.read_text(errors="replace").splitlines():
            if line.startswith("URL "):
                return line.removeprefix("URL ")
        time.sleep(_POLL_SECONDS)
    raise TimeoutError(f"the API did not start within {_START_SECONDS_MAX:g} s")


def _readers(address: str, routes: Mapping[str, Requests], folder: Path) -> dict[str, list[float]]:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "api_readers.py"), address, str(READERS)],
        input=json.dumps(routes),
        cwd=folder,
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
        timeout=_READ_SECONDS_MAX,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the readers ended with {done.returncode}: {done.stderr[-2000:]}")
    times: dict[str, list[float]] = json.loads(done.stdout)
    return times
