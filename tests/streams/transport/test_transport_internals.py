"""What the transport leans on inside Faust, mode and aiokafka: all of it is named, and is what it was."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from costledger.streams import transport
from costledger.streams.transport import StageConfig, internals
from costledger.streams.transport.acks import Progress
from costledger.streams.transport.app import settings
from costledger.streams.transport.batches import Batches
from costledger.streams.transport.runtime import Runtime

FOREIGN = ("faust", "mode", "aiokafka")


def modules() -> Iterator[ModuleType]:
    """Those of the transport."""
    for module in pkgutil.iter_modules(transport.__path__, f"{transport.__name__}."):
        yield importlib.import_module(module.name)


def test_internals_are_there() -> None:
    """Every inner name of Faust, mode and aiokafka that the transport leans on exists."""
    assert internals.missing() == []


def test_missing_internals_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that a release dropped is reported."""
    monkeypatch.setitem(internals.METHODS, Runtime, ("no_such_method",))
    monkeypatch.setitem(internals.ATTRIBUTES, Progress, ("no_such_attribute",))
    monkeypatch.setitem(internals.NAMES, internals, ("no_such_name",))
    assert [name.rsplit(".", 1)[1] for name in internals.missing()] == [
        "no_such_method",
        "no_such_attribute",
        "no_such_name",
    ]


def test_a_method_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it still has its name: what overrides it would be called in another way."""
    (named, *_) = internals.PARAMETERS
    monkeypatch.setitem(internals.PARAMETERS, named, "self other")
    assert [line.partition(": ")[2] for line in internals.missing()] == ["parameters self fetcher, expected self other"]


def test_everything_that_is_overridden_is_named() -> None:
    """Of every class of the transport that builds on one of Faust, mode or aiokafka."""
    unnamed = []
    for module in modules():
        for kind in vars(module).values():
            if not (inspect.isclass(kind) and kind.__module__ == module.__name__):
                continue
            theirs = [base for base in kind.__mro__ if base.__module__.split(".")[0] in FOREIGN]
            named = {name for base, names in internals.METHODS.items() if issubclass(kind, base) for name in names}
            # mode gives each of its classes a logger, and abc its books.
            overridden = {name for name in vars(kind) if not name.startswith("__")} - {"logger", "_abc_impl"}
            unnamed += [
                f"{kind.__qualname__}.{name}"
                for name in overridden - named
                if any(name in vars(base) for base in theirs)
            ]
    assert sorted(unnamed) == []


def test_a_client_that_no_longer_calls_what_is_bound_anew_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Binding names anew does nothing where the client no longer calls them: memory would have no bound."""
    for name in ("ClientFetcher", "create_conn", "group_coordinator"):
        monkeypatch.setattr(internals, name, Runtime)
    called = (
        "MemoryRecords",
        "PartitionRecords",
        "AIOKafkaConnection",
        "_do_heartbeat",
        "_send_req",
        "SyncGroupRequest",
    )
    ends = [f": a call of {name}" for name in called]
    assert [name[name.index(":") :] for name in internals.missing()] == ends


@pytest.mark.parametrize("security", [{}, {"security_protocol": "SSL"}])
def test_every_setting_is_one_that_faust_knows(security: dict[str, str]) -> None:
    """It says nothing of one that it does not know: a limit or a guarantee would be gone."""
    config = StageConfig(
        app_id="a", bootstrap_servers="127.0.0.1:9", main_topic="m", table_name="t", partitions=4, security=security
    )
    assert internals.unknown_settings(settings(config)) == []
    assert internals.unknown_settings(["store", "broker_max_poll_recrods"]) == ["broker_max_poll_recrods"]


def test_what_stands_in_for_the_clients_batches_has_all_that_they_have() -> None:
    """Whatever a release adds may be called by its fetcher."""
    public = {name for name in dir(MemoryRecords) if not name.startswith("_")}
    assert public == set(internals.METHODS[MemoryRecords])
    assert [name for name in public if not hasattr(Batches, name)] == []


def test_what_is_replaced_in_an_instance_must_be_called_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter more, or no coroutine, is another method, though it has its name."""

    class Changed:
        async def more(self, request: object, timeout_ms: int) -> None: ...
        def plain(self) -> None: ...

    monkeypatch.setattr(internals, "REPLACED", {(Changed, "more"): "self request", (Changed, "plain"): "self"})
    assert [line.partition(": ")[2] for line in internals.missing()] == [
        "parameters self request timeout_ms, expected self request and no other",
        "is no coroutine",
    ]


def inner_names(module: ModuleType) -> set[str]:
    """Every name with an underscore that is read or set on an object that is not ours.

    Those of `self` are ours where the class, or one of ours that it builds on, defines them.
    """
    found: set[str] = set()
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        kind = getattr(module, node.name)
        bases = [base for base in kind.__mro__ if base.__module__.startswith(transport.__name__)]
        ours = {name for base in bases for name in _defined_by(base)}
        found |= {one.attr for one in _inner(node) if _is_self(one.value) and one.attr not in ours}
    return found | {one.attr for one in _inner(tree) if not _is_self(one.value)}


def _defined_by(kind: type[Any]) -> set[str]:
    """What a class has in its body or sets on `self`; what it only declares is another's."""
    own = {name for name in vars(kind) if not name.startswith("__")} | set(getattr(kind, "__slots__", ()))
    body = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    return own | {one.attr for one in _inner(body) if _is_self(one.value) and isinstance(one.ctx, ast.Store)}


def _inner(tree: ast.AST) -> list[ast.Attribute]:
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return [one for one in attributes if one.attr.startswith("_") and not one.attr.startswith("__")]


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def test_every_inner_name_that_is_used_is_named() -> None:
    """Also where it is not overridden: with a release that drops it the worker would fail later, or not do what it should."""
    named = {name for table in (internals.METHODS, internals.ATTRIBUTES) for names in table.values() for name in names}
    used = {module.__name__.rpartition(".")[2]: inner_names(module) for module in modules()}
    assert {"_do_heartbeat", "_fetch_max_wait_ms", "_subscriptions", "_ensure_consumer"} <= used["consumer_thread"]
    assert {name: sorted(names - named) for name, names in used.items() if names - named} == {}
