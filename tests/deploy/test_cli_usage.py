"""The shape of the command line: help, exit codes, one JSON document, one line for a failure."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.deploy.conftest import COMMAND, Cli, clean_environment
from tests.fixtures.wait import wait_until

from costledger.deploy.app import command
from costledger.deploy.cli import run
from costledger.deploy.failures import explain
from costledger.schemas.settings import Settings

COMMANDS = {
    "export",
    *("budget delete", "budget get", "budget set", "demo", "doctor", "emit", "import focus", "import llm-trace"),
    *("api", "token"),
    *("report daily", "report list", "report weekly", "scheduler"),
    *(
        "deliveries list",
        "deliveries retry",
        "routes add",
        "routes enable",
        "routes list",
        "routes remove",
        "routes test",
    ),
    *("outbox create", "outbox relay", "outbox status"),
    *(
        "migrate",
        "notifier",
        "prices check",
        "prices import litellm",
        "prices list",
        "prices record",
        "prices schema",
        "prices show",
        "quarantine list",
        "quarantine replay",
    ),
    *(
        "quarantine show",
        "recommend",
        "reconcile",
        "rerate",
        "schemas check",
        "sink",
        "stream",
        "topics",
        "up",
        "verify",
    ),
}
EMIT = ("emit", "--user", "u", "--service", "aws-rekognition", "--operation", "detectLabels", "--quantity", "1")
RERATE = ("rerate", "--from", "2026-01-01T00:00:00Z", "--to")


def leaves(group: Any, prefix: str = "") -> Iterator[str]:
    for name, child in group.commands.items():
        path = f"{prefix}{name}"
        if hasattr(child, "commands"):
            yield from leaves(child, f"{path} ")
        else:
            yield path


@pytest.fixture
def nowhere() -> dict[str, str]:
    """Settings whose services do not exist: a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return {
        "COSTLEDGER_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
        "COSTLEDGER_DATABASE_URL": f"postgresql://someone:hidden@127.0.0.1:{port}/ledger",
        "COSTLEDGER_REDIS_URL": f"redis://127.0.0.1:{port}/0",
    }


def test_the_commands_are_the_documented_ones() -> None:
    """Every command of the interface exists, and none besides."""
    assert set(leaves(command())) == COMMANDS


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_every_command_explains_itself(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` exits 0, shows the usage and a description of every option."""
    assert run([*path.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"costledger {path}" in shown
    options = re.findall(r"^│ +(--[a-z-]+)(.*?)│$", shown, re.MULTILINE)
    assert all(text.strip() for _, text in options)


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("emit", "--user", "u"),
        (*EMIT[:-1], "many"),
        (*EMIT, "--occurred-at", "yesterday"),
        (*EMIT, "--metadata", "nokey"),
        ("import", "llm-trace", "no-such-file.csv", "--model", "gpt-4"),
        ("reconcile", "--wait", "-1"),
        ("verify", "--partition", "-1"),
        ("verify", "--heads", "no-such-file.json"),
        ("up", "--broker", "other"),
        ("demo", "--seconds", "0"),
        ("quarantine", "replay"),
        *("api", "token"),
        *(
            "deliveries list",
            "deliveries retry",
            "routes add",
            "routes enable",
            "routes list",
            "routes remove",
            "routes test",
        ),
        *("outbox create", "outbox relay", "outbox status"),
        RERATE[:-1],
        (*RERATE, "some day"),
    ],
    ids=lambda arguments: " ".join(arguments[-2:]),
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """What the user typed wrong is explained on stderr, with exit code 2 and nothing on stdout."""
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*EMIT[:2], "x" * 200, *EMIT[3:]), ("user_id", "xxx", "128")),
        ((*EMIT[:-1], "1e30"), ("quantity", "1E+30", "9000000000")),
        ((*EMIT, "--occurred-at", "1999-01-01T00:00:00Z"), ("occurred_at", "1999-01-01", "2000-01-01")),
        (("budget", "set", "u", "--monthly", "10001"), ("monthly_budget", "10001", "10000")),
        (("budget", "set", "u", "--threshold", "101"), ("alert_thresholds", "101", "100")),
        (("budget", "set", "u", "--time-zone", "Mars/Olympus"), ("time_zone", "Mars/Olympus")),
        (("budget", "set", "u"), ("nothing to set",)),
        ((*RERATE, "2026-01-01"), ("to", "2026-01-01", "after from")),
    ],
    ids=lambda value: value[-1][:24] if isinstance(value, tuple) else None,
)
def test_a_value_out_of_bounds_is_named(
    cli: Cli, nowhere: dict[str, str], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """The field, the value and the limit are named, with exit code 2, before anything is connected to."""
    done = cli(*arguments, **nowhere)
    # The error is drawn in a box, whose lines break anywhere.
    text = re.sub(r"[\s│]+", "", done.stderr)
    assert done.returncode == 2
    assert all(word.replace(" ", "") in text for word in words), done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (EMIT, "COSTLEDGER_BOOTSTRAP_SERVERS"),
        (("topics",), "COSTLEDGER_BOOTSTRAP_SERVERS"),
        (("migrate",), "COSTLEDGER_DATABASE_URL"),
        (("budget", "get", "u"), "COSTLEDGER_DATABASE_URL"),
        (("quarantine", "list"), "COSTLEDGER_DATABASE_URL"),
        (("prices", "record"), "COSTLEDGER_DATABASE_URL"),
        (("reconcile",), "COSTLEDGER_"),
        (("verify",), "COSTLEDGER_DATABASE_URL"),
        ((*RERATE, "now"), "COSTLEDGER_BOOTSTRAP_SERVERS"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_missing_service_is_one_line(
    cli: Cli, nowhere: dict[str, str], arguments: tuple[str, ...], named: str
) -> None:
    """A service that is away is one line that says what to check, exit code 1, no traceback, no password."""
    done = cli(*arguments, **nowhere)
    assert done.returncode == 1
    assert done.stdout == ""
    complaint = [line for line in done.stderr.splitlines() if line.startswith("costledger: ")]
    assert len(complaint) == 1
    assert named in complaint[0]
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


def test_reconcile_asks_a_configured_registry(cli: Cli, nowhere: dict[str, str]) -> None:
    """Without it, messages in the Confluent wire format could not be read and would be told as differences."""
    registry = f"http://{nowhere['COSTLEDGER_BOOTSTRAP_SERVERS']}"
    done = cli("reconcile", **nowhere, COSTLEDGER_SCHEMA_REGISTRY_URL=registry)
    assert done.returncode == 1
    assert f"the schema registry at {registry} cannot be reached" in done.stderr


def test_debug_shows_the_traceback(cli: Cli, nowhere: dict[str, str]) -> None:
    """With --debug the traceback comes too."""
    done = cli("--debug", "migrate", **nowhere)
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_an_unknown_setting_is_an_error(cli: Cli) -> None:
    """A typo in a name under COSTLEDGER_ ends the command and suggests the right one."""
    done = cli("topics", COSTLEDGER_BOOTSTRAP_SERVER="127.0.0.1:9092")
    assert done.returncode == 1
    assert "did you mean COSTLEDGER_BOOTSTRAP_SERVERS?" in done.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("typer", ("--help",), "cli"),
        ("faust", ("stream",), "streams"),
        ("psycopg", ("migrate",), "sinks"),
        ("psycopg", ("up",), "sinks"),
    ],
)
def test_a_missing_extra_is_named(cli: Cli, module: str, arguments: tuple[str, ...], extra: str) -> None:
    """Without a module that the base install does not bring, one line says which extra to install."""
    script = f"import sys; sys.modules[{module!r}] = None\nfrom costledger.deploy.cli import main; main({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=clean_environment(XDG_STATE_HOME=str(cli.directory)),
        cwd=cli.directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"pip install 'costledger[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_explanation_is_one_line_without_passwords() -> None:
    """Line ends and passwords in URLs are taken out of every explanation."""
    text = explain(RuntimeError("cannot reach\npostgresql://me:secret@host/db"))
    assert "\n" not in text
    assert "secret" not in text
    assert "postgresql://me:***@host/db" in text


def test_a_database_without_our_tables_is_to_be_migrated() -> None:
    """PostgreSQL answered: the address is right, and what is missing has a command."""
    text = explain(psycopg.errors.UndefinedTable('relation "ledger.chain_blocks" does not exist'))
    assert "costledger migrate" in text
    assert "could not be reached" not in text


def test_kafkas_own_errors_are_told_in_words() -> None:
    """Not as the representation of an object."""
    text = explain(KafkaException(KafkaError(KafkaError._TRANSPORT, "nobody answers")))
    assert "Kafka refused or could not be reached: nobody answers (" in text


def test_doctor_describes_every_setting(cli: Cli) -> None:
    """`doctor --settings --json` has every setting with its default and a description."""
    described = {each["variable"]: each for each in cli.json("doctor", "--settings")["settings"]}
    assert {f"COSTLEDGER_{name.upper()}" for name in Settings.model_fields} <= set(described)
    assert described["COSTLEDGER_PARTITIONS"]["default"] == "12"
    assert all(each["description"] for each in described.values())


def test_doctor_finds_what_is_wrong(cli: Cli, nowhere: dict[str, str]) -> None:
    """With nothing running, the three services fail, each with a remedy; the rest is well; exit code 1."""
    done = cli("doctor", "--json", **nowhere)
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    failed = {name for name, check in checks.items() if check["state"] == "failed"}
    assert failed == {"Kafka topics", "PostgreSQL", "Redis"}
    assert all(checks[name]["remedy"] for name in failed)
    assert "costledger doctor" not in done.stdout  # whoever runs it need not be told to


def test_prices_are_shown(cli: Cli) -> None:
    """The price book answers for its own operations, for language models, and says unpriced with exit code 1."""
    listed = cli.json("prices", "list")["prices"]
    assert {"service", "operation", "unit_price", "unit", "price_version"} <= set(listed[0])
    assert cli.json("prices", "show", "aws-rekognition", "detectLabels")["price"]["unit_price"] == "0.001"
    at = ("--at", "2023-11-16T18:00:00Z")
    price = cli.json("prices", "show", "openai", "output-tokens", "--model", "gpt-4", *at)["price"]
    assert price["unit_price"] == "0.00006"
    assert cli.json("prices", "show", "openai", "nothing", code=1) == {"price": None}
    assert cli.json("prices", "check")["ok"]


def test_schemas_are_compatible(cli: Cli) -> None:
    """The published schemas are compatible with every release."""
    assert cli.json("schemas", "check") == {
        "ok": True,
        "schemas": ["cost_event", "cost_alert", "budget"],
        "problems": [],
    }


def test_a_bad_file_is_refused_as_a_whole(cli: Cli, nowhere: dict[str, str]) -> None:
    """A wrong row is named with line, column and value, before Kafka is even asked for."""
    file = cli.directory / "trace.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,10,5\n2023-11-16 18:17:04,ten,5\n")
    done = cli("import", "llm-trace", str(file), "--model", "gpt-4", **nowhere)
    assert done.returncode == 1
    assert "trace.csv, line 3: ContextTokens is 'ten'" in done.stderr


def test_ctrl_c_exits_with_130(tmp_path: Path, nowhere: dict[str, str]) -> None:
    """Ctrl-C ends a command without a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [*COMMAND, "migrate"],
            env=clean_environment(**nowhere | {"COSTLEDGER_DATABASE_URL": f"postgresql://{address}/x"}),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            silent.settimeout(60)
            connection, _ = silent.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_output_may_be_cut_off(cli: Cli) -> None:
    """A reader that goes away, such as `head`, causes no complaint."""
    process = subprocess.Popen(
        [*COMMAND, "prices", "list", "--json"],
        env=clean_environment(),
        cwd=cli.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        wait_until(lambda: process.poll() is not None, 60, "the command ends")
    assert errors == b""
