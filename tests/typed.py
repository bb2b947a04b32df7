"""What a person types, run in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result

from medclipsam import cli


def typed(*arguments: object) -> Result:
    """`medclipsam ARGUMENTS` on a terminal of 120 columns."""
    return CliRunner().invoke(cli.app, list(map(str, arguments)), prog_name="medclipsam", env={"COLUMNS": "120"})
