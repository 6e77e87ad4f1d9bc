"""The fixtures of every test: real services, deadlines instead of sleeps, seeds."""

import signal

from hypothesis import HealthCheck, settings

# Time is no property of what is tested: on a machine that does other things beside, one example may take a second.
settings.register_profile("costledger", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("costledger")

# A shell starts what runs in its background with SIGINT ignored, and so would be every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.fixtures.environment",
    "tests.fixtures.fix_report",
    "tests.fixtures.fix_fault_report",
    "tests.fixtures.fix_kafka",
    "tests.fixtures.fix_postgres",
    "tests.fixtures.fix_redis",
    "tests.fixtures.fix_api",
    "tests.fixtures.fix_garbage",
]
