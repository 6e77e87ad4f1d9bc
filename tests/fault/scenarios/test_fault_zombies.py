"""F8, F9: workers that are thought dead and come back: suspended or cut off for longer than their session.

What they still had to write arrives when others own their partitions, and changes nothing.
"""

from __future__ import annotations

import psycopg
import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.fail_points import fail_at
from tests.fault.harness.harm import await_consumed, await_lock, await_under_way, lasting
from tests.fault.harness.workers import Worker
from tests.fixtures.wait import wait_until

from costledger.streams.worker import changelog_topic

pytestmark = [pytest.mark.fault, pytest.mark.long]
EPOCHS = "SELECT coalesce(sum(epoch), 0)::bigint FROM ledger.sink_offsets"


def await_claims(cluster: Cluster, epochs: int) -> None:
    """Until another sink has claimed all partitions."""
    wanted = epochs + cluster.partitions
    wait_until(lambda: cluster.value(EPOCHS) >= wanted, 60, "the other sink has claimed all partitions")


def await_taken_over(cluster: Cluster, name: str) -> None:
    """Until a stream worker reads all partitions."""
    everything = str(list(range(cluster.partitions)))
    wait_until(lambda: cluster.worker(name).logged(f"Assigned partitions {everything}"), 60, f"{name} has taken over")
    wait_until(lambda: cluster.worker(name).logged("Open: "), 60, f"{name} reads")


#: What a stream decides: each of these may be told twice, or not at all.
DECIDED = {"BUDGET_THRESHOLD", "HOURLY_SPIKE", "UNPRICED_USAGE"}


WRITTEN_LATE = "changes of another worker stand behind its owner's"
WRITTEN_AGAIN = "keys again that another worker wrote"
ASSIGNED = "Assigned partitions"


def await_back(sleeper: Worker) -> None:
    """Until a worker that slept has found that its partitions were another's, and is a member again."""
    wait_until(lambda: sleeper.logged(ASSIGNED) > 1 or not sleeper.alive(), 60, "the sleeper has joined again")


def check_decisions(cluster: Cluster) -> None:
    """All promises, and that there were alerts of each kind to be kept."""
    cluster.check()
    assert cluster.alert_kinds() >= DECIDED


def replace_and_wake(cluster: Cluster, sleeper: Worker) -> None:
    """Another stream worker takes everything over and works for a while; then the sleeper goes on."""
    cluster.start("stream-2")
    await_taken_over(cluster, "stream-2")
    lasting(2)
    sleeper.resume()


def test_a_sink_that_slept_past_its_session_is_fenced(cluster: Cluster) -> None:
    """SIGSTOP in the midst of a transaction, another sink takes over, SIGCONT: every event is there once."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    sleeper = cluster.worker("sink")
    with psycopg.connect(cluster.database_url) as other:
        other.execute("LOCK TABLE ledger.daily_totals IN EXCLUSIVE MODE")
        await_lock(cluster)
        sleeper.suspend()
        other.rollback()
    epochs = cluster.value(EPOCHS)
    cluster.start("sink-2")
    await_claims(cluster, epochs)
    await_consumed(cluster, 500)
    sleeper.resume()
    load.stop()
    cluster.check()
    # Refused by the fence, not by the ids: the ledger met no repeats but the service's own.
    assert sleeper.logged("went to another sink during a write") + sleeper.logged("Fenced:") > 0
    refused = cluster.value("SELECT sum(duplicates) FROM ledger.sink_offsets")
    assert refused == sum(1 for one in load.record.attempts() if one.kind == "repeat")


def test_a_stream_worker_that_slept_past_its_session_changes_nothing(cluster: Cluster) -> None:
    """SIGSTOP, another worker takes over, SIGCONT: totals, alerts and Redis are as if it had not been there."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    sleeper = cluster.worker("stream")
    sleeper.suspend()
    replace_and_wake(cluster, sleeper)
    await_back(sleeper)
    load.stop()
    check_decisions(cluster)


def test_a_stream_worker_that_slept_before_it_wrote_to_redis_changes_nothing(cluster: Cluster) -> None:
    """With totals, and without an epoch to write them under: it must not take a later one than who owns its partitions."""
    cluster.set_low_limits()
    cluster.start("sink", "notifier")
    load = cluster.load(rate=400)
    await_consumed(cluster, 100)
    sleeper = cluster.start("stream", **fail_at("stream.before_view", action="stop"))
    wait_until(sleeper.is_suspended, 60, "the worker has stopped itself before its first write to Redis")
    replace_and_wake(cluster, sleeper)
    await_back(sleeper)
    load.stop()
    check_decisions(cluster)


@pytest.mark.parametrize("away", [("kafka",), ("kafka", "redis")], ids=["kafka", "kafka-and-redis"])
def test_the_late_writes_of_a_stream_worker_that_was_cut_off_change_nothing(
    cluster: Cluster, away: tuple[str, ...]
) -> None:
    """Its last changelog batch and its last totals arrive when another worker has written later ones."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    kafka = cluster.services.link("stream", "kafka")
    # Cut off just then: with nothing of it under way nothing could come late.
    kafka.hold(changelog_topic(cluster.settings()).encode())
    wait_until(kafka.held, 60, "a changelog batch is under way")
    for service in away:
        cluster.services.link("stream", service).freeze()
    cluster.start("stream-2")
    await_taken_over(cluster, "stream-2")
    lasting(4)
    for service in away:
        cluster.services.link("stream", service).heal()
    # They came, were seen, and what they had overwritten is there again.
    owner = cluster.worker("stream-2")
    wait_until(lambda: owner.logged(WRITTEN_LATE), 60, "the owner has noticed late writes")
    wait_until(lambda: owner.logged(WRITTEN_AGAIN), 60, "the owner has written its own again")
    load.stop()
    check_decisions(cluster)


def test_a_stream_worker_that_is_cut_from_kafka_past_its_session_comes_back(cluster: Cluster) -> None:
    """Twice, without ending: what it has to write waits or is written again, and the totals are right."""
    cluster.start_all()
    load = cluster.load(rate=400)
    await_under_way(cluster)
    link = cluster.services.link("stream", "kafka")
    for _ in range(2):
        link.cut()
        lasting(9)
        link.heal()
        lasting(2)
    load.stop()
    cluster.check()
