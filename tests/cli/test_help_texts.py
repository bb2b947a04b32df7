"""Help of every command: each option says in a full phrase what it does, and names what it can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from medclipsam import cli


def commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and what it is called by."""
    context = group.make_context("medclipsam", [], resilient_parsing=True)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


COMMANDS = dict(commands(typer.main.get_command(cli.app)))
OPTIONS = [
    pytest.param(each, id=f"{name} {each.opts[0]}")
    for name, command in COMMANDS.items()
    for each in command.params
    if each.name != "help"
]
PAPER_NAMES = ("finetune", "refine")
BESIDE = {"config", "settings"}


def test_every_command_is_looked_at() -> None:
    assert {"segment", "train", "finetune", "refine"} <= COMMANDS.keys()
    assert len(OPTIONS) > 60


@pytest.mark.parametrize("parameter", OPTIONS)
def test_an_option_says_what_it_does(parameter: Any) -> None:
    text = getattr(parameter, "help", None)
    assert text, "it has no help"
    assert not text.startswith(("Of ", "Its ", "Whose ", "What for")), text
    assert text[0].isupper() and text.rstrip("]").endswith((".", ")")), text
    assert len(text.split()) > 2, text


@pytest.mark.parametrize("name", PAPER_NAMES)
def test_the_papers_commands_have_at_most_15_options_beside_config_and_set(name: str) -> None:
    options = [each for each in COMMANDS[name].params if each.param_type_name == "option"]
    options = [each for each in options if each.name not in BESIDE | {"help"}]
    assert len(options) <= 15, [each.name for each in options]
    assert {each.name for each in COMMANDS[name].params} >= BESIDE


@pytest.mark.parametrize("name", ["train", *PAPER_NAMES])
def test_an_option_of_training_shows_its_default(name: str) -> None:
    """Flags are off; a file of settings and settings that are repeated have none."""
    told = [each for each in COMMANDS[name].params if each.param_type_name == "option"]
    silent = [each.name for each in told if each.default is None and not isinstance(each.show_default, str)]
    assert silent == [name for name in ("config", "settings") if name in silent]
