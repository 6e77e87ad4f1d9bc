"""`costledger up`: the whole system on one machine, until it is told to stop."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from costledger.deploy.console import program, say
from costledger.deploy.context import command_settings

if TYPE_CHECKING:
    from costledger.deploy.local_system import LocalSystem

_TICK_SECONDS: Final = 0.2


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Start here")(up)


def up(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Everything is kept here. Default: $XDG_STATE_HOME/costledger or ~/.local/state/costledger.",
        ),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="COSTLEDGER_* lines are written here once ready, for the owner alone; removed at the end. "
            "Default: costledger.env in the data directory.",
        ),
    ] = None,
    broker: Annotated[
        Literal["auto", "apache", "embedded"],
        typer.Option(
            help="apache: Apache Kafka, keeps everything (needs Java 17). embedded: needs nothing, forgets "
            "everything, ledger included, at every stop. auto: apache where Java is there.",
        ),
    ] = "auto",
) -> None:
    """Run the whole system on this machine: broker, PostgreSQL, Redis, stream worker, sink, notifier, API.

    Prints `ready` on stdout when all of it works. A worker that dies is started again after 0.5 to 30 seconds.
    SIGTERM and Ctrl-C drain and stop all of it. Logs: the directory `logs` in the data directory.
    """
    from costledger.deploy.data_directory import claimed, default_data_dir
    from costledger.deploy.signals import Terminated, termination_raised
    from costledger.schemas.settings import ENV_FILE_VARIABLE

    directory = (data_dir or default_data_dir()).absolute()
    path = (env_file or directory / "costledger.env").absolute()
    if Path(os.environ.get(ENV_FILE_VARIABLE, os.devnull)).absolute() == path:
        # A shell that is set up for the commands beside `up`: for `up` itself it is the file to be written.
        del os.environ[ENV_FILE_VARIABLE]
    command_settings()
    try:
        with termination_raised(), claimed(directory):
            _run(directory, path, broker)
    except Terminated:
        say("stopped")


def _run(directory: Path, env_file: Path, broker: Literal["auto", "apache", "embedded"]) -> None:
    from costledger.deploy.data_directory import write_env_file
    from costledger.deploy.local_system import LocalSystem
    from costledger.deploy.signals import undisturbed

    env_file.unlink(missing_ok=True)  # of a run that was killed: its addresses are wrong by now
    system = LocalSystem(directory, broker, say)
    try:
        system.start()
        write_env_file(env_file, system.environment)
        _announce(system, env_file)
        while True:
            system.tick()
            time.sleep(_TICK_SECONDS)
    finally:
        with undisturbed():
            env_file.unlink(missing_ok=True)
            system.stop()


def _announce(system: LocalSystem, env_file: Path) -> None:
    stack = system.stack
    for name, service in stack.services.items():
        print(f"{name:<10} {service.address}")
    print(f"{'api':<10} {system.environment['COSTLEDGER_API_URL']}")
    print(f"{'settings':<10} {env_file}")
    print(f"{'try':<10} COSTLEDGER_ENV_FILE={env_file} {program()} reconcile")
    print(f"{'token':<10} COSTLEDGER_ENV_FILE={env_file} {program()} token --user ME --role operator")
    print(stack.durability)
    if not system.durable:
        print("With the embedded broker the ledger too begins empty at every start.")
    print("ready", flush=True)
