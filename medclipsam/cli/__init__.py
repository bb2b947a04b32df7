"""What can be typed? Every command by name; its module is loaded when it is used, and no model before that.

A `UserError` ends in one line on stderr and exit code 2, like wrong usage; anything else is our bug and keeps its
traceback; Ctrl-C is 130.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from medclipsam import __version__
from medclipsam.errors import UserError
from medclipsam.notice import RESEARCH_USE_ONLY

COMMANDS = {
    "segment": "medclipsam.cli.segment:segment",
    "pseudolabel": "medclipsam.cli.batch:pseudolabel",
    "evaluate": "medclipsam.cli.evaluate:evaluate",
    "train": "medclipsam.cli.train:train",
    "finetune": "medclipsam.cli.train:finetune",
    "refine": "medclipsam.cli.refine:refine",
    "predict": "medclipsam.cli.batch:predict",
    "weights": "medclipsam.cli.manage:weights_app",
    "info": "medclipsam.cli.manage:info",
    "doctor": "medclipsam.cli.manage:doctor",
}
"""Where each command lives: a function, or a `Typer` with commands of its own."""


class LazyCommands(TyperGroup):
    """The commands of the table, loaded by name."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Load the command `cmd_name`; an unknown one ends in a usage error that names the nearest."""
        if cmd_name not in COMMANDS:
            nearest = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"No such command '{cmd_name}'." + (f" Did you mean '{nearest[0]}'?" if nearest else ""))
        module, attribute = COMMANDS[cmd_name].split(":")
        return _built(cmd_name, getattr(import_module(module), attribute))

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; what a user can mend is told in one line."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            typer.echo(f"medclipsam: {_one_line(str(error))}", err=True)
            raise typer.Exit(error.exit_code) from error


def _built(name: str, found: typer.Typer | Callable[..., Any]) -> Any:
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, epilog=RESEARCH_USE_ONLY)(found)
    return typer.main.get_command(single)


def _one_line(message: str) -> str:
    """Without line breaks and without characters that would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(message.split()))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"medclipsam {__version__}\n{RESEARCH_USE_ONLY}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=RESEARCH_USE_ONLY,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Segment a medical image from words."""


def main() -> None:
    """Run the command line; threads that wait for each other sleep, unless OMP_WAIT_POLICY says otherwise.

    Where others compute beside them, waiting awake takes two thirds of the processor time of a small network.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded, which is later
    app(prog_name="medclipsam")
