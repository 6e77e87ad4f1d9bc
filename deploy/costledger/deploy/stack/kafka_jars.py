"""The jars of Apache Kafka: fetched once with Maven, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from .errors import ProgramMissing, StackError

__all__ = ["KAFKA_VERSION", "apache_kafka_available", "cached_jars", "ensure_jars", "find_java"]

FETCH_TIMEOUT_SECONDS = 600.0
JAVA_PROBE_TIMEOUT_SECONDS = 20.0
JAVA_MAJOR_MIN = 17
OUTPUT_CHARS_MAX = 4000
_POM = Path(__file__).with_name("pom.xml")
_JAVA_REMEDY = "Apache Kafka needs Java 17 or later (Debian: apt install default-jre-headless)"
_MVN_REMEDY = "Maven fetches Apache Kafka (Debian: apt install maven); or use the embedded broker"
_NO_MVN_REMEDY = "Where it cannot be fetched use the embedded broker (costledger up --broker embedded)"


def _version_in(pom: str) -> str:
    match = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", pom)
    if match is None:
        raise StackError(f"{_POM} names no kafka.version")
    return match[1]


KAFKA_VERSION = _version_in(_POM.read_text())


def find_java() -> str:
    """Path of `java`: $JAVA_HOME first, then PATH. ProgramMissing when there is none, or only older ones."""
    seen = []
    for candidate in (Path(os.environ.get("JAVA_HOME", "/nonexistent")) / "bin" / "java", shutil.which("java")):
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        major = _java_major(str(candidate))
        if major >= JAVA_MAJOR_MIN:
            return str(candidate)
        seen.append(f"{candidate} is version {major}")
    raise ProgramMissing(f"Java {JAVA_MAJOR_MIN}+", "; ".join([*seen, _JAVA_REMEDY]))


@cache
def _java_major(java: str) -> int:
    """The major version, from the quoted one that `java -version` writes to its standard error."""
    result = subprocess.run(
        [java, "-version"], capture_output=True, text=True, check=False, timeout=JAVA_PROBE_TIMEOUT_SECONDS
    )
    match = re.search(r'version "(\d+)', result.stderr)
    if match is None:
        raise StackError(f"{java} -version says {result.stderr!r}: no version in it")
    return int(match[1])


def cached_jars() -> Path:
    """Directory where the jars are, or will be: named by version and by a digest of the POM."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]
    return cache.absolute() / "costledger" / f"kafka-{KAFKA_VERSION}-{digest}"


def apache_kafka_available() -> bool:
    """True when Apache Kafka can run here: Java, and the jars or Maven to fetch them."""
    try:
        find_java()
    except ProgramMissing:
        return False
    return cached_jars().is_dir() or shutil.which("mvn") is not None


def ensure_jars(on_progress: Callable[[str], None] | None = None) -> Path:
    """The directory of the jars, fetched when it is not there yet (about 43 MB).

    Processes that ask at the same time wait for the first one. The directory appears complete or not at
    all. ProgramMissing without Maven, StackError with Maven's own words when it fails.
    """
    jars = cached_jars()
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise ProgramMissing("mvn", _MVN_REMEDY)
    jars.parent.mkdir(parents=True, exist_ok=True)
    with jars.with_name(f"{jars.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # bounded by the other's own FETCH_TIMEOUT_SECONDS
        if jars.is_dir():
            return jars
        if on_progress is not None:
            on_progress(f"fetching Apache Kafka {KAFKA_VERSION} with mvn (43 MB, once)")
        with tempfile.TemporaryDirectory(dir=jars.parent, prefix=".fetch-") as scratch:
            new = Path(scratch) / "jars"
            _fetch(maven, Path(scratch), new)
            new.rename(jars)
    return jars


def _fetch(maven: str, work: Path, target: Path) -> None:
    # A copy of the POM, because Maven may write beside it and the package may be read-only.
    pom = Path(shutil.copy(_POM, work / "pom.xml"))
    argv = [maven, "-B", "-q", "-Dstyle.color=never", "-f", str(pom), "dependency:copy-dependencies"]
    argv += [f"-DoutputDirectory={target}", "-DincludeScope=runtime"]
    try:
        result = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=work,
            check=False,
            timeout=FETCH_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"mvn did not fetch Apache Kafka within {FETCH_TIMEOUT_SECONDS:g} s. {_NO_MVN_REMEDY}"
        ) from error
    if result.returncode != 0 or not any(target.glob("kafka_*.jar")):
        said = result.stdout[-OUTPUT_CHARS_MAX:].strip()
        raise StackError(f"mvn could not fetch Apache Kafka {KAFKA_VERSION}. {_NO_MVN_REMEDY}\n{said}")
