"""The layout: one namespace with a source root per part, complete as a wheel, light as an SDK."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("schemas", "producers", "streams", "sinks", "api", "deploy")
TOP_LEVEL = {
    *PARTS,
    "tests",
    "pyproject.toml",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "RELIABILITY.md",
    "SCALING.md",
    "LICENSE",
    "Makefile",
    "hatch_build.py",
    "uv.lock",
    "requirements.lock",
    # What tools leave behind; not under version control.
    "build",
    "dist",
}
#: Of a compiled module, for this interpreter.
COMPILED = sysconfig.get_config_var("EXT_SUFFIX")
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
TIMEOUT_SECONDS = 240
#: Only the extras bring these: a service that emits events has none of them.
NOT_IN_THE_SDK = {
    "aiokafka",
    "apprise",
    "avro",
    "botocore",
    "datasketch",
    "fastapi",
    "faust",
    "httpx",
    "jinja2",
    "jwt",
    "limits",
    "mode",
    "msgpack",
    "numpy",
    "openai",
    "pdqhash",
    "PIL",
    "procrastinate",
    "prometheus_client",
    "psutil",
    "psycopg",
    "psycopg_pool",
    "pyarrow",
    "redis",
    "rich",
    "standardwebhooks",
    "starlette",
    "stripe",
    "structlog",
    "typer",
    "uvicorn",
    "uvloop",
    "yoyo",
}
#: Places of one machine and hosts of package registries. In two halves, so that this file is none of its findings.
FOREIGN = re.compile(
    r"(?<![\w.~-])/(?:root|home|Users|tmp|work|var/folders)" + r"/[\w.]" + r"|pypi" + r"\.org|pythonhosted" + r"\.org"
    r"|repo1?\.maven" + r"\.(?:apache\.)?org|registry\.npmjs" + r"\.org|proxy\.golang" + r"\.org"
)


def package_files(part: str) -> list[Path]:
    """Every file of a part's package, without what is made of them."""
    files = (ROOT / part / "costledger").rglob("*")
    return [path for path in files if path.is_file() and path.suffix not in {".pyc", ".so"}]


def python_files() -> Iterator[Path]:
    """Every module of every part."""
    for part in PARTS:
        yield from (path for path in package_files(part) if path.suffix == ".py")


def in_wheel(part: str, suffix: str) -> set[str]:
    """The part's files of a suffix, by their names in a wheel."""
    return {path.relative_to(ROOT / part).as_posix() for path in package_files(part) if path.suffix == suffix}


def compiled_of(wheel: Path, part: str) -> set[str]:
    """The compiled modules that a wheel has to have: one for each `.pyx`, or none in a pure one."""
    pure = wheel.name.endswith("-py3-none-any.whl")
    return set() if pure else {name.removesuffix(".pyx") + COMPILED for name in in_wheel(part, ".pyx")}


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file of the project, with its content."""
    for name in sorted(TOP_LEVEL - {"build", "dist"}):
        path = ROOT / name
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.is_file() and not {"__pycache__", ".hypothesis"} & set(file.parts):
                data = file.read_bytes()
                if b"\x00" not in data:
                    yield file.relative_to(ROOT), data.decode("utf-8")


def run_installed(target: Path, code: str) -> str:
    """What a fresh interpreter prints that sees the installed wheel and the libraries, and not the source roots."""
    # -S: no .pth file is read, so an editable install is not seen. -I: neither environment nor working directory.
    libraries = sysconfig.get_path("purelib")
    prologue = f"import sys; sys.path[:0] = [{str(target)!r}]; sys.path.append({libraries!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", prologue + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def pip(*arguments: str, **environment: str) -> None:
    """Run pip without the network."""
    command = [sys.executable, "-m", "pip", *arguments[:1], "--no-deps", "--no-index", "-q", *arguments[1:]]
    subprocess.run(command, check=True, timeout=TIMEOUT_SECONDS, env={**os.environ, **environment})


@pytest.fixture(scope="module", params=["compiled", "pure"])
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree without the network: as it is built here, and with nothing compiled."""
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling (the dev extra)")
    folder = tmp_path_factory.mktemp("wheel")
    required = "require" if os.environ.get("COSTLEDGER_TEST_REQUIRE") else ""
    wish = "no" if request.param == "pure" else required
    pip("wheel", "--no-build-isolation", "-w", str(folder), str(ROOT), COSTLEDGER_COMPILE=wish)
    (built,) = folder.glob("*.whl")
    if request.param == "pure":
        assert built.name.endswith("-py3-none-any.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory into which the wheel is installed, alone."""
    target = tmp_path_factory.mktemp("installed")
    pip("install", "--target", str(target), str(wheel))
    return target


@pytest.mark.parametrize("part", PARTS)
def test_parts_share_one_namespace(part: str) -> None:
    """No `__init__.py` above the package (it would hide the other parts); `py.typed` in it."""
    assert not (ROOT / part / "__init__.py").exists()
    assert not (ROOT / part / "costledger" / "__init__.py").exists()
    assert (ROOT / part / "costledger" / part / "__init__.py").is_file()
    assert (ROOT / part / "costledger" / part / "py.typed").is_file()


def test_tests_are_no_packages() -> None:
    """pytest imports by path; an `__init__.py` would make module names of paths."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_top_level_holds_nothing_else() -> None:
    """Parts, tests, and the files that tools ask for."""
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".") and path.name != "__pycache__"}
    assert names - TOP_LEVEL == set()


def test_every_file_of_every_part_is_in_the_wheel(wheel: Path) -> None:
    """Schemas, SQL, prices, the demonstration's data, the broker's pom.xml: all that a part has beside its modules."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {path.relative_to(ROOT / part).as_posix() for part in PARTS for path in package_files(part)}
    assert expected - inside == set()
    suffixes = {Path(name).suffix for name in inside}
    assert {".avsc", ".sql", ".toml", ".csv", ".xml"} <= suffixes


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    """One top-level name, neither tests nor caches, and every compiled module once, or none."""
    inside = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in inside if name.endswith((".so", ".c"))) == sorted(
        name for part in PARTS for name in compiled_of(wheel, part)
    )
    assert {name.split("/")[0] for name in inside if ".dist-info/" not in name} == {"costledger"}
    assert [name for name in inside if "__pycache__" in name or name == "costledger/__init__.py"] == []


@pytest.mark.parametrize("part", PARTS)
def test_every_module_imports_from_the_installed_wheel(wheel: Path, installed: Path, part: str) -> None:
    """Each part with all its modules and compiled twins, from the wheel and not from the source roots."""
    code = f"""
import importlib, json, pkgutil
package = importlib.import_module("costledger.{part}")
found = [package.__file__]
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        found.append(importlib.import_module(module.name).__file__)
print(json.dumps(found))
"""
    modules = [Path(name) for name in json.loads(run_installed(installed, code).splitlines()[-1])]
    assert [path for path in modules if not path.is_relative_to(installed)] == []
    sources = {name for name in in_wheel(part, ".py") if not name.endswith("/__main__.py")}
    assert sorted(path.relative_to(installed).as_posix() for path in modules) == sorted(
        sources | compiled_of(wheel, part)
    )


def test_the_sdk_imports_nothing_of_the_extras(installed: Path) -> None:
    """A service that imports the SDK, and loads its settings, gets no stream engine, database driver or CLI."""
    code = """
import json, sys
from costledger.producers import CostTracker
from costledger.schemas import load_settings
load_settings()
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""
    modules = set(json.loads(run_installed(installed, code)))
    assert modules & NOT_IN_THE_SDK == set()
    assert {"costledger", "confluent_kafka", "fastavro"} <= modules


def test_the_names_outside_the_sdk_are_real() -> None:
    """Each name above but the API's is installed here, so that the test above can fail."""
    libraries = {path.name.removesuffix(".py") for path in Path(sysconfig.get_path("purelib")).iterdir()}
    assert {"faust", "psycopg", "redis", "typer", "avro", "aiokafka"} <= libraries & NOT_IN_THE_SDK


def test_no_place_of_one_machine_and_no_registry_is_named() -> None:
    """No absolute path of a home or temporary directory, no address of a package registry."""
    found = [f"{path}: {match.group()}" for path, text in texts() for match in FOREIGN.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "cd /home/" + "ann/x",
        '"/tmp' + '/x"',
        "/root" + "/.cache",
        "https://pypi" + ".org/simple",
        "https://repo1.maven" + ".org/maven2",
        "https://files.pythonhosted" + ".org/x",
    ],
)
def test_such_names_would_be_found(text: str) -> None:
    """The pattern finds what it is for."""
    assert FOREIGN.search(text)


@pytest.mark.parametrize("text", ["src/home/x", "./tmp/x", "/api/home/x", "~/work/x", "workflow", "maven"])
def test_other_names_would_not(text: str) -> None:
    """Relative paths and routes are nobody's place."""
    assert not FOREIGN.search(text)


def test_modules_are_short() -> None:
    """At most 400 lines each."""
    lengths = {path.relative_to(ROOT): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES_MAX} == {}


def test_accelerator_modules_are_twins() -> None:
    """Beside `_name.pyx` is `name.py`, which asks for it; what it imports, which import-linter does not see, is of its own
    part or below."""
    for part in PARTS:
        for path in (path for path in package_files(part) if path.suffix == ".pyx"):
            assert path.name.startswith("_"), path
            twin = path.with_name(path.stem[1:] + ".py")
            assert "twin_of(" in twin.read_text(encoding="utf-8"), path
            text = path.read_text(encoding="utf-8")
            assert set(re.findall(r"\bcostledger\.(\w+)", text)) <= {part, "schemas"}, path


def test_compiled_twins_are_of_their_sources() -> None:
    """None lies here that is older than its source: the other tests would try what is no longer written."""
    sources = [path for part in PARTS for path in package_files(part) if path.suffix == ".pyx"]
    compiled = [(path, path.with_name(path.stem + COMPILED)) for path in sources]
    old = [path.name for path, twin in compiled if twin.exists() and twin.stat().st_mtime < path.stat().st_mtime]
    assert old == [], "make install compiles them again"


def test_functions_are_short() -> None:
    """At most 70 lines each, their docstring included."""
    long = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert long == []


def test_modules_and_public_names_have_docstrings() -> None:
    """Every module, public class and public function says what it is."""
    bare = []
    for path in python_files():
        module = ast.parse(path.read_text(encoding="utf-8"))
        public = [
            node
            for node in module.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
        ]
        bare += [
            f"{path.relative_to(ROOT)}: {getattr(node, 'name', 'module')}"
            for node in [module, *public]
            if not ast.get_docstring(node) and (module.body or path.name != "__init__.py")
        ]
    assert bare == []
