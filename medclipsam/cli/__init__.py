"""Names every command that can be typed; its module is loaded when it is used, and no model before that.

A `UserError` ends in one line on stderr and exit code 2, like wrong usage; anything else is our bug and keeps its
traceback; Ctrl-C is 130.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import medclipsam
from medclipsam.cli.console import replace_what_cannot_be_shown, say
from medclipsam.errors import UserError
from medclipsam.notice import RESEARCH_USE_ONLY

COMMANDS = {
    "segment": "medclipsam.cli.segment:segment",
    "pseudolabel": "medclipsam.cli.batch:pseudolabel",
    "evaluate": "medclipsam.cli.evaluate:evaluate",
    "export": "medclipsam.cli.export:export",
    "serve": "medclipsam.cli.serve:serve",
    "review": "medclipsam.cli.serve:review",
    "client": "medclipsam.cli.client:client",
    "mcp": "medclipsam.cli.mcp:mcp",
    "train": "medclipsam.cli.train:train",
    "finetune": "medclipsam.cli.train:finetune",
    "refine": "medclipsam.cli.refine:refine",
    "predict": "medclipsam.cli.batch:predict",
    "weights": "medclipsam.cli.manage:weights_app",
    "info": "medclipsam.cli.manage:info",
    "doctor": "medclipsam.cli.manage:doctor",
}
"""Where each command lives: a function, or a `Typer` with commands of its own."""

SUMMARIES = {
    "segment": "Segment what the prompts name in one scan.",
    "pseudolabel": "Segment every scan of a folder: masks to look through, and to learn from.",
    "evaluate": "Measure predicted masks against references: Dice, IoU, NSD, HD95, ASSD, with intervals.",
    "export": "Export the masks of a pseudolabel folder to other tools.",
    "serve": "Answer over HTTP on this machine, with models that stay loaded, and a page to look at; Ctrl-C ends it.",
    "review": "Look through pseudo-labels in the browser, the least sure first: accept, reject, correct; Ctrl-C ends.",
    "client": "Segment one scan by a server that runs: the files of `segment`, without loading a model here.",
    "mcp": "Offer segment, targets and evaluate as tools of the Model Context Protocol, over stdin and stdout.",
    "train": "Train a method, or go on with a run that was stopped.",
    "finetune": "Fine-tune a CLIP on images and captions (MedCLIP-SAMv2, section 3.1); "
    "`segment --weights RUN` uses it.",
    "refine": "Train on pseudo-labels (MedCLIP-SAMv2's weakly supervised step); `predict RUN SCANS` uses the result.",
    "predict": "Segment scans with a refined run.",
    "weights": "List, fetch and check trained weights.",
    "info": "Show versions, the device, methods, presets, formats, extras and the weights that are here.",
    "doctor": "Check that this machine can run the default preset; exit code 1 when it cannot.",
}
"""The first line of each command's help, so that the list of commands is shown without loading any."""

_USUAL = gc.get_threshold()


class LazyCommands(TyperGroup):
    """The commands of the table, loaded by name."""

    _listing = False

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """The names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]
        """Load the command `cmd_name`; an unknown one ends in a usage error that names the nearest.

        Where commands are only listed, the summary of one stands for it.
        """
        if self._listing and cmd_name in SUMMARIES:
            return TyperCommand(cmd_name, help=_as_it_is(SUMMARIES[cmd_name]))
        if cmd_name not in COMMANDS:
            nearest = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"No such command '{cmd_name}'." + (f" Did you mean '{nearest[0]}'?" if nearest else ""))
        module, attribute = COMMANDS[cmd_name].split(":")
        return _built(cmd_name, getattr(import_module(module), attribute))

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Show the help of the program."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Read the command line and run it; a console that lacks a character is no reason to fail."""
        replace_what_cannot_be_shown()
        return super().main(*arguments, **options)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command; what a user can mend is told in one line."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            say(f"medclipsam: {_one_line(str(error))}", err=True)
            raise typer.Exit(error.exit_code) from error


def _built(name: str, found: typer.Typer | Callable[..., Any]) -> Any:
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.name = name
        return _with_brackets(group)
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    single.command(name, epilog=RESEARCH_USE_ONLY)(found)
    return _with_brackets(typer.main.get_command(single))


def _with_brackets(command: Any) -> Any:
    """The command with help that shows every bracket: rich takes `[nnunet]` for a style, and leaves it out."""
    command.help = _as_it_is(command.help)
    for parameter in command.params:
        if isinstance(getattr(parameter, "help", None), str):
            parameter.help = _as_it_is(parameter.help)
    for part in getattr(command, "commands", {}).values():
        _with_brackets(part)
    return command


def _as_it_is(text: str | None) -> str | None:
    if text is None or "[" not in text:
        return text
    from rich.markup import escape

    return escape(text)


def _one_line(message: str) -> str:
    """Without line breaks and without characters that would steer a terminal."""
    return "".join(character if character.isprintable() else "?" for character in " ".join(message.split()))


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"medclipsam {medclipsam.__version__}\n{RESEARCH_USE_ONLY}")
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
    """Run the command line."""
    set_up()
    app(prog_name="medclipsam")


def set_up() -> None:
    """Prepare the process for a short run, before any library is loaded; what the environment says goes before."""
    # Read when torch is loaded, which is later. Threads that wait for each other sleep: awake, where others compute
    # beside them, they take two thirds of the processor time of a small network.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Read when torch takes memory: in huge pages a map of 64 MB costs 32 page faults in place of 16,000 (Linux).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    # Loading libraries makes a million objects that stay; looking through them for garbage every 700 takes 0.3 s.
    gc.set_threshold(50_000, 10, 10)


def settle() -> None:
    """Look for garbage as often as Python does of itself, now that what stays is loaded, and never among that again.

    Scans of many slices leave objects that refer to each other, and hold pixels.
    """
    gc.freeze()
    gc.set_threshold(*_USUAL)
