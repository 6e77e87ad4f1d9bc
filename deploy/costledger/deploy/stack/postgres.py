"""A local PostgreSQL server."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Literal

import psycopg
from psycopg import sql

from .errors import ServiceFailed, StackError
from .ports import LOOPBACK
from .postgres_binaries import PostgresBinaries, find_binaries, reachable_by
from .process import Account, Command
from .service import STOP_TIMEOUT_SECONDS, ProcessService, log_tail, write_private

__all__ = ["Postgres", "service_account"]

SUPERUSER = "postgres"
INITDB_TIMEOUT_SECONDS = 60.0
CONNECT_TIMEOUT_SECONDS = 5
_ACCOUNTS = ("postgres", "nobody")
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def service_account() -> Account | None:
    """The account that PostgreSQL runs as: ours (None), or for root, which it refuses, an unprivileged one."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(f"PostgreSQL does not run as root, and there is no user {' or '.join(_ACCOUNTS)}")


class Postgres(ProcessService):
    """PostgreSQL on loopback, with a generated password for the superuser `postgres`.

    `data_dir` holds `password` (mode 0600, ours), `postgres.log` and the cluster in `cluster/`. There is no
    Unix socket: its path could be too long, and everybody connects by TCP. `fsync=False` is for tests: a crash
    of the machine may then cost the data, a crash of the server does not. `passwordless_role` may connect from
    this machine without a password (decided when the cluster is made).

    Run by root, the cluster belongs to `service_account()`, who may not be able to walk down to it (data below
    /root or a temporary directory of mode 0700). No mode is changed for that and no capability is
    left to the server, which could read every file with it: the server gets the directory as an open file
    descriptor and is told to use /proc/self/fd/N, which needs no permission on the directories above.
    """

    name = "postgres"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        log_path: Path | None = None,
        fsync: bool = True,
        passwordless_role: str | None = None,
    ) -> None:
        super().__init__(data_dir, port=port, log_path=log_path)
        self.fsync = fsync
        self._passwordless_role = passwordless_role
        self._cluster = self.data_dir / "cluster"
        self._account = service_account()
        self._binaries: PostgresBinaries | None = None
        self._password = ""

    @property
    def url(self) -> str:
        """URL of the superuser in the database `postgres`."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """URL of the superuser in the database."""
        return f"postgresql://{SUPERUSER}:{self._password}@{self.address}/{database}"

    def create_database(self, name: str) -> str:
        """Create the database unless it exists; its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.database_url(name)

    def stop(
        self,
        timeout_seconds: float = STOP_TIMEOUT_SECONDS,
        *,
        mode: Literal["smart", "fast", "immediate"] = "fast",
    ) -> None:
        """End it: `fast` rolls open transactions back, `immediate` leaves recovery to the next start."""
        self._end(_STOP_SIGNALS[mode], timeout_seconds)

    def _prepare(self) -> None:
        password_file = self.data_dir / "password"
        version_file = self._cluster / "PG_VERSION"
        major = int(version_file.read_text()) if version_file.exists() else None
        self._binaries = find_binaries(major)
        if self._account is not None:
            self._binaries = reachable_by(self._account, self._binaries)
        if major is None:
            write_private(password_file, secrets.token_urlsafe(24))
            self._initialise(self._binaries, password_file.read_text())
        self._password = password_file.read_text()

    def _initialise(self, binaries: PostgresBinaries, password: str) -> None:
        """Run initdb beside the final place and rename, so that an interrupted one leaves no half cluster."""
        new = self._cluster.with_name("cluster.new")
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        if self._account is not None:
            os.chown(new, self._account.uid, self._account.gid)
        directory_fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # An unlinked file of the account: the password is in no argument and in no readable file.
            with tempfile.TemporaryFile() as password_input:
                password_input.write(f"{password}\n".encode())
                password_input.flush()
                if self._account is not None:
                    os.fchown(password_input.fileno(), self._account.uid, self._account.gid)
                self._run_initdb(binaries, self._path_for_server(new, directory_fd), directory_fd, password_input)
        finally:
            os.close(directory_fd)
        if self._passwordless_role is not None:
            access = new / "pg_hba.conf"
            rule = f"host all {self._passwordless_role} {LOOPBACK}/32 trust\n"
            access.write_text(rule + access.read_text())
        new.rename(self._cluster)

    def _run_initdb(
        self, binaries: PostgresBinaries, directory: str, directory_fd: int, password_input: IO[bytes]
    ) -> None:
        argv = [str(binaries.bin_dir / "initdb"), "-D", directory, "--username", SUPERUSER]
        argv += ["--pwfile=/dev/stdin", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
        if not self.fsync:
            argv.append("--no-sync")
        account = self._account
        with self.log_path.open("ab") as log:
            result = subprocess.run(
                argv,
                stdin=password_input,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                pass_fds=(directory_fd,),
                timeout=INITDB_TIMEOUT_SECONDS,
                check=False,
                user=None if account is None else account.uid,
                group=None if account is None else account.gid,
                extra_groups=None if account is None else [],
            )
        if result.returncode != 0:
            tail = log_tail(self.log_path).decode(errors="replace")
            raise ServiceFailed(self.name, f"initdb failed with {result.returncode}", self.log_path, tail)

    def _path_for_server(self, directory: Path, directory_fd: int) -> str:
        return str(directory) if self._account is None else f"/proc/self/fd/{directory_fd}"

    def _command(self, port: int) -> Command:
        assert self._binaries is not None  # noqa: S101 - _prepare ran before; for the type checker
        directory_fd = os.open(self._cluster, os.O_RDONLY | os.O_DIRECTORY)
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",
            "fsync": "on" if self.fsync else "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
        }
        argv = [str(self._binaries.bin_dir / "postgres"), "-p", str(port)]
        argv += ["-D", self._path_for_server(self._cluster, directory_fd)]
        for setting, value in settings.items():
            argv += ["-c", f"{setting}={value}"]
        return Command(
            argv=tuple(argv),
            stop_signal=signal.SIGINT,
            account=self._account,
            pass_fds=(directory_fd,),
            environment={"LC_ALL": "C.UTF-8"},
        )

    def _after_spawn(self, command: Command) -> None:
        for directory_fd in command.pass_fds:
            os.close(directory_fd)

    def _ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=CONNECT_TIMEOUT_SECONDS).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise StackError(f"the server on {self.address} does not take our password: {error}") from error
            return False
        return True
