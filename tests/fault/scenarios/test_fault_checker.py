"""Who checks the checker: after a good run, each damage breaks exactly the promises that it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from decimal import Decimal

import psycopg
import pytest
from tests.fault.harness import alert_checks, dead_letter_checks, totals_checks
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.damage import Kept, damaged_table, damaged_topic
from tests.fault.harness.findings import Findings
from tests.fault.harness.watch import Sample, Watch
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.streams.worker import changelog_topic

pytestmark = [pytest.mark.fault, pytest.mark.long]

USD = 10**12
#: A damage by its name: what it does, and the promises that it breaks.
Damages = dict[str, tuple[str, str, set[str]]]

ENTRY = "event_id = (SELECT event_id FROM ledger.entries WHERE amount > 0.000001 ORDER BY event_id LIMIT 1)"
UNPRICED = "event_id = (SELECT event_id FROM ledger.entries WHERE amount IS NULL ORDER BY event_id LIMIT 1)"
ALERT = "alert_id = (SELECT alert_id FROM ledger.alerts ORDER BY alert_id LIMIT 1)"
POISON = "id = (SELECT min(id) FROM ledger.quarantine WHERE reason <> 'id_conflict')"
CONFLICT = "id = (SELECT min(id) FROM ledger.quarantine WHERE reason = 'id_conflict')"
HOUR = "ctid = (SELECT min(ctid) FROM ledger.hourly_totals)"
DAY = "ctid = (SELECT min(ctid) FROM ledger.daily_totals)"
PARTITION = "partition = (SELECT min(partition) FROM ledger.sink_offsets)"
REPEATED = "partition = (SELECT min(partition) FROM ledger.sink_offsets WHERE duplicates > 0)"
#: Once more, under the id that `event_id` gives.
AGAIN = (
    """
INSERT INTO ledger.entries
SELECT (jsonb_populate_record(e, jsonb_build_object('event_id', {event_id}))).* FROM ledger.entries AS e WHERE
"""
    + ENTRY
)
OTHER_ID = "overlay(e.event_id::text placing '00000000' from 29)"
ADD = "UPDATE {table} SET {column} = coalesce({column}, 0) + {more} WHERE {where}"


def add(table: str, column: str, where: str, more: str = "1") -> str:
    """The statement that adds to one value."""
    return ADD.format(table=table, column=column, where=where, more=more)


LEDGER: Damages = {
    "an entry is dropped": (
        "ledger.entries",
        f"DELETE FROM ledger.entries WHERE {ENTRY}",
        {"I1", "I2", "I3", "I4", "I5", "I9"},
    ),
    "an entry is there again under another id": (
        "ledger.entries",
        AGAIN.format(event_id=OTHER_ID),
        {"I1", "I2", "I3", "I4", "I5", "I9"},
    ),
    "an entry has 1e-12 USD more": (
        "ledger.entries",
        add("ledger.entries", "amount", ENTRY, "0.000000000001"),
        {"I1", "I3", "I5", "I9"},
    ),
    "an entry is another user's": (
        "ledger.entries",
        f"UPDATE ledger.entries SET user_id = 'user-of-another-name' WHERE {ENTRY}",
        {"I1", "I3", "I5", "I9"},
    ),
    "an entry without a price is given the price of zero": (
        "ledger.entries",
        f"UPDATE ledger.entries SET amount = 0 WHERE {UNPRICED}",
        {"I1", "I3", "I4", "I9"},
    ),
    "an entry's metadata, which no total shows, are changed": (
        "ledger.entries",
        f"""UPDATE ledger.entries SET metadata = '{{"by": "hand"}}' WHERE {ENTRY}""",
        {"I9"},
    ),
    "an hour is lost": ("ledger.hourly_totals", f"DELETE FROM ledger.hourly_totals WHERE {HOUR}", {"I3"}),
    "a day is lost": ("ledger.daily_totals", f"DELETE FROM ledger.daily_totals WHERE {DAY}", {"I3"}),
}
ROLLUPS: Damages = {
    f"{table} has another {column}": (f"ledger.{table}", add(f"ledger.{table}", column, where, more), {"I3"})
    for table, where in (("hourly_totals", HOUR), ("daily_totals", DAY))
    for column, more in (("amount", "0.000000000001"), ("events", "1"), ("quantity", "0.1"), ("unpriced", "1"))
} | {
    "an hour has another largest amount": (
        "ledger.hourly_totals",
        add("ledger.hourly_totals", "max_amount", HOUR, "0.000000000001"),
        {"I3"},
    ),
}
QUARANTINE: Damages = {
    "a poison message is still owed to the dead letters": (
        "ledger.quarantine",
        f"UPDATE ledger.quarantine SET dead_letter_pending = true WHERE {POISON}",
        {"I7"},
    ),
    "a poison message is not in quarantine": (
        "ledger.quarantine",
        f"DELETE FROM ledger.quarantine WHERE {POISON}",
        {"I4", "I7"},
    ),
    "a conflict is not in quarantine": (
        "ledger.quarantine",
        f"DELETE FROM ledger.quarantine WHERE {CONFLICT}",
        {"I4", "I7"},
    ),
    "a poison message is in quarantine twice": (
        "ledger.quarantine",
        f"""INSERT INTO ledger.quarantine (topic, partition, "offset", reason, error, key, payload)
            SELECT topic, partition, "offset" + 1, reason, error, key, payload FROM ledger.quarantine WHERE {POISON}""",
        {"I4", "I7"},
    ),
    "a poison message in quarantine has other bytes": (
        "ledger.quarantine",
        f"UPDATE ledger.quarantine SET payload = payload || '\\x00'::bytea WHERE {POISON}",
        {"I7"},
    ),
    "a conflict is in quarantine twice, and another is not": (
        "ledger.quarantine",
        f"""UPDATE ledger.quarantine AS q SET payload = other.payload FROM ledger.quarantine AS other
            WHERE q.{CONFLICT} AND other.id = (
                SELECT max(id) FROM ledger.quarantine WHERE reason = 'id_conflict')""",
        {"I7"},
    ),
    "a conflict is kept for another reason": (
        "ledger.quarantine",
        f"UPDATE ledger.quarantine SET reason = 'data_error' WHERE {CONFLICT}",
        {"I7"},
    ),
}
OFFSETS: Damages = {
    f"the sink's {column} is one more": (
        "ledger.sink_offsets",
        add("ledger.sink_offsets", column, PARTITION),
        {"I4"},
    )
    for column in (
        "next_offset",
        "first_offset",
        "consumed",
        "inserted",
        "duplicates",
        "quarantined",
        "skipped",
        "unpriced",
    )
} | {
    "a repeat is counted as a place without a message": (
        "ledger.sink_offsets",
        f"UPDATE ledger.sink_offsets SET duplicates = duplicates - 1, skipped = skipped + 1 WHERE {REPEATED}",
        {"I4"},
    ),
}
ALERTS: Damages = {
    "an alert is lost": ("ledger.alerts", f"DELETE FROM ledger.alerts WHERE {ALERT}", {"I6"}),
    "there is an alert that nobody raised": (
        "ledger.alerts",
        f"""INSERT INTO ledger.alerts SELECT (jsonb_populate_record(a,
            jsonb_build_object('alert_id', gen_random_uuid()))).* FROM ledger.alerts AS a WHERE {ALERT}""",
        {"I6"},
    ),
    "an alert has 1e-12 USD more": (
        "ledger.alerts",
        add("ledger.alerts", "actual", ALERT, "0.000000000001"),
        {"I6"},
    ),
    "an alert has another text": (
        "ledger.alerts",
        f"UPDATE ledger.alerts SET message = message || '!' WHERE {ALERT}",
        {"I6"},
    ),
}


@pytest.mark.timeout(600)
def test_damage_to_the_database_breaks_the_promises_that_it_should_and_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To entries, roll-ups, quarantine, offsets and alerts; also where the replay goes on in a process of its own."""
    make_a_good_run(cluster)
    # The topics stay as they are, and what follows from them: read once, not for each of some fifty damages.
    alerts = alert_checks.replayed_alerts(cluster.reader, cluster.settings())
    users = totals_checks.recovered_users(cluster.reader, cluster.settings())
    monkeypatch.setattr(alert_checks, "replayed_alerts", lambda *_given: alerts)
    monkeypatch.setattr(totals_checks, "recovered_users", lambda *_given: users)
    monkeypatch.setattr(dead_letter_checks, "RELAY_SECONDS_MAX", 0.1)
    for name, (table, statement, broken) in (LEDGER | ROLLUPS | QUARANTINE | OFFSETS | ALERTS).items():
        with damaged_table(cluster.connection, table, statement) as rows:
            assert rows == 1, name
            expect(cluster, name, broken, chain=table == "ledger.entries")
            if table == "ledger.alerts":
                # Without the replay, as where budgets change meanwhile: then the topic alone says what was decided.
                expect(cluster, name, broken, replay_alerts=False)
    check_that_an_id_has_one_place(cluster)
    check_that_an_alert_has_one_row(cluster)
    monkeypatch.undo()
    monkeypatch.setattr(alert_checks, "_ASIDE_EVENTS_MIN", 0)
    table, statement, broken = ALERTS["an alert has another text"]
    with damaged_table(cluster.connection, table, statement):
        expect(cluster, "replayed aside", broken)
    expect(cluster, "nothing, after all", set(), chain=True)


@pytest.mark.timeout(600)
def test_damage_to_redis_and_to_topics_breaks_the_promises_that_it_should_and_no_other(cluster: Cluster) -> None:
    """To the totals in Redis, the changelog of the stream's state, and the alerts on their topic."""
    make_a_good_run(cluster)
    for name, damage in {**redis_damages(cluster), **topic_damages(cluster)}.items():
        with damage() as broken:
            expect(cluster, name, broken)
    expect(cluster, "nothing, after all", set(), chain=True)


def test_a_consumer_that_stands_still_breaks_the_promise_to_catch_up(cluster: Cluster) -> None:
    """A minute, or as long as was asked for, and it is named; the report has the line, too."""
    cluster.start_all()
    sink = cluster.worker("sink")
    sink.suspend()
    cluster.load(events=50, rate=500).finish()
    with pytest.raises(AssertionError, match="I8 does not hold") as refused:
        cluster.await_quiet(timeout_seconds=3)
    assert "'sink': " in str(refused.value)
    sink.resume()
    cluster.check()
    assert [findings.broken for findings in cluster.checked] == [{}]


def test_a_roll_up_that_is_wrong_for_a_moment_breaks_its_promise(cluster: Cluster) -> None:
    """Also where it is right again at the end: snapshots are taken all the while."""
    cluster.start_all()
    cluster.load(events=500, rate=1_000).finish()
    cluster.await_quiet()
    with damaged_table(cluster.connection, "ledger.hourly_totals", add("ledger.hourly_totals", "amount", HOUR)):
        wait_until(lambda: "I3" in cluster.watch.findings.broken, 30, "a snapshot has seen it")
    with pytest.raises(AssertionError, match=r"I3 does not hold.*\n.*during the faults"):
        cluster.check()
    assert [set(findings.broken) for findings in cluster.checked] == [{"I3"}]


def test_a_load_that_is_never_worked_off_is_in_the_report(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """`check` says what it said, and leaves a line with the promise that was broken."""
    cluster.start("sink", "notifier")
    cluster.load(events=50, rate=500).finish()
    monkeypatch.setattr(cluster, "await_quiet", lambda: Cluster.await_quiet(cluster, 2))
    with pytest.raises(AssertionError, match="I8 does not hold"):
        cluster.check()
    assert [set(findings.broken) for findings in cluster.checked] == [{"I8"}]


def test_a_run_in_which_nothing_was_attempted_shows_nothing(cluster: Cluster) -> None:
    """Where no event had to arrive, none can be lost, and no snapshot saw an entry: that breaks the promises, too."""
    cluster.start_all()
    wait_until(lambda: len(cluster.watch.samples) > 1, 60, "the watch has looked")
    with pytest.raises(AssertionError, match="I2 does not hold"):
        cluster.check()
    assert [set(findings.broken) for findings in cluster.checked] == [{"I2", "I3"}]


def test_who_has_not_looked_says_so(cluster: Cluster) -> None:
    """A worker above the bound breaks a promise; so does a watch without looks or without snapshots."""

    def broken(samples: list[Sample], snapshots: int) -> set[str]:
        watch, findings = Watch(cluster), Findings()
        watch.samples, watch.snapshots = samples, snapshots
        watch.report(findings, 100)
        return set(findings.broken)

    assert broken([Sample(1.0, {"sink": 100}, 0)], 1) == set()
    assert broken([Sample(1.0, {"sink": 100}, 0), Sample(2.0, {"sink": 0, "stream": 101}, 0)], 1) == {"I8"}
    assert broken([Sample(1.0, {"sink": 100}, 0)], 0) == {"I3"}
    assert broken([], 0) == {"I3", "I8"}


def make_a_good_run(cluster: Cluster) -> None:
    """Every promise has something to be broken in it."""
    cluster.start("notifier")
    thresholds = (Decimal(25), Decimal(50), Decimal(100))
    cluster.set_budgets(
        *(Budget(user_id=f"user-{n:03d}", monthly_budget=USD // 1_000, alert_thresholds=thresholds) for n in range(5))
    )
    cluster.start("stream", "sink")
    load = cluster.load(events=1_500, rate=750, users=10, conflict_share=0.01, poison_share=0.01, unpriced_share=0.02)
    load.finish()
    assert cluster.check().figures["alerts"] >= 10
    for worker in cluster.workers.values():
        assert worker.stop() == 0


def expect(cluster: Cluster, damage: str, broken: set[str], *, chain: bool = False, replay_alerts: bool = True) -> None:
    """What the harness finds. The chain is verified, by a process of its own, where entries are damaged."""
    findings = cluster.examine(redis_seconds=0, chain=chain, replay_alerts=replay_alerts)
    assert set(findings.broken) == broken, f"{damage}:\n{findings.describe()}"


def check_that_an_id_has_one_place(cluster: Cluster) -> None:
    """PostgreSQL refuses the same id in another partition, and in its own; without the key the harness finds it."""
    home = cluster.value(f"SELECT tableoid::regclass::text FROM ledger.entries WHERE {ENTRY}")
    others = cluster.connection.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger.entries'::regclass"
    ).fetchall()
    for (partition,) in others:
        refusal = psycopg.errors.UniqueViolation if partition == home else psycopg.errors.CheckViolation
        with pytest.raises(refusal):
            cluster.connection.execute(f"INSERT INTO {partition} SELECT * FROM ledger.entries WHERE {ENTRY}".encode())
    cluster.connection.execute("ALTER TABLE ledger.entries DROP CONSTRAINT entries_pkey")
    with damaged_table(cluster.connection, "ledger.entries", AGAIN.format(event_id="e.event_id")) as rows:
        assert rows == 1
        expect(cluster, "an entry is there again under its own id", {"I1", "I2", "I3", "I4", "I5", "I9"}, chain=True)
    cluster.connection.execute("ALTER TABLE ledger.entries ADD PRIMARY KEY (event_id)")


def check_that_an_alert_has_one_row(cluster: Cluster) -> None:
    """PostgreSQL refuses the same id; without the key the harness finds it."""
    again = f"INSERT INTO ledger.alerts SELECT * FROM ledger.alerts WHERE {ALERT}"
    with pytest.raises(psycopg.errors.UniqueViolation):
        cluster.connection.execute(again.encode())
    cluster.connection.execute("ALTER TABLE ledger.alerts DROP CONSTRAINT alerts_pkey CASCADE")
    with damaged_table(cluster.connection, "ledger.alerts", again) as rows:
        assert rows == 1
        expect(cluster, "an alert is there again under its own id", {"I6"})
    cluster.connection.execute("ALTER TABLE ledger.alerts ADD PRIMARY KEY (alert_id)")


Damage = Callable[[], AbstractContextManager[set[str]]]


def redis_damages(cluster: Cluster) -> dict[str, Damage]:
    """Of one key with an amount."""
    client = cluster.redis
    key = min(one for one in client.scan_iter("costledger:{*}:total:month:*") if int(client.hget(one, "total")) > 0)
    fields = ["total", *sorted(one for one in client.hkeys(key) if one.startswith(("service:", "operation:")))]

    @contextmanager
    def damaged(harm: Callable[[], object]) -> Iterator[set[str]]:
        dumped = client.dump(key)
        harm()
        yield {"I5"}
        client.restore(key, 0, dumped, replace=True)

    return {
        "Redis has lost a key": lambda: damaged(lambda: client.delete(key)),
        "a field of Redis is lost": lambda: damaged(lambda: client.hdel(key, fields[-1])),
        **{
            f"{field} in Redis is one more": lambda field=field: damaged(lambda: client.hincrby(key, field, 1))
            for field in (fields[0], fields[1], fields[-1])
        },
    }


def topic_damages(cluster: Cluster) -> dict[str, Damage]:
    """Of the state's changelog, and of the alerts' topic."""
    settings = cluster.settings()

    @contextmanager
    def damaged(topic: str, change: Callable[[list[Kept]], list[Kept]], broken: set[str]) -> Iterator[set[str]]:
        with damaged_topic(cluster.services.kafka.bootstrap_servers, cluster.reader, topic, change):
            yield broken

    def without_last(prefix: bytes) -> Callable[[list[Kept]], list[Kept]]:
        def change(messages: list[Kept]) -> list[Kept]:
            chosen = [one for one in messages if one.key is not None and one.key.startswith(prefix)][-1]
            return [one for one in messages if one is not chosen]

        return change

    def told_again_otherwise(messages: list[Kept]) -> list[Kept]:
        first = next(one for one in messages if one.value is not None and b"budget" in one.value)
        other = (first.value or b"").replace(b"budget", b"BUDGET")
        return [*messages, replace(first, value=other)]

    def moved(header: str, value: bytes) -> Callable[[list[Kept]], list[Kept]]:
        def change(messages: list[Kept]) -> list[Kept]:
            headers = [(name, value if name == header else old) for name, old in messages[0].headers]
            return [*messages, replace(messages[0], headers=headers)]

        return change

    state, alerts, letters = changelog_topic(settings), settings.topics.alerts, settings.topics.dead_letters
    return {
        **{
            f"the last record of a {what} is lost from the state": lambda prefix=prefix: damaged(
                state, without_last(prefix), {"I10"}
            )
            for what, prefix in (("day", b"d"), ("month", b"m"), ("user", b"u"))
        },
        "an alert is told again with another text": lambda: damaged(alerts, told_again_otherwise, {"I6"}),
        "an alert is not on its topic": lambda: damaged(alerts, lambda messages: messages[1:], {"I6"}),
        "a dead letter is not on its topic": lambda: damaged(letters, lambda messages: messages[1:], {"I7"}),
        "a dead letter has other bytes": lambda: damaged(
            letters, lambda messages: [replace(messages[0], value=b"other"), *messages[1:]], {"I7"}
        ),
        "a dead letter is told again with another key": lambda: damaged(
            letters, lambda messages: [*messages, replace(messages[0], key=b"other")], {"I7"}
        ),
        **{
            f"a dead letter is of another {header}": lambda header=header, value=value: damaged(
                letters, moved(header, value), {"I7"}
            )
            for header, value in (("offset", b"1000000"), ("reason", b"another"), ("topic", b"another"))
        },
    }
