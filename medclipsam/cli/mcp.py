"""The command `medclipsam mcp`: tools for language models and other programs, over stdin and stdout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclipsam.cli.console import need_extra
from medclipsam.cli.gathered import offered
from medclipsam.cli.models import ChosenModels
from medclipsam.cli.options import panel

places = panel("Places")


@offered
def mcp(
    *,
    folder: Annotated[list[Path], places("Folder below which scans and masks may be read; repeatable.", "--folder")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results, each scan's in a folder of its own.")
    ],
    load: ChosenModels,
) -> None:
    """Offer segment, targets and evaluate as tools of the Model Context Protocol, over stdin and stdout.

    Nothing outside the folders is read, nothing but the output folder is written, and no connection is opened. For a
    client's settings: the command `medclipsam` with the arguments `mcp --folder DIR -o DIR`.
    """
    need_extra("mcp", "mcp", "mcp")
    from medclipsam.io.atomic import check_folder
    from medclipsam.serve.answers import Answers
    from medclipsam.serve.run import check_folders, hush
    from medclipsam.serve.tools import make_server

    check_folders(folder)
    check_folder(output)
    hush()
    answers = Answers(load, seed=load.seed, folders=folder)
    try:
        make_server(answers, output).run()
    finally:
        answers.close()
