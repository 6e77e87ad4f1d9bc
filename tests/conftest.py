"""The fixtures of every test: real services, deadlines instead of sleeps, seeds."""

import signal

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
