"""The Redis view on a real Redis: large states, foreign keys, data that is lost in part."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from urllib.parse import urlsplit

import pytest
import redis
import uvloop
from tests.fault.harness.proxy import Link, Loop

from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import totals_key
from costledger.streams import view as view_module
from costledger.streams.domain.views import PeriodView
from costledger.streams.view import PASSING_FAILURES, PartitionView, connect, fields_of

EPOCH_KEY = "costledger:view:app:0:epoch"
DAY = "2026-11-18"
#: For tests of what one call writes, however slow the machine is.
WRITING_SECONDS = 60.0
#: Up to which offset every period is complete.
OFFSET = 41

State = dict[str, dict[tuple[str, str], int]]


class Source:
    """A partition whose state has one day of each user."""

    def __init__(self, state: State) -> None:
        self.state = state

    def views(self) -> Iterator[list[PeriodView]]:
        """All users."""
        return (views_of(self.state, user) for user in list(self.state))

    def periods(self, user_id: str, labels: Iterable[tuple[PeriodKind, str]]) -> list[PeriodView]:
        """Nothing but the one day."""
        return [PeriodView(user_id, kind, label, self.state.get(user_id), OFFSET) for kind, label in labels]


def views_of(state: State, *users: str) -> list[PeriodView]:
    """The day of each user."""
    return [PeriodView(user, PeriodKind.DAY, DAY, state[user], OFFSET) for user in users]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the test's own."""
    made = redis.Redis.from_url(redis_url, decode_responses=True)
    yield made
    made.close()


@pytest.fixture
def run(redis_url: str) -> Callable[[State, Callable[[PartitionView], Awaitable[None]]], None]:
    """Run a coroutine with the view of a partition that has this state."""

    def go(state: State, work: Callable[[PartitionView], Awaitable[None]]) -> None:
        async def main() -> None:
            connection = connect(redis_url)
            try:
                await work(PartitionView(connection, EPOCH_KEY, 100, Source(state), OFFSET, lambda: True))
            finally:
                await connection.aclose()

        asyncio.run(main())

    return go


def totals(client: redis.Redis) -> dict[str, int]:
    """The total of each user's day."""
    keys = sorted(client.scan_iter("costledger:{*", count=1000))
    return {key[len("costledger:{") : key.rindex("}:total:")]: int(client.hget(key, "total")) for key in keys}


def test_a_state_larger_than_what_is_remembered_is_written(run, client, monkeypatch) -> None:
    """How many changes may wait does not bound how much a partition may hold."""
    monkeypatch.setattr(view_module, "_REMEMBERED_MAX", 700)
    monkeypatch.setattr(view_module, "_WRITING_SECONDS_MAX", 0)
    state = {f"user-{number}": {("openai", "tokens"): number} for number in range(3000)}

    async def work(view: PartitionView) -> None:
        for _ in range(7):
            await view.write()

    run(state, work)
    assert totals(client) == {user: sum(amounts.values()) for user, amounts in state.items()}


def test_too_many_changes_at_once_are_all_written(run, client, monkeypatch) -> None:
    """When more changes wait than are remembered, everything is written again, and what is gone is deleted."""
    monkeypatch.setattr(view_module, "_REMEMBERED_MAX", 700)
    monkeypatch.setattr(view_module, "_WRITING_SECONDS_MAX", WRITING_SECONDS)
    state = {f"user-{number}": {("openai", "tokens"): number} for number in range(1000)}
    gone = totals_key("gone", PeriodKind.DAY, DAY)
    client.hset(gone, mapping={"total": "1"})

    async def work(view: PartitionView) -> None:
        await view.write()
        state["user-1"]["openai", "tokens"] = 77
        view.changed([PeriodView("gone", PeriodKind.DAY, DAY, None), *views_of(state, *state)])
        await view.write()

    run(state, work)
    assert totals(client) == {user: sum(amounts.values()) for user, amounts in state.items()}
    assert totals(client)["user-1"] == 77


@pytest.mark.parametrize("key", [totals_key("user-1", PeriodKind.DAY, DAY), f"{EPOCH_KEY}:round"])
def test_a_key_of_another_type_makes_way(run, client, key: str) -> None:
    """A key that somebody has set to something else does not keep the others from being written."""
    state = {f"user-{number}": {("openai", "tokens"): number} for number in range(3)}

    async def work(view: PartitionView) -> None:
        await view.write()
        client.delete(key)
        client.set(key, "not a hash")
        view.changed(views_of(state, *state))
        await view.check()

    run(state, work)
    assert totals(client) == {"user-0": 0, "user-1": 1, "user-2": 2}


def test_a_redis_that_came_back_with_older_data_is_written_again(run, client, redis_url) -> None:
    """After a restart from a snapshot, what came after the snapshot is written again without a new event."""
    state = {"ann": {("openai", "tokens"): 1}, "bob": {("openai", "tokens"): 1}}
    raw = redis.Redis.from_url(redis_url)

    async def work(view: PartitionView) -> None:
        await view.write()
        snapshot = {key: raw.dump(key) for key in raw.scan_iter("*")}
        state["ann"]["openai", "tokens"] = 5
        view.changed(views_of(state, "ann"))
        await view.write()
        client.flushdb()
        for key, data in snapshot.items():
            raw.restore(key, 0, data)
        assert totals(client) == {"ann": 1, "bob": 1}
        await view.check()

    run(state, work)
    raw.close()
    assert totals(client) == {"ann": 5, "bob": 1}


@pytest.mark.parametrize("came_back_with", ["nothing", "an older state"])
def test_a_write_right_after_a_loss_does_not_hide_it(run, client, redis_url, came_back_with: str) -> None:
    """Redis loses everything, or what came after a snapshot, and a change is written before anybody has looked."""
    state = {"ann": {("openai", "tokens"): 1}, "bob": {("openai", "tokens"): 1}}
    raw = redis.Redis.from_url(redis_url)

    async def work(view: PartitionView) -> None:
        await view.write()
        snapshot = {key: raw.dump(key) for key in raw.scan_iter("*")}
        for amount in (2, 3):
            state["bob"]["openai", "tokens"] = amount
            view.changed(views_of(state, "bob"))
            await view.write()
        client.flushdb()
        if came_back_with == "an older state":
            for key, data in snapshot.items():
                raw.restore(key, 0, data)
        state["ann"]["openai", "tokens"] = 5
        view.changed(views_of(state, "ann"))
        await view.write()
        await view.check()

    run(state, work)
    raw.close()
    assert totals(client) == {"ann": 5, "bob": 3}


def test_a_round_that_is_written_twice_is_no_loss(run, client, caplog) -> None:
    """The reply to a write was lost, and the write is done again."""
    state = {"ann": {("openai", "tokens"): 1}}

    async def work(view: PartitionView) -> None:
        await view.write()
        view._round -= 1
        view.changed(views_of(state, "ann"))
        await view.write()
        await view.check()

    run(state, work)
    assert "has lost" not in caplog.text


def test_connections_that_were_just_reset_are_a_passing_failure(redis_url: str) -> None:
    """Under the worker's own event loop; once nothing resets them any more, everything is written."""
    state = {"ann": {("openai", "tokens"): 7}}
    parts = urlsplit(redis_url)
    loop = Loop()
    link = Link(loop, "stream - redis", parts.port or 6379)
    through = parts._replace(netloc=parts.netloc.rpartition(":")[0] + f":{link.port}").geturl()

    async def main() -> None:
        connection = connect(through)
        views = [
            PartitionView(connection, f"costledger:view:app:{one}:epoch", 100, Source(state), OFFSET, lambda: True)
            for one in range(6)
        ]
        try:
            await asyncio.gather(*(view.check() for view in views))
            # The event loop stands still meanwhile: the resets are there when it goes on, and nobody has heard of them.
            link.reset_connections()
            failures = await asyncio.gather(*(view.check() for view in views), return_exceptions=True)
            assert [error for error in failures if not isinstance(error, (*PASSING_FAILURES, type(None)))] == []
            assert any(failures)
            await asyncio.gather(*(view.check() for view in views))
        finally:
            await connection.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    link.close()
    loop.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert totals(client) == {"ann": 7}


def test_an_owner_that_was_thought_dead_changes_nothing(run, client, redis_url) -> None:
    """Its writes and its checks leave a later owner's totals as they are."""
    old, new = {"ann": {("openai", "tokens"): 1}}, {"ann": {("openai", "tokens"): 2}}

    async def work(first: PartitionView) -> None:
        await first.write()
        second = connect(redis_url)
        await PartitionView(second, EPOCH_KEY, 100, Source(new), OFFSET, lambda: True).write()
        await second.aclose()
        first.changed(views_of(old, "ann"))
        await first.check()
        await first.check()

    run(old, work)
    assert totals(client) == {"ann": 2}


def test_a_worker_that_slept_before_it_took_its_epoch_changes_nothing(redis_url: str, client: redis.Redis) -> None:
    """It takes the latest of all, and does not write with it; the owner goes on writing, and whoever owns it next."""
    stale, owned = {"ann": {("openai", "tokens"): 1}}, {"ann": {("openai", "tokens"): 2}}
    asked: list[bool] = []

    def is_ours() -> bool:
        """True before the first two epochs are taken, and no more when they have been; then always."""
        asked.append(len(asked) not in (1, 3))
        return asked[-1]

    async def main() -> None:
        connections = [connect(redis_url) for _ in range(2)]
        sleeper = PartitionView(connections[0], EPOCH_KEY, 100, Source(stale), OFFSET, is_ours)
        owner = PartitionView(connections[1], EPOCH_KEY, 100, Source(owned), OFFSET, lambda: True)
        await owner.write()
        for _ in range(2):
            sleeper.changed(views_of(stale, "ann"))
            await sleeper.check()
        assert totals(client) == {"ann": 2}
        owned["ann"] = {("openai", "tokens"): 3}
        owner.changed(views_of(owned, "ann"))
        await owner.check()
        assert totals(client) == {"ann": 3}
        assert asked == [True, False] * 2
        stale["ann"] = {("openai", "tokens"): 4}
        await sleeper.check()
        assert totals(client) == {"ann": 4}
        await owner.check()
        assert totals(client) == {"ann": 4}
        for connection in connections:
            await connection.aclose()

    asyncio.run(main())


def test_a_user_of_many_operations_is_written_in_pieces(run, client, monkeypatch) -> None:
    """Few large periods go into one round trip, so that the worker is not held up."""
    monkeypatch.setattr(view_module, "_OPERATIONS_AT_ONCE_MAX", 2000)
    monkeypatch.setattr(view_module, "_WRITING_SECONDS_MAX", WRITING_SECONDS)
    state = {f"user-{number}": {("openai", f"o-{each}"): 1 for each in range(1500)} for number in range(5)}
    sizes: list[int] = []

    async def work(view: PartitionView) -> None:
        send = view._send
        monkeypatch.setattr(view, "_send", lambda views, epoch: sizes.append(len(views)) or send(views, epoch))
        await view.write()

    run(state, work)
    assert totals(client) == dict.fromkeys(state, 1500)
    assert sizes == [2, 2, 1]


def test_names_and_amounts_arrive_as_they_are(run, client) -> None:
    """Quotes, backslashes, letters beyond ASCII, amounts beyond what a double holds; and more fields than Lua takes at once."""
    names = ['say "hi"', "back\\slash", "größe", "総計", "😀", "\x01\x7f", "[1,2]", "null"]
    amounts = {("s", f"{name}-{each}"): 2**63 - each for name in names for each in range(1_500)}

    async def work(view: PartitionView) -> None:
        view.changed([PeriodView("ann", PeriodKind.DAY, DAY, amounts)])
        await view.write()

    run({"ann": amounts}, work)
    found = client.hgetall(totals_key("ann", PeriodKind.DAY, DAY))
    beside = {name: found.pop(name) for name in ("epoch", "offset", "updated_at")}
    assert beside["offset"] == str(OFFSET)
    assert found == fields_of(amounts)


def test_the_offset_is_written_beside_the_totals(run, client) -> None:
    """A reader who waits for an event finds in the same hash up to which offset its totals are complete."""

    async def work(view: PartitionView) -> None:
        await view.write()
        view.changed(views_of(state, "ann"))
        await view.write()

    state = {"ann": {("openai", "tokens"): 5}}
    run(state, work)
    assert client.hmget(totals_key("ann", PeriodKind.DAY, DAY), ["total", "offset"]) == ["5", str(OFFSET)]


def test_what_waits_is_written_as_it_is_then(run, client) -> None:
    """Amounts are asked for when they are written: what came after the change is in them, what is gone is deleted."""
    state = {"ann": {("openai", "tokens"): 1}, "bob": {("openai", "tokens"): 1}}

    async def work(view: PartitionView) -> None:
        await view.write()
        view.changed(views_of(state, "ann", "bob"))
        state["ann"] = {("openai", "tokens"): 9}
        del state["bob"]
        await view.write()

    run(state, work)
    assert totals(client) == {"ann": 9}


def test_what_could_not_be_written_still_waits(run, client, redis_url) -> None:
    """A write that fails loses nothing: neither changes nor what is gone."""
    state = {f"user-{number}": {("openai", "tokens"): 1} for number in range(3)}

    async def work(view: PartitionView) -> None:
        await view.write()
        del state["user-0"]
        state["user-1"]["openai", "tokens"] = 2
        view.changed([PeriodView("user-0", PeriodKind.DAY, DAY, None), *views_of(state, "user-1")])
        # A replica refuses every write. (With too little memory Redis deletes all the same, and a script that has
        # deleted something may then write: nothing would be left to be lost.)
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(PASSING_FAILURES):
                await view.write()
            assert totals(client) == {"user-0": 1, "user-1": 1, "user-2": 1}
        finally:
            client.execute_command("REPLICAOF", "NO", "ONE")
        await view.write()

    run(state, work)
    assert totals(client) == {"user-1": 2, "user-2": 1}


def test_no_offset_is_shown_that_is_not_durable(run, client) -> None:
    """A period whose state is still being written says how far it is durable, and more once it is told again."""
    state = {"ann": {("openai", "tokens"): 5}}
    key = totals_key("ann", PeriodKind.DAY, DAY)

    async def work(view: PartitionView) -> None:
        view.durable_offset = 40
        await view.write()
        assert client.hget(key, "offset") == "40"
        view.durable_offset = 41
        view.changed(views_of(state, "ann"))
        await view.write()

    run(state, work)
    assert client.hget(key, "offset") == "41"


def test_what_is_gone_still_waits_after_a_failure_at_the_beginning(run, client, redis_url, monkeypatch) -> None:
    """A user of whom one period is gone, taken in one round with the user's other periods: both wait again."""
    state = {"ann": {("openai", "tokens"): 1}}
    gone = totals_key("ann", PeriodKind.HOUR, f"{DAY}T10")
    client.hset(gone, mapping={"total": "1"})

    async def work(view: PartitionView) -> None:
        view._source.periods = lambda user, labels: [
            PeriodView(user, kind, label, None if kind is PeriodKind.HOUR else state[user], OFFSET)
            for kind, label in labels
        ]
        view.changed([PeriodView("ann", PeriodKind.HOUR, f"{DAY}T10", None)])
        send, failed = view._send, []

        async def fails_once(views, epoch):
            if not failed:
                failed.append(len(views))
                raise redis.ConnectionError("away")
            return await send(views, epoch)

        monkeypatch.setattr(view, "_send", fails_once)
        with pytest.raises(PASSING_FAILURES):
            await view.write()
        assert failed == [2], "the gone period and, of the backlog, the day"
        await view.write()

    run(state, work)
    assert not client.exists(gone)
    assert totals(client) == {"ann": 1}


def test_names_with_a_slash_share_a_field() -> None:
    """Two operations that come to the same field are added up in it."""
    fields = fields_of({("a", "b/c"): 1, ("a/b", "c"): 2})
    assert fields == {"total": "3", "service:a": "1", "service:a/b": "2", "operation:a/b/c": "3"}
