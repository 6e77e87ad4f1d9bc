"""Deduplication over several processes, killed holders, forks and ends of processes; and lookups told as events."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.reading import read_topic

from costledger.producers import CostTracker
from costledger.producers.dedup import DEDUPLICATION, ResultCache
from costledger.producers.dedup.lookups import LookupReports
from costledger.producers.savings import EMBEDDING_DEDUPLICATION
from costledger.schemas.codec import decode_cost_event

RUN_SECONDS_MAX = 60.0
COST = 1234
PROCESSES, THREADS = 5, 10

PREAMBLE = f"""
import json, os, signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
import redis
from costledger.producers import CostTracker
from costledger.producers.dedup import ResultCache
redis_url, bootstrap_servers, topic = sys.argv[1:4]
client = redis.Redis.from_url(redis_url)
def cache_of(tracker=None, **other):
    return ResultCache("embedding", service="openai", operation="embedding-small", redis_url=redis_url, tracker=tracker,
                       interval_seconds=600, **other)
def tracker_of():
    return CostTracker(bootstrap_servers, "host", topic=topic, linger_ms=900)
def look_up(cache, user, times=3):
    for _ in range(times):
        cache.run(user, "text", lambda: "result", cost={COST})
"""
ASK = f"""
def work():
    client.incr("calls")
    while int(client.get("asked") or 0) < {PROCESSES * THREADS}:
        pass
    return "result"
def ask(_):
    client.incr("asked")
    return cache.run("u", "text", work, cost={COST})
cache = cache_of()
client.incr("ready")
client.blpop("go", 60)
with ThreadPoolExecutor({THREADS}) as pool:
    print(json.dumps([list(pool.map(ask, range({THREADS}))), cache.stats()]))
"""


def start(redis_url: str, script: str, bootstrap_servers: str = "", topic: str = "") -> subprocess.Popen[str]:
    """Run a host program that uses a cache."""
    return subprocess.Popen(
        [sys.executable, "-c", PREAMBLE + script, redis_url, bootstrap_servers, topic],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """Wait for the program's end, and return what it printed."""
    try:
        out, err = process.communicate(timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == code, err
    return out


def told(kafka: KafkaServer, topic: str) -> dict[str, Counter[str]]:
    """Quantities in the topic by user and operation, in 1e-9 units; each event costs nothing."""
    events = [decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topic)]
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for event in events:
        assert (event.service, event.amount) == ("costledger", 0)
        found[event.user_id][event.operation] += event.quantity
    return found


def summary(hits: int, misses: int, strategy: str = EMBEDDING_DEDUPLICATION, cost: int = COST) -> dict[str, int]:
    """What is told of so many lookups of the cache `embedding`."""
    quantities = {
        "cache-hit:embedding": hits * 10**9,
        "cache-miss:embedding": misses * 10**9,
        f"saved:{strategy}": hits * cost,
    }
    return {operation: quantity for operation, quantity in quantities.items() if quantity}


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def test_fifty_at_once_in_five_processes_pay_once(redis_url: str) -> None:
    """One call for all of them; 49 hits and a miss, in each process's counts and in Redis's, to the last one."""
    with redis.Redis.from_url(redis_url) as client:
        processes = [start(redis_url, ASK) for _ in range(PROCESSES)]
        wait_until(lambda: int(client.get("ready") or 0) == PROCESSES, RUN_SECONDS_MAX, "all processes are ready")
        client.rpush("go", *range(PROCESSES))
        answers = [json.loads(finish(process)) for process in processes]
        assert client.get("calls") == b"1"
    results, stats = zip(*answers, strict=True)
    assert [one for some in results for one in some] == ["result"] * PROCESSES * THREADS
    totals = {name: sum(one[name] for one in stats) for name in stats[0]}
    hits = PROCESSES * THREADS - 1
    assert (totals["hits"], totals["misses"]) == (hits, 1)
    assert (totals["saved"], totals["bypassed"], totals["uncounted"]) == (hits * COST, 0, 0)
    with ResultCache("embedding", service="openai", operation="embedding-small", redis_url=redis_url) as cache:
        today = datetime.now(UTC).date()
        counted = [cache.counted("u", (today - timedelta(days=ago)).isoformat()) for ago in (0, 1)]
    assert sum(day["hits"] for day in counted) == hits
    assert sum(day["misses"] for day in counted) == 1
    assert sum(day["saved"] for day in counted) == hits * COST


@pytest.mark.fault
def test_a_killed_holder_is_taken_over(redis_url: str) -> None:
    """Killed -9 at work: whoever waits does the work when the lease has ended."""
    script = """
def work():
    client.set("at-work", 1)
    threading.Event().wait()
cache_of(lease_seconds=1.5).run("u", "text", work)
"""
    with (
        redis.Redis.from_url(redis_url) as client,
        ResultCache("embedding", service="openai", operation="embedding-small", redis_url=redis_url) as cache,
    ):
        holder = start(redis_url, script)
        wait_until(lambda: client.get("at-work"), RUN_SECONDS_MAX, "the holder is at work")
        holder.kill()
        holder.communicate()
        results = []
        waiting = threading.Thread(target=lambda: results.append(cache.run("u", "text", lambda: "mine")))
        waiting.start()
        waiting.join(20)
        assert results == ["mine"]
        assert cache.stats()["stored"] == 1
        assert cache.run("u", "text", lambda: "another") == "mine"


def test_lookups_and_savings_are_told_when_a_cache_is_closed(kafka: KafkaServer, topic: str, redis_url: str) -> None:
    """Two users, exact numbers; closing twice tells nothing twice. Work that is no embedding has its own strategy."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        cache = ResultCache(
            "embedding", service="openai", operation="embedding-small", redis_url=redis_url, tracker=tracker
        )
        labels = ResultCache("labels", service="aws-rekognition", operation="x", redis_url=redis_url, tracker=tracker)
        for user, times in (("ann", 4), ("bob", 1)):
            for _ in range(times):
                cache.run(user, "text", lambda: "result", cost=COST)
        for _ in range(3):
            labels.run("cat", "image", lambda: "result", cost=10**9)
        for one in (cache, cache, labels):
            one.close()
        assert tracker.flush(30) == 0
    found = told(kafka, topic)
    assert found["ann"] == summary(3, 1)
    assert found["bob"] == summary(0, 1)
    assert found["cat"] == {
        "cache-hit:labels": 2 * 10**9,
        "cache-miss:labels": 10**9,
        f"saved:{DEDUPLICATION}": 2 * 10**9,
    }


def test_lookups_are_told_while_the_process_goes_on(kafka: KafkaServer, topic: str, redis_url: str) -> None:
    """After the interval, without another lookup."""
    with (
        CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker,
        ResultCache(
            "embedding",
            service="openai",
            operation="embedding-small",
            redis_url=redis_url,
            tracker=tracker,
            interval_seconds=0.2,
        ) as cache,
    ):
        for _ in range(2):
            cache.run("u", "text", lambda: "result", cost=COST)
        wait_until(lambda: tracker.stats()["acked"] >= 3, 30, "hits, misses and savings are told")
        assert tracker.stats()["tracked"] <= 4  # an interval may have ended between the two
    assert told(kafka, topic)["u"] == summary(1, 1)


def test_no_lookup_is_told_twice_nor_left_out_while_others_tell(kafka: KafkaServer, topic: str) -> None:
    """Eight threads count while a ninth tells again and again: the sums are exact."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        reports = LookupReports(tracker, "embedding", EMBEDDING_DEDUPLICATION, 0.05)
        counting = threading.Event()

        def count() -> None:
            for number in range(2000):
                reports.add(f"user-{number % 3}", hit=number % 4 != 0, saved=0 if number % 4 == 0 else COST)

        def tell() -> None:
            while not counting.is_set():
                reports.flush()

        telling = threading.Thread(target=tell)
        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in (telling, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        counting.set()
        telling.join()
        reports.close()
        assert tracker.flush(30) == 0
    totals: Counter[str] = Counter()
    for counts in told(kafka, topic).values():
        totals.update(counts)
    assert totals == summary(8 * 1500, 8 * 500)


def test_a_process_without_threads_to_spare_tells_at_once(
    kafka: KafkaServer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can be started: the lookup is told by the one who counts it."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        reports = LookupReports(tracker, "embedding", EMBEDDING_DEDUPLICATION, 600)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Timer, "start", refuse)
            reports.add("u", hit=True, saved=COST)
        assert tracker.stats()["tracked"] == 2
    assert told(kafka, topic)["u"] == summary(1, 0)


def test_many_users_are_told_without_waiting(kafka: KafkaServer, topic: str) -> None:
    """The books are bounded: a thousand users within a long interval do not stay in memory."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        reports = LookupReports(tracker, "embedding", EMBEDDING_DEDUPLICATION, 600)
        for number in range(1000):
            reports.add(f"user-{number}", hit=False, saved=0)
        assert tracker.stats()["tracked"] == 1000
        for _ in range(10_001):
            reports.add("user", hit=False, saved=0)
        assert tracker.stats()["tracked"] == 1001
        reports.close()
    found = told(kafka, topic)
    assert (len(found), found["user"]) == (1001, {"cache-miss:embedding": 10_001 * 10**9})


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("caches = cache = None", 0),
        ("raise SystemExit(5)", 5),
        ("os.kill(os.getpid(), signal.SIGTERM); signal.pause()", -signal.SIGTERM),
    ],
    ids=["end", "forgotten", "exception", "sigterm"],
)
def test_a_host_that_ends_without_closing_tells_its_lookups(
    kafka: KafkaServer, topic: str, redis_url: str, ending: str, code: int
) -> None:
    """Before the trackers are closed: eight of them, so that it is no matter of luck."""
    script = f"""
trackers = [tracker_of() for _ in range(8)]
caches = [cache_of(tracker) for tracker in trackers]
for number, cache in enumerate(caches):
    look_up(cache, f"user-{{number}}")
{ending}
"""
    finish(start(redis_url, script, kafka.bootstrap_servers, topic), code)
    assert told(kafka, topic) == {f"user-{number}": summary(2, 1) for number in range(8)}


def test_a_forked_child_tells_its_own_lookups(kafka: KafkaServer, topic: str, redis_url: str) -> None:
    """What the parent has counted is told by the parent alone."""
    script = """
tracker = tracker_of()
cache = cache_of(tracker)
look_up(cache, "parent")
if os.fork() == 0:
    look_up(cache, "child")
    assert cache.stats()["hits"] == 2
    sys.exit(0)
assert os.wait()[1] == 0
"""
    finish(start(redis_url, script, kafka.bootstrap_servers, topic))
    assert told(kafka, topic) == {"parent": summary(2, 1), "child": summary(2, 1)}


def test_a_fork_while_other_threads_are_in_the_cache_blocks_nobody(redis_url: str) -> None:
    """Locks that a thread of the parent holds do not exist in the child; its counts begin at zero."""
    script = """
cache = cache_of()
look_up(cache, "u")
away = ResultCache("away", service="s", operation="o", redis_url="redis://127.0.0.1:9/0")
held, forked = threading.Event(), threading.Event()
def hold():
    with cache._counters._lock, away._counters._lock, away._complaints._lock, away._store._complaints._lock:
        held.set()
        forked.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = os.fork()
if pid == 0:
    look_up(cache, "u")
    look_up(away, "u")
    away.run("u", object(), lambda: None)
    assert (cache.stats()["hits"], away.stats()["bypassed"]) == (3, 4)
    os._exit(7)
forked.set()
thread.join()
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert finish(start(redis_url, script)) == "7\n"


def test_an_extra_that_is_missing_is_named() -> None:
    """The package imports without any of them; what needs one says which."""
    script = """
import sys
for name in ("redis", "datasketch", "pdqhash", "PIL", "numpy"):
    sys.modules[name] = None
from costledger.producers.dedup import ResultCache, SimilarImages, SimilarText
from costledger.schemas.errors import SettingsError
for make in (lambda: ResultCache("c", service="s", operation="o"), SimilarText, SimilarImages):
    try:
        make()
    except SettingsError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stdout.splitlines()
    assert [line.partition("pip install ")[2] for line in lines] == [
        "'costledger[dedup]'",
        "'costledger[dedup-text]'",
        "'costledger[dedup-images]'",
    ]
