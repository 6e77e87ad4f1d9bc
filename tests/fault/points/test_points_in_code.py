"""The registry of fail points, the code that reaches them and the tests that visit them name the same places."""

from __future__ import annotations

import ast
import importlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from costledger.schemas.fail_points import FAIL_POINTS

ROOT = Path(__file__).resolve().parents[3]
PARTS = ("schemas", "producers", "streams", "sinks", "api", "deploy")


def places_in(source: str) -> Iterator[str]:
    """The places that a module reaches: of `reach("...")`, and of `reach_step_of("...")` with the module's `Step`."""
    tree = ast.parse(source)
    steps: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == "Step" for one in node.targets):
            steps = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id == "reach":
            yield literal_of(node)
        elif node.func.id == "reach_step_of":
            assert steps, "a module that tells steps has them as `Step = Literal[...]`"
            yield from (f"{literal_of(node)}.{step}" for step in steps)


def literal_of(call: ast.Call) -> str:
    """The only argument of a call, which is a text that stands there."""
    (argument,) = call.args
    assert isinstance(argument, ast.Constant), f"line {call.lineno}: a place is named where it is"
    assert isinstance(argument.value, str)
    return argument.value


def places_in_code() -> Counter[str]:
    """How often each place stands in the code of all parts."""
    found: Counter[str] = Counter()
    for part in PARTS:
        for path in (ROOT / part / "costledger").rglob("*.py"):
            if path.name != "fail_points.py":
                found.update(places_in(path.read_text(encoding="utf-8")))
    return found


def places_in_tests() -> set[str]:
    """The places at which tests of this folder have processes die: the fixture `deaths` holds them to that."""
    visited: set[str] = set()
    for path in Path(__file__).parent.glob("test_points_*.py"):
        if path != Path(__file__):
            module = importlib.import_module(f"tests.fault.points.{path.stem}")
            for name, test in vars(module).items():
                if name.startswith("test_") and (places := getattr(test, "visits", None)):
                    visited |= set(places)
    return visited


def test_the_code_and_the_registry_name_the_same_places() -> None:
    """Each place is reached at one spot of the code, and none is reached that has no sentence."""
    assert places_in_code() == dict.fromkeys(FAIL_POINTS, 1)


def test_every_place_is_visited_by_a_test() -> None:
    """With a process that dies there."""
    assert places_in_tests() == set(FAIL_POINTS)


def test_every_place_is_described() -> None:
    """A name of part and moment, and a sentence."""
    for name, sentence in FAIL_POINTS.items():
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", name)
        assert re.fullmatch(r"[A-Z].*\w.*\.", sentence), name


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ('reach("a.b")', ["a.b"]),
        ('def f():\n    if x:\n        reach("a.b")\n    reach("a.c")', ["a.b", "a.c"]),
        ('Step = Literal["x", "y"]\nf = reach_step_of("a")', ["a.x", "a.y"]),
        ("outreach('a.b')", []),
    ],
)
def test_places_are_found(source: str, places: list[str]) -> None:
    """However deep they stand."""
    assert sorted(places_in(source)) == places


def test_a_place_whose_name_is_made_up_is_refused() -> None:
    """Nobody could find it."""
    with pytest.raises(AssertionError, match="named where it is"):
        list(places_in('reach(f"a.{step}")'))
