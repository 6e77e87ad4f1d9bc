"""`costledger prices`: held prices, the schema, the import of LiteLLM's map, and the record in the ledger."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import psycopg
import pytest
from tests.deploy.conftest import Cli
from tests.fixtures.fix_postgres import PostgresServer

from costledger.deploy.cli import run
from costledger.sinks.migrations import migrate

EXCERPT = Path(__file__).parent.parent / "producers" / "data" / "litellm_excerpt.json"
JUMP = """version = "own-1"
[[price]]
service = "aws-s3"
operations = ["storage"]
unit = "GB-month"
price = "23"
effective_from = 2024-01-01
source = "a contract"
"""


@pytest.fixture
def jump(cli: Cli) -> Path:
    """A price file with a price that jumps."""
    path = cli.directory / "own.toml"
    path.write_text(JUMP)
    return path


def test_a_held_price_fails_the_check_until_it_is_reviewed(cli: Cli, jump: Path) -> None:
    """Exit code 1 and a finding of severity review; with a reason beside the price all is well."""
    answer = cli.json("prices", "check", str(jump), code=1)
    assert not answer["ok"]
    (finding,) = answer["findings"]
    assert (finding["severity"], finding["file"], finding["entry"], finding["field"]) == (
        *("review", "own.toml", 1, "price"),
    )
    assert "price is 23 USD per GB-month; it must be from 0.0023 to 0.23" in finding["message"]
    jump.write_text(f'{JUMP}reviewed = "per TB"\n')
    reviewed = cli("prices", "check", str(jump))
    assert (reviewed.returncode, reviewed.stdout.splitlines()[0]) == (0, "the price book is sound")


def test_a_held_price_is_marked_where_it_is_shown(cli: Cli, jump: Path) -> None:
    """In the list and by itself, with exit code 1, since it is unpriced; loading it warns on stderr."""
    cli.settings = {"COSTLEDGER_PRICE_FILES": json.dumps([str(jump)])}
    rows = [row for row in cli.json("prices", "list")["prices"] if row["operation"] == "storage"]
    assert [(row["unit_price"], row["held"] is not None) for row in rows] == [("23", True)]
    shown = cli("prices", "show", "aws-s3", "storage")
    assert shown.returncode == 1
    assert "held for review: price is 23 USD per GB-month" in shown.stdout
    assert "own.toml, entry 1: aws-s3/storage per GB-month from 2024-01-01" in shown.stderr
    listed = cli("prices", "list")
    assert [line for line in listed.stdout.splitlines() if line.rstrip().endswith(" held")]


def test_the_snapshot_of_language_models_is_told(cli: Cli) -> None:
    """Version and SHA-256, and whether it is known, by list and check."""
    snapshot = cli.json("prices", "check")["genai_prices"]
    assert snapshot["known"]
    assert len(snapshot["sha256"]) == 64
    assert snapshot == cli.json("prices", "list")["genai_prices"]


def test_the_schema_is_printed(cli: Cli) -> None:
    """As JSON, ready to be saved for an editor."""
    schema = json.loads(cli("prices", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["title"] == "costledger price file"


def test_a_map_of_prices_is_imported(cli: Cli) -> None:
    """The file can be laid over the shipped prices at once; what was left out is told with reasons."""
    command = ("prices", "import", "litellm", str(EXCERPT), "--effective-from", "2026-11-01")
    answer = cli.json(*command, "--output", "litellm.toml")
    assert (answer["models"], answer["models_imported"], answer["prices"]) == (19, 10, 31)
    assert {"model": "tts-1", "field": "", "reason": "mode audio_speech: not text tokens alone"} in answer["left_out"]
    assert [finding["severity"] for finding in answer["findings"]] == ["review"]
    cli.settings = {"COSTLEDGER_PRICE_FILES": json.dumps([str(cli.directory / "litellm.toml")])}
    at = ("--at", "2026-11-02T00:00:00Z")
    shown = cli.json("prices", "show", "openai", "output-tokens", "--model", "gpt-4o", *at)["price"]
    assert (shown["unit_price"], shown["price_version"]) == ("0.00001", f"{answer['version']}@2026-11-01")


def test_an_import_is_repeatable_and_overwrites_nothing(cli: Cli) -> None:
    """The same arguments give the same bytes; a file that is there stays unless told otherwise."""
    command = ("prices", "import", "litellm", str(EXCERPT), "--effective-from", "2026-11-01", "--output", "a.toml")
    done = cli(*command, "--provider", "openai")
    assert "a.toml: 11 prices of 3 of 5 models" in done.stdout
    assert "left out 1 x mode audio_speech: not text tokens alone: tts-1" in done.stdout
    first = (cli.directory / "a.toml").read_bytes()
    assert run([*command[:-1], str(cli.directory / "a.toml")]) == 2
    assert (cli.directory / "a.toml").read_bytes() == first
    assert cli(*command, "--provider", "openai", "--force").returncode == 0
    assert (cli.directory / "a.toml").read_bytes() == first


@pytest.mark.parametrize(
    "arguments",
    [("--effective-from", "yesterday"), ("--service", "openai"), ("--service", "=x")],
    ids=" ".join,
)
def test_wrong_options_of_an_import_are_usage(
    tmp_path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and no file."""
    output = tmp_path / "a.toml"
    assert run(["prices", "import", "litellm", str(EXCERPT), "--output", str(output), *arguments]) == 2
    assert "Error" in capsys.readouterr().err
    assert not output.exists()


def test_a_wrong_map_is_one_line(cli: Cli) -> None:
    """Model, field, value and limit; exit code 1, and no file."""
    bad = cli.directory / "bad.json"
    bad.write_text('{"m": {"litellm_provider": "p", "mode": "chat", "input_cost_per_token": -1}}')
    done = cli("prices", "import", "litellm", str(bad), "--output", "a.toml")
    assert done.returncode == 1
    assert done.stderr.startswith("costledger: m: input_cost_per_token is -1; it must be a number from 0 to 0.01")
    assert len(done.stderr.splitlines()) == 1
    assert not (cli.directory / "a.toml").exists()


@pytest.fixture
def database(cli: Cli, postgres: PostgresServer) -> str:
    """A database with the ledger's tables, which `cli` uses."""
    url = postgres.create_database()
    cli.settings = {"COSTLEDGER_DATABASE_URL": url}
    migrate(url)
    return url


def test_the_price_book_is_recorded_in_the_ledger(cli: Cli, database: str, jump: Path) -> None:
    """Every entry that applies, once; those held for review are not."""
    cli.settings |= {"COSTLEDGER_PRICE_FILES": json.dumps([str(jump)])}
    listed = len([row for row in cli.json("prices", "list")["prices"] if row["held"] is None])
    assert cli.json("prices", "record") == {"added": listed + 1, "known": 0, "held": 1}
    assert cli.json("prices", "record") == {"added": 0, "known": listed + 1, "held": 1}
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT unit_price::text, price_version FROM analyst.prices WHERE operation = 'storage'"
        ).fetchall()
    assert rows == [("0.023", "costledger-2026.11@2000-01-01")]
