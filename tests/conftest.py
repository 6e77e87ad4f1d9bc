"""The fixtures of every test: real services, deadlines instead of sleeps, seeds."""

pytest_plugins = [
    "tests.fixtures.fix_report",
    "tests.fixtures.fix_kafka",
    "tests.fixtures.fix_postgres",
    "tests.fixtures.fix_redis",
]
