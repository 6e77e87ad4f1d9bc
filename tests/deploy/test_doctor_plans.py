"""What `costledger doctor` says of processing plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from costledger.deploy import checks
from costledger.schemas.errors import SettingsError
from costledger.schemas.settings import load_settings


def write(tmp_path: Path, text: str) -> Path:
    """A file of plans."""
    path = tmp_path / "plans.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_plans_are_well() -> None:
    """Every operation of every tier has a price."""
    check = checks._plans(load_settings())
    assert (check.state, check.detail) == ("ok", "4 tiers; limited from 2 shares of the budget on")


def test_a_plan_with_an_operation_that_nobody_prices_is_a_warning(tmp_path: Path) -> None:
    """A slip in its name would make every job of the tier one of unknown cost."""
    path = write(tmp_path, "[plan.free]\nrekognition = ['detectLabel']\n")
    check = checks._plans(load_settings(plan_file=path))
    assert check.state == "warning"
    assert "no price for detectLabel:" in check.detail


def test_a_wrong_plan_file_or_share_fails_the_check(tmp_path: Path) -> None:
    """With the file, the tier and the field in the words."""
    settings = load_settings(plan_file=write(tmp_path, "[plan.free]\nseconds_max = -1\n"))
    check = checks._guarded("plans", checks._plans, settings, "mend it")
    assert (check.state, check.remedy) == ("failed", "mend it")
    assert "plans.toml, tier 'free': seconds_max is -1" in check.detail
    with pytest.raises(SettingsError, match="a tier is 'cheap'"):
        checks._plans(load_settings(plan_shares=((80, "cheap"),)))
