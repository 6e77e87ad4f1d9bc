"""Settings: who goes before whom, what is refused, what is never shown."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from costledger.schemas import InvalidValue, Settings, SettingsError, load_settings
from costledger.schemas.kafka_config import client_config
from costledger.schemas.settings import PREFIX

Write = Callable[[str], None]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty directory and no variable of ours."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def dotenv(tmp_path: Path) -> Write:
    """Writes `.env`."""

    def write(text: str) -> None:
        (tmp_path / ".env").write_text(text)

    return write


@pytest.fixture
def toml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Writes a TOML file that COSTLEDGER_CONFIG_FILE names."""
    monkeypatch.setenv("COSTLEDGER_CONFIG_FILE", str(tmp_path / "costledger.toml"))

    def write(text: str) -> None:
        (tmp_path / "costledger.toml").write_text(text)

    return write


def refusal() -> str:
    """The message with which the settings are refused."""
    with pytest.raises(SettingsError) as refused:
        load_settings()
    return str(refused.value)


def test_defaults_need_nothing() -> None:
    """Without any setting, everything is on this machine."""
    settings = load_settings()
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.partitions == 12
    assert settings.topics.events == "cost.events"
    assert settings.budget_defaults().monthly_by_tier["free"] == 5 * 10**12


def test_every_setting_is_described() -> None:
    """`doctor --settings` has a sentence for each."""
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_arguments_environment_dotenv_toml_defaults(
    monkeypatch: pytest.MonkeyPatch, dotenv: Write, toml: Write
) -> None:
    """Taken away one by one, the next one shows."""
    toml("source = 'toml'\npartitions = 7\n")
    dotenv("COSTLEDGER_SOURCE=dotenv\n")
    monkeypatch.setenv("COSTLEDGER_SOURCE", "environment")
    assert load_settings(source="argument").source == "argument"
    assert load_settings().source == "environment"
    monkeypatch.delenv("COSTLEDGER_SOURCE")
    assert load_settings().source == "dotenv"
    dotenv("# nothing\n")
    assert load_settings().source == "toml"
    toml("partitions = 7\n")
    assert (load_settings().source, load_settings().partitions) == ("unknown", 7)


def test_env_file_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dotenv: Write) -> None:
    """COSTLEDGER_ENV_FILE goes before `.env`."""
    dotenv("COSTLEDGER_SOURCE=here\n")
    (tmp_path / "other.env").write_text("COSTLEDGER_SOURCE=there\n")
    monkeypatch.setenv("COSTLEDGER_ENV_FILE", str(tmp_path / "other.env"))
    assert load_settings().source == "there"


@pytest.mark.parametrize("variable", ["COSTLEDGER_ENV_FILE", "COSTLEDGER_CONFIG_FILE"])
def test_files_that_are_named_must_be_there(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """A file that was named and is missing is an error with both names."""
    monkeypatch.setenv(variable, "missing.file")
    assert refusal() == f"{variable} names missing.file, which is not a file"


@pytest.mark.parametrize("name", ["COSTLEDGER_BOOTSTRAP_SERVER", "costledger_bootstrap_server"])
def test_unknown_names_in_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A typo is refused with a suggestion, in lower case too (which is read)."""
    monkeypatch.setenv(name, "x:1")
    assert (
        refusal()
        == f"{name} in the environment is no setting of costledger; did you mean COSTLEDGER_BOOTSTRAP_SERVERS?"
    )


def test_the_wish_about_compiling_is_no_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever exports it for an installation can run commands in the same shell."""
    monkeypatch.setenv("COSTLEDGER_COMPILE", "no")
    load_settings()


def test_unknown_names_in_dotenv(dotenv: Write) -> None:
    """A typo in `.env` is refused; other programs' names in it are not ours."""
    dotenv("OTHER_PROGRAM=1\nCOSTLEDGER_PARTITION=3\n")
    assert "COSTLEDGER_PARTITION in .env is no setting of costledger; did you mean COSTLEDGER_PARTITIONS?" in refusal()
    dotenv("OTHER_PROGRAM=1\nCOSTLEDGER_PARTITIONS=3\n")
    assert load_settings().partitions == 3


def test_unknown_names_in_toml(toml: Write) -> None:
    """A typo in the TOML file is refused with the suggestion."""
    toml("sink_batch_row_max = 5\n")
    assert "COSTLEDGER_sink_batch_row_max" in refusal()
    assert "did you mean COSTLEDGER_SINK_BATCH_ROWS_MAX?" in refusal()


def test_unknown_arguments() -> None:
    """So is one in a call."""
    with pytest.raises(SettingsError, match="did you mean COSTLEDGER_SOURCE"):
        load_settings(sourc="x")


def test_unknown_names_like_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without anything near, no suggestion."""
    monkeypatch.setenv("COSTLEDGER_QQQQQQQQQQQQQQ", "1")
    assert refusal().endswith("is no setting of costledger")


def test_broken_toml(toml: Write) -> None:
    """A file that is no TOML is named."""
    toml("source = \n")
    assert "costledger.toml is not a TOML file" in refusal()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PARTITIONS", "0", "greater than or equal to 1"),
        ("PARTITIONS", "many", "valid integer"),
        ("DURABILITY", "disk", "'memory', 'spool' or 'outbox'"),
        ("BUDGET_BY_TIER", '{"free": 5}', "needs the tier 'default'"),
        ("STREAM_SESSION_TIMEOUT_SECONDS", "5", "greater than or equal to 6"),
        ("SOURCE", "", "at least 1 character"),
    ],
)
def test_values_out_of_bounds_name_setting_value_and_limit(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """Each wrong value is explained in a line of its own."""
    monkeypatch.setenv(PREFIX + name, value)
    message = refusal()
    assert message.startswith(PREFIX + name)
    assert said in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BUDGET_BY_TIER", "{"),
        ("BUDGET_BY_TIER", '{"default": -1}'),
        ("BUDGET_BY_TIER", '{"default": "NaN"}'),
        ("ALERT_THRESHOLDS", "[150]"),
        ("ALERT_THRESHOLDS", "[]"),
        ("HOURLY_SPIKE_LIMIT_USD", "1E+30"),
    ],
)
def test_money_and_thresholds_are_checked_at_once(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """What would fail later fails when the settings are read."""
    monkeypatch.setenv(PREFIX + name, value)
    assert refusal()


def test_all_problems_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wrong settings, two lines."""
    monkeypatch.setenv("COSTLEDGER_PARTITIONS", "0")
    monkeypatch.setenv("COSTLEDGER_LINGER_MS", "-1")
    assert len(refusal().splitlines()) == 2


SECRETS = ["DATABASE_URL", "REDIS_URL", "SASL_PASSWORD", "SCHEMA_REGISTRY_URL"]


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_not_in_repr(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Neither repr nor str nor a dump to JSON shows a password."""
    monkeypatch.setenv(PREFIX + name, "http://user:hunter2@host/x")
    settings = load_settings()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_not_in_errors(toml: Write, name: str) -> None:
    """A secret of the wrong type is refused without being shown, also in the traceback."""
    toml(f"{name.lower()} = ['hunter2']\n")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert PREFIX + name in str(refused.value)
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize(
    "servers",
    [
        "kafka:9092",
        "127.0.0.1:9092,kafka:9092",
        "127.evil.example:9092",
        "localhost.evil.example:1",
        "10.0.0.1:9092",
        "[2001:db8::1]:9092",
        "0.0.0.0:9092",
    ],
)
@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_plaintext_to_another_host_is_refused(monkeypatch: pytest.MonkeyPatch, servers: str, protocol: str) -> None:
    """Unencrypted Kafka is for this machine, unless the network is said to be trusted."""
    monkeypatch.setenv("COSTLEDGER_BOOTSTRAP_SERVERS", servers)
    monkeypatch.setenv("COSTLEDGER_SECURITY_PROTOCOL", protocol)
    monkeypatch.setenv("COSTLEDGER_SASL_USERNAME", "ann")
    monkeypatch.setenv("COSTLEDGER_SASL_PASSWORD", "hunter2")
    message = refusal()
    assert protocol in message
    assert "COSTLEDGER_ALLOW_PLAINTEXT=true" in message
    monkeypatch.setenv("COSTLEDGER_ALLOW_PLAINTEXT", "true")
    assert load_settings().bootstrap_servers == servers


@pytest.mark.parametrize("servers", ["127.0.0.1:9092", "127.0.0.2:1, localhost:2", "[::1]:9092", "localhost"])
def test_plaintext_on_this_machine_is_fine(monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    """Loopback addresses of both families, and localhost."""
    monkeypatch.setenv("COSTLEDGER_BOOTSTRAP_SERVERS", servers)
    assert load_settings().security_protocol == "PLAINTEXT"


def test_encrypted_goes_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """SASL_SSL to another host; the client's configuration has what librdkafka needs."""
    for name, value in {
        "BOOTSTRAP_SERVERS": "kafka:9093",
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_USERNAME": "ann",
        "SASL_PASSWORD": "hunter2",
        "SSL_CA_FILE": "ca.pem",
    }.items():
        monkeypatch.setenv(PREFIX + name, value)
    config = client_config(load_settings(), "client")
    assert config["security.protocol"] == "SASL_SSL"
    assert (config["sasl.mechanism"], config["sasl.username"], config["sasl.password"]) == (
        "SCRAM-SHA-512",
        "ann",
        "hunter2",
    )
    assert config["ssl.ca.location"] == "ca.pem"


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL"}, "COSTLEDGER_SASL_USERNAME is missing"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "ann"}, "COSTLEDGER_SASL_PASSWORD is missing"),
        ({"STREAM_SESSION_TIMEOUT_SECONDS": "120"}, "COSTLEDGER_STREAM_STALL_TIMEOUT_SECONDS is 120"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], named: str
) -> None:
    """Said when the settings are read, by their own names, not by the client that fails over them later."""
    for name, value in values.items():
        monkeypatch.setenv(f"COSTLEDGER_{name}", value)
    assert named in refusal()


def test_plaintext_client_has_no_credentials() -> None:
    """Without SASL nothing of it is sent."""
    config = client_config(load_settings(), "client")
    assert [name for name in config if name.startswith(("sasl", "ssl"))] == []
    assert (config["bootstrap.servers"], config["client.id"]) == ("127.0.0.1:9092", "client")


def test_budget_defaults_follow_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiers, thresholds and the hourly limit reach the budgets exactly."""
    monkeypatch.setenv("COSTLEDGER_BUDGET_BY_TIER", '{"default": "0.000000000001", "vip": 1000}')
    monkeypatch.setenv("COSTLEDGER_ALERT_THRESHOLDS", "[100, 33.3333]")
    monkeypatch.setenv("COSTLEDGER_HOURLY_SPIKE_LIMIT_USD", "0.1")
    defaults = load_settings().budget_defaults()
    assert defaults.monthly_by_tier == {"default": 1, "vip": 10**15}
    assert defaults.alert_thresholds == (Decimal("33.3333"), Decimal(100))
    assert defaults.hourly_spike_limit == 10**11


def test_settings_cannot_be_changed() -> None:
    """Once read they stay."""
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.partitions = 5  # type: ignore[misc]  # what must be refused


def test_errors_are_ours() -> None:
    """InvalidValue of a default never leaves load_settings as such."""
    assert not issubclass(SettingsError, InvalidValue)


@pytest.mark.parametrize(
    ("name", "value"), [("PRICE_FILES", "maps.toml"), ("PLAN_SHARES", "eighty"), ("BUDGET_BY_TIER", "free")]
)
def test_a_setting_that_is_no_json_is_named_with_its_form(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The variable, what it is, and a value that would do."""
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(SettingsError, match=rf"^{PREFIX}{name} must be JSON: .*its default is [\[{{]"):
        load_settings()
