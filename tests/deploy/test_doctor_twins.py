"""What `costledger doctor` says of the accelerator modules."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

import pytest
from tests.deploy.conftest import Cli

from costledger.deploy.checks import compiled_modules
from costledger.deploy.twins import twins

ROOT = Path(__file__).resolve().parent.parent.parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with one accelerator module that was not compiled, and one that was compiled to something broken."""
    folder = tmp_path / "costledger_trial" / "inner"
    folder.mkdir(parents=True)
    for path in (folder.parent / "__init__.py", folder / "__init__.py"):
        path.touch()
    (folder / "_broken.pyx").touch()
    (folder / f"_broken{SUFFIX}").write_bytes(b"no library")
    (folder.parent / "_absent.pyx").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return "costledger_trial"


def test_every_accelerator_module_of_the_parts_is_asked_for() -> None:
    """One for each source; in use exactly where it is compiled."""
    expected = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]): path.with_name(path.stem + SUFFIX).is_file()
        for path in ROOT.glob("*/costledger/**/_*.pyx")
    }
    assert {name: not reason for name, reason in twins().items()} == expected


def test_what_is_not_in_use_is_a_warning_with_the_reason(package: str) -> None:
    """Not compiled, or compiled and not to be loaded; with what to install."""
    reasons = twins([package])
    assert reasons["costledger_trial._absent"] == "not compiled"
    assert f"_broken{SUFFIX}" in reasons["costledger_trial.inner._broken"]
    check = compiled_modules(reasons)
    assert (check.name, check.state) == ("compiled modules", "warning")
    assert check.detail.startswith("without costledger_trial._absent (not compiled), costledger_trial.inner._broken (")
    assert "apt install gcc libc6-dev python3-dev" in check.remedy


def test_what_is_in_use_is_named() -> None:
    """Only what is not is a warning."""
    check = compiled_modules({"a._b": "", "a._c": ""})
    assert (check.state, check.detail, check.remedy) == ("ok", "in use: a._b, a._c", "")
    assert compiled_modules({"a._b": "", "a._c": "not compiled"}).detail == "without a._c (not compiled)"


def test_doctor_has_a_line_of_it(tmp_path: Path) -> None:
    """With the same words in `--json`, also where a setting is wrong."""
    done = Cli(tmp_path)("doctor", "--json", COSTLEDGER_PARTITIONS="none")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    expected = compiled_modules(twins())
    assert checks["compiled modules"]["state"] == expected.state
    assert checks["compiled modules"]["detail"] == expected.detail
