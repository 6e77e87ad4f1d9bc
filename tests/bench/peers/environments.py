"""Environments of the peers: made once, kept in the user's cache, named by versions and by what makes them.

The project depends on none of these libraries; a peer that cannot be had here is `PeerUnavailable`, with the reason.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from costledger.deploy.stack.errors import ProgramMissing
from costledger.deploy.stack.kafka_jars import find_java

INSTALL_SECONDS_MAX = 600.0
OUTPUT_CHARS_MAX = 1_500
#: Written last: a folder without it was left half made.
_DONE = ".complete"


class PeerUnavailable(RuntimeError):
    """A peer cannot be installed or run on this machine, and why."""


def pinned(requirements: Path, package: str) -> str:
    """The version of a package in a file of pip's; `PeerUnavailable` when it is not pinned there."""
    return _found(rf"^{re.escape(package)}==(\S+)$", requirements)


def pom_property(project: Path, name: str) -> str:
    """A property of a Maven project; `PeerUnavailable` when it has none of that name."""
    return _found(rf"<{re.escape(name)}>([^<]+)</", project / "pom.xml")


def python_environment(name: str, requirements: Path) -> Path:
    """The interpreter of a virtual environment with `requirements`, a file of pip's with every version pinned."""
    what = requirements.read_bytes() + sys.version.encode()

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)], folder)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--only-binary", ":all:", "--requirement", str(requirements)], folder)

    return _environment(name, what, make) / "bin" / "python"


def java_environment(name: str, project: Path) -> Path:
    """The folder of all jars that a Maven project's program needs, itself among them; built by Maven."""
    sources = sorted(path for path in project.rglob("*") if path.is_file())
    what = b"".join(bytes(path.relative_to(project)) + path.read_bytes() for path in sources)

    def make(folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise PeerUnavailable("Maven is needed to fetch it (Debian: apt install maven)")
        # A copy, because Maven writes beside the project.
        build = Path(shutil.copytree(project, folder / "build"))
        _run([maven, "-B", "-q", "-f", str(build / "pom.xml"), "package"], build)
        (build / "target" / "lib").rename(folder / "lib")
        for jar in (build / "target").glob("*.jar"):
            shutil.move(jar, folder / "lib" / jar.name)
        shutil.rmtree(build)

    return _environment(name, what, make) / "lib"


def java() -> str:
    """Path of a `java` that is new enough; `PeerUnavailable` without one."""
    try:
        return find_java()
    except ProgramMissing as error:
        raise PeerUnavailable(str(error)) from error


def _found(pattern: str, path: Path) -> str:
    match = re.search(pattern, path.read_text(), re.MULTILINE)
    if match is None:
        raise PeerUnavailable(f"{path.name} has no {pattern}")
    return match[1]


def _environment(name: str, what: bytes, make: Callable[[Path], None]) -> Path:
    folder = cache_folder() / f"{name}-{hashlib.sha256(what).hexdigest()[:8]}"
    with _alone(folder):
        if not (folder / _DONE).exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / _DONE).touch()
    return folder


def cache_folder() -> Path:
    """Where all environments are."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache.absolute() / "costledger" / "bench"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Others who want the same environment wait; bounded by the maker's own `INSTALL_SECONDS_MAX`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(argv: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"{Path(argv[0]).name} did not end within {INSTALL_SECONDS_MAX:g} s") from error
    if done.returncode != 0:
        raise PeerUnavailable(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout[-OUTPUT_CHARS_MAX:]}")
