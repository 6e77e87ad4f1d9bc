"""F10: Redis killed, emptied and silent. The ledger does not notice; the totals are there again within 10 s of quiet."""

from __future__ import annotations

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.harm import await_consumed, await_under_way, lasting, suspended
from tests.fixtures.wait import wait_until

pytestmark = pytest.mark.fault
TOTALS = "costledger:{*}:total:*"


def test_a_redis_that_comes_back_empty_is_filled_again(cluster: Cluster) -> None:
    """kill -9 under load, and a restart without data, while the ledger goes on."""
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    cluster.services.redis.kill()
    await_consumed(cluster, 1_500)
    cluster.services.redis.start()
    load.stop()
    cluster.check()
    assert cluster.revived == 0


@pytest.mark.long
def test_a_redis_that_is_emptied_is_filled_again(cluster: Cluster) -> None:
    """FLUSHALL under load, and once more when all is quiet and no event will touch what is lacking."""
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    for _ in range(3):
        cluster.redis.flushall()
        await_consumed(cluster, 500)
    load.stop()
    cluster.check()
    cluster.redis.flushall()
    wait_until(lambda: next(cluster.redis.scan_iter(match=TOTALS), None), 10, "the totals are written again")
    cluster.check()
    assert cluster.revived == 0


@pytest.mark.long
def test_a_redis_that_stands_still_holds_nothing_up(cluster: Cluster) -> None:
    """SIGSTOP: the ledger goes on meanwhile; what it was asked before it stood still it answers late."""
    cluster.start_all()
    load = cluster.load(rate=500)
    await_under_way(cluster)
    with suspended(cluster.services.redis):
        await_consumed(cluster, 2_000)
        lasting(5)
    load.stop()
    cluster.check()
    assert cluster.revived == 0


@pytest.mark.long
@pytest.mark.parametrize("harm", ["silent", "slow", "cut"])
def test_a_redis_that_is_silent_or_slow_holds_nothing_up(cluster: Cluster, harm: str) -> None:
    """The stream goes on reading and committing, and the totals are right after healing."""
    cluster.start_all()
    link = cluster.services.link("stream", "redis")
    load = cluster.load(rate=500)
    await_under_way(cluster)
    if harm == "silent":
        link.freeze()
    elif harm == "slow":
        link.slow(0.5, bytes_per_second=50_000)
    else:
        link.cut()
    # Healed only after the stream has gone on without it.
    before = cluster.streamed()
    wait_until(lambda: cluster.streamed() >= before + 4_000, 60, "the stream goes on without Redis")
    link.heal()
    load.stop()
    cluster.check()
    assert cluster.revived == 0
