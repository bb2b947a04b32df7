"""Options that commands share: offered in the place of what is made of them, and each made from what was typed."""

from __future__ import annotations

from inspect import signature
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from medclipsam.cli.gathered import Gathered, offered


def area_of(*, height: Annotated[int, typer.Option(help="In pixels.")], width: int = 2) -> int:
    return height * width


Area = Annotated[int, Gathered(area_of)]


def both(first: str, *, area: Area, last: int = 5) -> None:
    typer.echo(f"{first} {area} {last}")


def plain(*, area: int = 1) -> None:
    typer.echo(area)


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        (both, ["a", "--height", "3"], "a 6 5"),
        (both, ["a", "--height", "3", "--width", "4", "--last", "7"], "a 12 7"),
        (plain, ["--area", "9"], "9"),
    ],
)
def test_a_command_gets_what_is_made_of_its_options(command: object, arguments: list[str], told: str) -> None:
    app = typer.Typer()
    app.command()(offered(command))  # type: ignore[arg-type]
    result = CliRunner().invoke(app, arguments)
    assert result.output.strip() == told


def test_options_stand_where_what_they_make_stood() -> None:
    assert list(signature(offered(both)).parameters) == ["first", "height", "width", "last"]
