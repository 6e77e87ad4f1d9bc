"""A variable for the tests with a value that means nothing ends the run before it begins, with one line."""

from __future__ import annotations

import pytest
from tests.fixtures import environment

SEED = "COSTLEDGER_TEST_SEED"
SIMULATION = "COSTLEDGER_TEST_SIMULATION"
MINUTES = "COSTLEDGER_FAULT_SOAK_MINUTES"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        (SEED, "abc"),
        (SEED, "-1"),
        (SEED, "1 2"),
        (SEED, str(environment.SEED_MAX + 1)),
        (SIMULATION, "nonsense"),
        (MINUTES, "x"),
        (MINUTES, "0"),
        (MINUTES, "nan"),
        (MINUTES, "inf"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line names the variable and the value."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(pytest.UsageError, match=f"{variable}.* is '{value}'"):
        environment.pytest_configure()


def test_what_is_unset_or_empty_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make` sets a variable to nothing where it was given none."""
    for variable in (SEED, SIMULATION, MINUTES):
        monkeypatch.setenv(variable, "")
    environment.pytest_configure()
    given = environment.given_seed(), environment.simulation_profile(), environment.soak_minutes()
    assert given == (None, "quick", environment.SOAK_MINUTES_DEFAULT)


def test_what_is_given_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed of 0 too."""
    for variable, value in ((SEED, "0"), (SIMULATION, "full"), (MINUTES, "1.5")):
        monkeypatch.setenv(variable, value)
    assert (environment.given_seed(), environment.simulation_profile(), environment.soak_minutes()) == (0, "full", 1.5)
