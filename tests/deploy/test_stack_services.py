"""Local services keep what they promise over stop, kill -9 and restart."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from tests.fixtures.fix_kafka import OwnKafka
from tests.fixtures.fix_postgres import OwnPostgres
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until

from costledger.deploy.stack import (
    EmbeddedBroker,
    Postgres,
    ProgramMissing,
    RedisServer,
    ServiceFailed,
    Stack,
    StackError,
    kafka_jars,
)
from costledger.deploy.stack import redis as redis_module
from costledger.deploy.stack.ports import free_port, is_listening

BROKER_TIMEOUT_SECONDS = 20


def read_all(bootstrap_servers: str, topic: str, partitions: int, expected: int) -> set[bytes]:
    """The values in the topic, read from its start without a group."""
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "reader"})
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    values: set[bytes] = set()

    def all_there() -> bool:
        for message in consumer.consume(500, timeout=0.2):
            assert message.error() is None
            values.add(message.value() or b"")
        return len(values) >= expected

    wait_until(all_there, BROKER_TIMEOUT_SECONDS, f"{expected} messages in {topic}")
    consumer.close()
    return values


def produce(bootstrap_servers: str, topic: str, values: set[bytes]) -> None:
    """Produce them all and see them acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "acks": "all"})
    for value in values:
        producer.produce(topic, value, key=value)
    assert producer.flush(BROKER_TIMEOUT_SECONDS) == 0


def test_kafka_keeps_acknowledged_messages_over_kill_and_restart(own_kafka: OwnKafka) -> None:
    """A message that Apache Kafka acknowledged is there after kill -9, and after a stop, at the same address."""
    address = own_kafka.bootstrap_servers
    topic = own_kafka.create_topic("kept", partitions=3, config={"cleanup.policy": "delete"})
    first = {b"first-%d" % number for number in range(200)}
    produce(address, topic, first)
    own_kafka.kill()
    assert not own_kafka.alive()
    own_kafka.start()
    assert own_kafka.bootstrap_servers == address
    assert read_all(address, topic, 3, len(first)) == first
    second = {b"second-%d" % number for number in range(200)}
    produce(address, topic, second)
    own_kafka.stop()
    assert not own_kafka.alive()
    own_kafka.start()
    assert read_all(address, topic, 3, len(first | second)) == first | second


def test_apache_kafka_creates_no_topic_by_being_asked(own_kafka: OwnKafka) -> None:
    """A mistyped topic name does not become a topic."""
    admin = AdminClient({"bootstrap.servers": own_kafka.bootstrap_servers})
    admin.list_topics("mistyped", timeout=BROKER_TIMEOUT_SECONDS)
    assert "mistyped" not in admin.list_topics(timeout=BROKER_TIMEOUT_SECONDS).topics


def test_postgres_keeps_committed_rows_over_every_way_to_end(own_postgres: OwnPostgres) -> None:
    """A committed row survives kill -9, an immediate and a fast stop; an open transaction leaves nothing."""
    url = own_postgres.create_database()
    port = own_postgres.service.port
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (x int)")
    endings: list[Callable[[], None]] = [
        own_postgres.kill,
        lambda: own_postgres.stop(mode="immediate"),
        own_postgres.stop,
    ]
    for number, end in enumerate(endings, start=1):
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", (number,))
        open_transaction = psycopg.connect(url)
        open_transaction.execute("INSERT INTO kept VALUES (-1)")
        end()
        assert not own_postgres.alive()
        open_transaction.close()
        own_postgres.start()
        assert own_postgres.service.port == port
        with psycopg.connect(url) as connection:
            rows = connection.execute("SELECT x FROM kept ORDER BY x").fetchall()
        assert rows == [(value,) for value in range(1, number + 1)]


def test_postgres_demands_its_password(own_postgres: OwnPostgres) -> None:
    """Another local user does not get in without the generated password."""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://postgres:guess@{own_postgres.service.address}/postgres")
    assert (own_postgres.service.data_dir / "password").stat().st_mode & 0o077 == 0


def test_own_postgres_syncs_to_disk(own_postgres: OwnPostgres) -> None:
    """A PostgreSQL of `up` runs with fsync."""
    with psycopg.connect(own_postgres.url) as connection:
        assert connection.execute("SHOW fsync").fetchone() == ("on",)


def test_an_interrupted_initdb_is_started_over(tmp_path: Path) -> None:
    """Half a cluster, left by a kill during initdb, does not stop the next start."""
    half = tmp_path / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n")
    with Postgres(tmp_path / "postgres", fsync=False) as service:
        assert service.alive()


def test_redis_keeps_keys_when_persistent(own_redis: OwnRedis) -> None:
    """Keys survive an orderly stop of a Redis with an append-only file, and the password stays."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("kept", "1")
    url = own_redis.url
    own_redis.stop()
    own_redis.start()
    assert own_redis.url == url
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.get("kept") == b"1"
    own_redis.kill()
    assert not own_redis.alive()
    own_redis.start()


def test_redis_forgets_when_not_persistent(tmp_path: Path) -> None:
    """A Redis without a file is empty after a restart, and nobody gets in without the password."""
    with RedisServer(tmp_path / "redis", persistent=False) as service:
        with pytest.raises(redis.AuthenticationError), redis.Redis(port=service.port) as stranger:
            stranger.ping()
        with redis.Redis.from_url(service.url) as client:
            client.set("kept", "1")
        service.stop()
        service.start()
        with redis.Redis.from_url(service.url) as client:
            assert client.dbsize() == 0


def test_a_service_that_ended_by_itself_is_started_again_and_leaves_nothing_open(tmp_path: Path) -> None:
    """Its pipes and its guard, which nobody has waited for."""
    with RedisServer(tmp_path / "redis", persistent=False, log_path=tmp_path / "redis.log") as service:
        open_before = set(os.listdir("/proc/self/fd"))
        with redis.Redis.from_url(service.url) as client:
            client.shutdown(nosave=True)
        wait_until(lambda: not service.alive(), 20, "it has ended")
        service.start()
        assert len(os.listdir("/proc/self/fd")) == len(open_before)
        with redis.Redis.from_url(service.url) as client:
            assert client.ping()


def test_embedded_broker_has_its_partitions_and_loses_everything(tmp_path: Path) -> None:
    """The embedded broker answers at once, gives `partitions_fixed` partitions and forgets at its end."""
    with EmbeddedBroker(tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.address})
        metadata = admin.list_topics("some", timeout=BROKER_TIMEOUT_SECONDS)
        assert len(metadata.topics["some"].partitions) == EmbeddedBroker.partitions_fixed
        port = int(broker.address.rpartition(":")[2])
        broker.kill()
        assert not broker.alive()
        assert not is_listening(port)


def test_a_new_object_takes_the_port_of_the_last_run(tmp_path: Path) -> None:
    """Addresses survive a restart of the whole, unless somebody took the port meanwhile."""
    with RedisServer(tmp_path, persistent=True) as service:
        port = service.port
    with RedisServer(tmp_path, persistent=True) as service:
        assert service.port == port
    with socket.create_server(("127.0.0.1", port)), RedisServer(tmp_path, persistent=True) as service:
        assert service.port != port


def test_a_port_that_was_asked_for_is_an_error_when_taken(tmp_path: Path) -> None:
    """A fixed port is not silently exchanged."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        service = RedisServer(tmp_path, persistent=False, port=taken.getsockname()[1])
        with pytest.raises(StackError, match="is taken by another program"):
            service.start()
    assert not service.alive()


def test_one_directory_serves_one_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second server on the same data is refused while the first one runs."""
    monkeypatch.setattr("costledger.deploy.stack.service.LOCK_TIMEOUT_SECONDS", 0.1)
    with (
        RedisServer(tmp_path, persistent=False),
        pytest.raises(StackError, match="in use by another process"),
    ):
        RedisServer(tmp_path, persistent=False).start()


def test_a_missing_program_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Java, and without any Redis, the error names the remedy."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(redis_module, "_WHEELS", ())
    with pytest.raises(ProgramMissing, match="apt install default-jre"):
        kafka_jars.find_java()
    assert not kafka_jars.apache_kafka_available()
    with pytest.raises(ProgramMissing, match="apt install redis-server"):
        redis_module.find_redis()


def test_the_jars_are_fetched_once_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed fetch leaves no directory behind that looks complete."""
    program = tmp_path / "mvn"
    program.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(StackError, match="no network"):
        kafka_jars.ensure_jars()
    assert not kafka_jars.cached_jars().exists()
    program.write_text(
        "#!/bin/sh\n"
        'for argument in "$@"; do case "$argument" in -DoutputDirectory=*) target=${argument#*=};; esac; done\n'
        'mkdir -p "$target" && touch "$target/kafka_2.13.jar"\n'
    )
    jars = kafka_jars.ensure_jars()
    program.unlink()
    assert kafka_jars.ensure_jars() == jars
    assert [path.name for path in jars.iterdir()] == ["kafka_2.13.jar"]


def test_the_stack_stops_all_when_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When Redis cannot start, the broker and PostgreSQL do not stay behind."""
    monkeypatch.setattr(redis_module, "_PROGRAMS", ("false",))
    stack = Stack(tmp_path, "embedded")
    with pytest.raises(ServiceFailed, match="redis ended while it started"):
        stack.start()
    assert [service.alive() for service in stack.services.values()] == [False, False, False]


def test_the_stack_gives_working_addresses(tmp_path: Path) -> None:
    """Every address in the stack's environment answers, and progress was reported."""
    progress: list[str] = []
    with Stack(tmp_path, "embedded", on_progress=progress.append) as stack:
        environment = stack.environment()
        with psycopg.connect(environment["COSTLEDGER_DATABASE_URL"]) as connection:
            assert connection.execute("SELECT current_database()").fetchone() == ("costledger",)
        with redis.Redis.from_url(environment["COSTLEDGER_REDIS_URL"]) as client:
            assert client.ping()
        admin = AdminClient({"bootstrap.servers": environment["COSTLEDGER_BOOTSTRAP_SERVERS"]})
        assert admin.list_topics(timeout=BROKER_TIMEOUT_SECONDS).brokers
        assert "memory" in stack.durability
    assert {"starting kafka", "starting postgres", "starting redis"} <= set(progress)
    assert [line for line in progress if line.startswith("stopping")] == [
        "stopping kafka",
        "stopping postgres",
        "stopping redis",
    ]
