"""Nothing of the stack outlives the process that started it, and Ctrl-C reaches that process alone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import pytest
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.providers import apache_problem
from tests.fixtures.wait import wait_until

END_TIMEOUT_SECONDS = 30
OWNER = """
import json, pathlib, sys
from costledger.deploy.stack import Stack
stack = Stack(pathlib.Path(sys.argv[1]), sys.argv[2])
stack.start()
print(json.dumps([stack.services[name].pid for name in ("redis", "postgres", "kafka")]), flush=True)
try:
    sys.stdin.read()
except KeyboardInterrupt:
    print(json.dumps([service.alive() for service in stack.services.values()]), flush=True)
    stack.stop()
"""


@contextlib.contextmanager
def owner_of_a_stack(
    data_dir: Path, broker: str
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process], list[psutil.Process]]]:
    """A process that has a stack running, every process of that stack, and of these Redis, PostgreSQL, Kafka."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data_dir), broker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with owner:
        assert owner.stdout is not None
        services = [psutil.Process(pid) for pid in json.loads(owner.stdout.readline())]
        processes = psutil.Process(owner.pid).children(recursive=True)
        assert set(services) <= set(processes)
        try:
            yield owner, processes, services
        finally:
            owner.kill()
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def still_there(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; zombies that wait for their parent do not count."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize("broker", ["embedded", "apache"])
def test_nothing_is_left_when_the_parent_is_killed(tmp_path: Path, broker: str) -> None:
    """SIGKILL of the parent ends every service and every guard, and the data can be used again at once."""
    if broker == "apache" and (problem := apache_problem()):
        pytest.skip(problem)
    with owner_of_a_stack(tmp_path, broker) as (owner, processes, _):
        assert len(processes) > 6  # three services, their guards, the workers of PostgreSQL
        os.kill(owner.pid, signal.SIGKILL)
        wait_until(lambda: not still_there(processes), END_TIMEOUT_SECONDS, f"the end of {processes}")
    with owner_of_a_stack(tmp_path, broker) as (_, _, services):
        assert still_there(services) == services


def test_a_restart_waits_for_the_former_services_to_end(tmp_path: Path) -> None:
    """A parent that is killed and started again in the same moment finds its data unlocked."""
    with owner_of_a_stack(tmp_path, "embedded") as (owner, _, former):
        redis_and_postgres = former[:2]  # the embedded broker has no data and hence no lock
        os.kill(owner.pid, signal.SIGKILL)
        with owner_of_a_stack(tmp_path, "embedded") as (_, _, services):
            assert still_there(services) == services
            assert not still_there(redis_and_postgres)


def test_ctrl_c_reaches_the_parent_alone(tmp_path: Path) -> None:
    """No service is in the parent's process group, so that they run on until the parent stops them."""
    with owner_of_a_stack(tmp_path, "embedded") as (owner, processes, services):
        assert owner.stdout is not None
        assert owner.pid not in [os.getpgid(service.pid) for service in services]
        os.killpg(owner.pid, signal.SIGINT)
        assert json.loads(owner.stdout.readline()) == [True, True, True]
        assert owner.wait(END_TIMEOUT_SECONDS) == 0
        assert not still_there(processes)


def test_the_service_dies_with_its_guard(own_redis: OwnRedis) -> None:
    """SIGKILL of the guard itself leaves no service without a guard."""
    assert own_redis.service.pid is not None
    service = psutil.Process(own_redis.service.pid)
    guard = service.parent()
    assert guard is not None
    assert "guard.py" in " ".join(guard.cmdline())
    guard.kill()
    try:
        wait_until(lambda: not still_there([service]), END_TIMEOUT_SECONDS, "the end of redis")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            service.kill()


def test_a_stopped_service_is_ended_too(own_redis: OwnRedis) -> None:
    """A service that hangs, here by SIGSTOP, is killed when the time for its stop is over."""
    assert own_redis.service.pid is not None
    service = psutil.Process(own_redis.service.pid)
    own_redis.service.send_signal(signal.SIGSTOP)
    wait_until(lambda: service.status() == psutil.STATUS_STOPPED, END_TIMEOUT_SECONDS, "the stop")
    own_redis.stop(timeout_seconds=0.2)
    assert not service.is_running()
