"""The names that others rely on: topics, dead letters, metrics, errors."""

from __future__ import annotations

import pickle
import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from costledger.schemas import (
    CostledgerError,
    DecodeError,
    InvalidEvent,
    InvalidValue,
    MalformedMessage,
    OversizeMessage,
    PriceError,
    SettingsError,
    Unavailable,
    UnknownSchema,
    metrics,
    topics,
)
from costledger.schemas.dead_letters import dead_letter_headers
from costledger.schemas.errors import shown


def test_topic_names() -> None:
    """The published names, and one prefix for all of them."""
    assert topics.TopicNames() == ("cost.events", "cost.alerts", "cost.budgets", "cost.events.dlq")
    assert topics.TopicNames.with_prefix("x.") == (
        "x.cost.events",
        "x.cost.alerts",
        "x.cost.budgets",
        "x.cost.events.dlq",
    )
    assert topics.PARTITIONER == "murmur2_random"


def test_topics_have_the_same_partitions_and_the_right_clock() -> None:
    """A user is in the same partition everywhere; events and budgets carry the broker's time."""
    names = topics.TopicNames()
    specs = {spec.name: spec for spec in topics.topic_specs(names, "app-changelog", 5, 90)}
    assert set(specs) == {*names, "app-changelog"}
    assert {spec.partitions for spec in specs.values()} == {5}
    assert {name for name, spec in specs.items() if spec.config["cleanup.policy"] == "compact"} == {
        names.budgets,
        "app-changelog",
    }
    assert {name for name, spec in specs.items() if spec.config.get("message.timestamp.type") == "LogAppendTime"} == {
        names.events,
        names.budgets,
    }
    assert specs[names.events].config["retention.ms"] == str(90 * 86_400_000)


def test_dead_letters_say_why_and_from_where() -> None:
    """The five headers of the contract, as UTF-8 even where a value could not be."""
    headers = dead_letter_headers("invalid_user_id", "user_id is '\ud800 ü'", "cost.events", 3, 2**40)
    assert headers == [
        ("error", "user_id is '\\ud800 ü'".encode()),
        ("reason", b"invalid_user_id"),
        ("topic", b"cost.events"),
        ("partition", b"3"),
        ("offset", b"1099511627776"),
    ]


def test_metric_names_are_unique() -> None:
    """Each metric is in ALL once, under a name of its own."""
    names = [metric.name for metric in metrics.ALL]
    assert len(names) == len(set(names)) > 10


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda metric: metric.name)
def test_metrics_follow_prometheus_conventions(metric: metrics.Metric) -> None:
    """Prefix, snake case, base units, no `_total` (the library adds it), ascending buckets, a meaning."""
    assert re.fullmatch(r"costledger_[a-z]+(_[a-z]+)+", metric.name)
    assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_created", "_ms", "_milliseconds"))
    assert metric.meaning
    assert metric.meaning[0].islower() or metric.meaning[0].isdigit()
    assert all(re.fullmatch(r"[a-z]+", label) and label not in {"le", "quantile"} for label in metric.labels)
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert bool(metric.buckets) is (metric.kind == "histogram")


def test_all_metrics_can_be_created_in_one_registry() -> None:
    """Each becomes what it says, and Prometheus' own parser reads the result."""
    registry = CollectorRegistry()
    for metric in metrics.ALL:
        made = metrics.create(metric, registry)
        child = made.labels(*("x" for _ in metric.labels)) if metric.labels else made
        if metric.kind == "histogram":
            child.observe(1)
        else:
            child.inc()
    families = {
        family.name: family.type for family in text_string_to_metric_families(generate_latest(registry).decode())
    }
    for metric in metrics.ALL:
        assert families[metric.name] == metric.kind


def test_hierarchy_of_errors() -> None:
    """Permanent and passing errors are told apart by type, and reasons are stable codes."""
    for error in (SettingsError, InvalidValue, InvalidEvent, DecodeError, PriceError, Unavailable):
        assert issubclass(error, CostledgerError)
    assert issubclass(InvalidEvent, InvalidValue)
    assert not issubclass(Unavailable, DecodeError)
    assert [error.reason for error in (MalformedMessage, UnknownSchema, OversizeMessage)] == [
        "undecodable",
        "unknown_schema",
        "oversize",
    ]
    assert InvalidEvent("metadata['a[b']", 1, "x").reason == "invalid_metadata"


def test_errors_show_and_pickle() -> None:
    """Field, value (cut short) and limit; and the same after a process boundary."""
    error = InvalidValue("field", "x" * 1000, "short")
    assert str(error) == f"field is '{'x' * 119}… (1002 characters); it must be short"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), again.field, again.limit) == (str(error), "field", "short")
    assert shown(10**5000) == "a value of type int too long to show"
