"""The services of the fault harness, once for a session, and one installation for each scenario."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.fault.harness.cluster import Cluster
from tests.fault.harness.run_report import RunReport
from tests.fault.harness.services import Services
from tests.fixtures.fix_report import add_session_log, add_test_note, remove_data
from tests.fixtures.providers import apache_problem, apache_required


@pytest.fixture(scope="session")
def services(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Apache Kafka, PostgreSQL and Redis that scenarios may kill; always local processes."""
    problem = apache_problem()
    if problem is not None:
        if apache_required():
            pytest.fail(f"COSTLEDGER_TEST_REQUIRE=apache, but the fault harness {problem}")
        pytest.skip(f"the fault harness {problem}")
    folder = tmp_path_factory.mktemp("fault-services")
    made = Services(folder)
    try:
        made.start()
        for name, service in (("kafka", made.kafka), ("postgres", made.postgres), ("redis", made.redis)):
            add_session_log(request.config, f"fault harness {name}", service.log_path)
        yield made
    finally:
        made.close()
        for name in ("kafka", "postgres", "redis"):
            remove_data(folder / name)


@contextmanager
def told_to_end_in_order() -> Iterator[None]:
    """SIGTERM (of make, of `timeout`) is as Ctrl-C: workers and services end before this process does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def make_cluster(
    request: pytest.FixtureRequest, services: Services, tmp_path: Path, seed: int, run_report: RunReport
) -> Iterator[Callable[..., Cluster]]:
    """`make_cluster(partitions=12)`: an installation; what a former scenario broke is mended before."""
    services.start()
    clusters: list[Cluster] = []
    with ExitStack() as cleanup:
        cleanup.enter_context(told_to_end_in_order())

        def make(**options: int) -> Cluster:
            cluster = Cluster(services, tmp_path, seed, **options)
            clusters.append(cluster)
            cleanup.callback(cluster.close)
            cleanup.callback(services.start)
            add_test_note(request.node, "fault harness", f"logs, oracle and spools: {tmp_path}")
            return cluster

        yield make
        what = (getattr(request.node.function, "__doc__", None) or "").strip().partition("\n")[0]
        for findings in (found for cluster in clusters for found in cluster.checked):
            run_report.add(request.node.path.name, request.node.name, what, findings)


@pytest.fixture
def cluster(make_cluster: Callable[..., Cluster]) -> Cluster:
    """An installation with four partitions and no workers yet."""
    return make_cluster()
