"""`costledger demo`: see the whole system work, with nothing to install beside it and nothing left behind."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costledger.deploy.console import JsonOption, out, print_json, program, say
from costledger.deploy.context import command_settings

if TYPE_CHECKING:
    from costledger.deploy.demo.run import DemoResult

_NEXT = """\
Try next:
  {program} up   (the same system, to stay; with Apache Kafka, where Java is there)
and beside it, in another terminal:
  export COSTLEDGER_ENV_FILE={env_file}
  {program} emit --user you --service aws-rekognition --operation detectLabels --quantity 5
  {program} budget set you --monthly 20
  {program} reconcile"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Start here")(demo)


def demo(
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long the replay takes, in seconds.")] = 10,
    json: JsonOption = False,
) -> None:
    """Run the whole system in a temporary directory and replay a shipped sample of production traffic through it.

    Shows every user's total and the alerts as they fire; ends with the proof that topic, ledger, roll-ups and
    Redis agree. Needs no Java, no Docker, no root, and leaves nothing behind. Exit code 1 when anything differs.
    """
    from costledger.deploy.signals import Terminated, termination_raised

    command_settings()
    try:
        with termination_raised(), tempfile.TemporaryDirectory(prefix="costledger-demo-") as directory:
            result = _run(Path(directory), seconds, json=json)
    except Terminated:
        say("stopped before the end")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        say("stopped before the end")
        raise
    if json:
        print_json(result.to_document())
    else:
        _summarise(result)
    raise typer.Exit(0 if result.ok else 1)


def _run(directory: Path, seconds: float, *, json: bool) -> DemoResult:
    from costledger.deploy.demo.run import run_demo
    from costledger.deploy.demo.scenario import set_budgets
    from costledger.deploy.demo.screen import LiveScreen, PlainScreen, Screen
    from costledger.deploy.local_system import LEDGER_WORKERS, LocalSystem
    from costledger.deploy.signals import undisturbed

    screen: Screen = PlainScreen(say) if json else LiveScreen() if out().is_terminal else PlainScreen(print)
    system = LocalSystem(directory, "embedded", say, before_workers=set_budgets, workers=LEDGER_WORKERS)
    try:
        system.start()
        # What is read from the environment in this process shall find the demo's system, not the user's own.
        os.environ.update(system.environment)
        return run_demo(system, screen, seconds)
    finally:
        with undisturbed():
            system.stop()


def _summarise(result: DemoResult) -> None:
    from costledger.deploy.commands.reconcile import verdict
    from costledger.deploy.data_directory import default_data_dir

    print()
    print(f"{result.published.to_text()} in {result.seconds:.1f} s; {len(result.alerts)} alerts")
    print(verdict(result.report))
    print()
    print(_NEXT.format(program=program(), env_file=default_data_dir() / "costledger.env"))
