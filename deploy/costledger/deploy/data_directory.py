"""The directory in which `costledger up` keeps everything: who may use it, and what lies where."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from costledger.schemas.errors import SettingsError

_KEY_BYTES: Final = 48
_PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9_.,:/@%+=?-]*")


def default_data_dir() -> Path:
    """`$XDG_STATE_HOME/costledger`, by default `~/.local/state/costledger`."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "costledger"


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """The directory, made when needed, for this process alone; `SettingsError` when another one has it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock_fd = os.open(data_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock_fd, 32, 0).decode().strip()
            raise SettingsError(
                f"{data_dir} is in use by process {owner or 'unknown'}: stop that `costledger up`, "
                "or give this one another --data-dir"
            ) from None
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock_fd)


def services_dir(data_dir: Path, *, durable: bool) -> Path:
    """Where broker, PostgreSQL and Redis keep their data.

    The embedded broker forgets its topics, and a ledger without the topics that it was read from would hold
    offsets that mean other events now. So with it everything begins anew, in a directory of its own; what a
    durable broker's run left is not touched.
    """
    if durable:
        return data_dir
    embedded = data_dir / "embedded"
    if embedded.exists():
        shutil.rmtree(embedded)
    return embedded


def token_key_settings(data_dir: Path) -> dict[str, str]:
    """The settings that name this directory's key for API tokens; made once, readable by the owner alone.

    Tokens stay valid from one run to the next.
    """
    path = data_dir / "api-token.key"
    if not path.exists():
        new = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(_KEY_BYTES) + "\n")
        new.replace(path)
    if _PLAIN_VALUE.fullmatch(str(path)):
        return {"COSTLEDGER_API_TOKEN_KEY_FILE": str(path)}
    # A path that an environment file cannot carry; the key itself has no odd characters.
    return {"COSTLEDGER_API_TOKEN_KEY": path.read_text().strip()}


def write_env_file(path: Path, environment: Mapping[str, str]) -> None:
    """Write the settings as `NAME=value` lines, readable by the owner alone, whole or not at all."""
    for name, value in environment.items():
        # So that a shell, a .env reader and a line splitter all read the same.
        if not _PLAIN_VALUE.fullmatch(value):
            raise SettingsError(f"{name} holds characters that an environment file cannot carry")
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("# Written by `costledger up`, which removes it when it stops.\n")
        file.writelines(f"{name}={value}\n" for name, value in environment.items())
    new.replace(path)
