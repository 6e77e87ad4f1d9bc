"""hatch_build.py: what is compiled, where it goes, and what happens where nothing can be compiled.

On a small tree with this project's build configuration and one accelerator module.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("schemas", "producers", "streams", "sinks", "api", "deploy")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
TWIN = f"costledger/schemas/_twice{SUFFIX}"
TIMEOUT_SECONDS = 120
#: The hooks that pip calls, as pip calls them: in a process of their own, in the tree.
BUILD = "import sys; from hatchling import build; print(getattr(build, sys.argv[1])(sys.argv[2]))"
OLD = f"_gone{SUFFIX}"
FOREIGN = "_twice.cpython-310-x86_64-linux-gnu.so"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that has the parts, one accelerator module, and what an earlier editable install left behind."""
    root = tmp_path / "tree"
    for part in PARTS:
        package = root / part / "costledger" / part
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, root / name)
    package = root / "schemas/costledger/schemas"
    (package / "_twice.pyx").write_text("def twice(long number):\n    return 2 * number\n", encoding="utf-8")
    (package / OLD).touch()
    (package / FOREIGN).touch()
    return root


def build(tree: Path, kind: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Build `tree` as `kind`, "wheel" or "editable", into a folder `dist` beside it."""
    dist, scratch = tree.parent / "dist", tree.parent / "scratch"
    for folder in (dist, scratch):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in {"COSTLEDGER_COMPILE", "CC"}}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(dist)],
        cwd=tree,
        env={**kept, "TMPDIR": str(scratch), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert list(scratch.iterdir()) == [], "temporary files are left"
    return done


def built(tree: Path) -> Path:
    """The wheel that was built."""
    (wheel,) = (tree.parent / "dist").glob("*.whl")
    return wheel


def compiled_in(wheel: Path) -> list[str]:
    """The compiled files in the wheel."""
    return [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]


def compiled_beside(tree: Path) -> set[str]:
    """The compiled files beside their sources."""
    return {path.relative_to(tree / "schemas").as_posix() for path in tree.rglob("*.so")}


def evaluate(folder: Path) -> str:
    """What the twin in `folder` answers."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from costledger.schemas._twice import twice; print(twice(21))"
    command = [sys.executable, "-I", "-S", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=TIMEOUT_SECONDS).stdout.strip()


@pytest.fixture
def _compiler() -> None:
    """Left out where there is no C compiler, or no headers of Python."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if not shutil.which(compiler) or not Path(sysconfig.get_path("include"), "Python.h").is_file():
        if os.environ.get("COSTLEDGER_TEST_REQUIRE"):
            pytest.fail("COSTLEDGER_TEST_REQUIRE is set, but there is no C compiler, or Python's headers are missing")
        pytest.skip("needs a C compiler and Python's headers (Debian: apt install gcc libc6-dev python3-dev)")


@pytest.mark.usefixtures("_compiler")
def test_a_wheel_has_the_twin_and_the_tag_of_this_interpreter(tree: Path, tmp_path: Path) -> None:
    """The twin alone: nothing that lies compiled in the tree comes in; and nothing is left in the tree."""
    files = set(tree.rglob("*"))
    done = build(tree, "wheel", COSTLEDGER_COMPILE="require")
    assert done.returncode == 0, done.stderr
    assert f"-cp{sys.version_info[0]}{sys.version_info[1]}-" in built(tree).name
    assert compiled_in(built(tree)) == [TWIN]
    archive = zipfile.ZipFile(built(tree))
    assert "costledger/schemas/_twice.pyx" in archive.namelist()
    assert str(tmp_path).encode() not in archive.read(TWIN), "it holds a path of this machine"
    archive.extractall(tmp_path / "installed")
    assert evaluate(tmp_path / "installed") == "42"
    assert set(tree.rglob("*")) == files


@pytest.mark.usefixtures("_compiler")
def test_an_editable_install_has_the_twin_beside_its_source(tree: Path) -> None:
    """An old one is replaced; one without a source goes; those of other interpreters stay; no C file is left."""
    (tree / "schemas" / TWIN).write_bytes(b"old")
    files = set(tree.rglob("*"))
    done = build(tree, "editable")
    assert (done.returncode, done.stderr) == (0, "")
    assert compiled_beside(tree) == {TWIN, f"costledger/schemas/{FOREIGN}"}
    assert set(tree.rglob("*")) == files - {tree / "schemas/costledger/schemas" / OLD}
    assert evaluate(tree / "schemas") == "42"


@pytest.mark.parametrize("kind", ["wheel", "editable"])
@pytest.mark.parametrize("settings", [{"COSTLEDGER_COMPILE": "no"}, {"CC": "/nonexistent"}], ids=["no", "no compiler"])
def test_without_a_twin_the_build_goes_on(tree: Path, kind: str, settings: dict[str, str]) -> None:
    """A pure wheel, and no older twin that would be imported; one line says what is slower, unless it was wished."""
    done = build(tree, kind, **settings)
    assert done.returncode == 0, done.stderr
    assert built(tree).name.endswith("-py3-none-any.whl")
    assert compiled_in(built(tree)) == []
    if kind == "editable":
        assert compiled_beside(tree) == {f"costledger/schemas/{FOREIGN}"}
    if "CC" in settings:
        [warning] = done.stderr.splitlines()
        assert "could not be compiled (CompileError: " in warning
        assert len(warning) < 500
        assert "fewer events a second" in warning
        assert "apt install gcc libc6-dev python3-dev" in warning
    else:
        assert done.stderr == ""


def test_a_twin_that_is_required_or_an_unknown_wish_ends_the_build(tree: Path) -> None:
    """The last line says why; no wheel is made, and what lies in the tree stays."""
    for settings, reason in (
        (
            {"COSTLEDGER_COMPILE": "require", "CC": "/nonexistent"},
            "This is an error because COSTLEDGER_COMPILE is 'require'.",
        ),
        ({"COSTLEDGER_COMPILE": "yes"}, "costledger: COSTLEDGER_COMPILE is 'yes'; it can be 'require', 'no', or unset"),
    ):
        done = build(tree, "editable", **settings)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].endswith(reason)
        assert list((tree.parent / "dist").iterdir()) == []
        assert compiled_beside(tree) == {f"costledger/schemas/{OLD}", f"costledger/schemas/{FOREIGN}"}


def test_a_source_that_cython_refuses_is_told(tree: Path) -> None:
    """With the place in the source, before the line that goes on without it."""
    (tree / "schemas/costledger/schemas/_twice.pyx").write_text(
        "def twice(long number):\n    return 2 +\n", encoding="utf-8"
    )
    done = build(tree, "wheel")
    assert done.returncode == 0
    assert "schemas/costledger/schemas/_twice.pyx:2:" in done.stderr
    assert "could not be compiled" in done.stderr.splitlines()[-1]


def test_a_tree_without_accelerator_modules_is_pure(tree: Path) -> None:
    """Nothing is compiled, and no compiler is missed."""
    (tree / "schemas/costledger/schemas/_twice.pyx").unlink()
    done = build(tree, "wheel", COSTLEDGER_COMPILE="require", CC="/nonexistent")
    assert (done.returncode, done.stderr) == (0, "")
    assert built(tree).name.endswith("-py3-none-any.whl")
