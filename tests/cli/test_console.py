"""What the command line says: characters are shown or replaced, brackets kept, and with --json nothing else is said."""

from __future__ import annotations

import ctypes
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from bright import bright_square
from PIL import Image
from test_help_texts import COMMANDS
from typed import typed
from typer.testing import CliRunner

from medclipsam import cli, report
from medclipsam.cli import console
from medclipsam.errors import BadInput

ROOT = Path(cli.__file__).parents[2]
BRACKETS = "pip install 'medclipsam[nnunet]' [liver] [/liver] [bold]x[/bold] [1:2] [a|b]"


def on_a_console(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """`medclipsam ARGUMENTS` in a process of its own, on a console of few characters."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "medclipsam", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, env=environment, check=False)


def prompt_of(told: str) -> str:
    return str(json.loads(told)["images"][0]["results"][0]["prompt"])


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    Image.fromarray(bright_square(40, 60, top=5, left=20, side=10)).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_a_prompt_that_the_console_cannot_show_is_answered_and_replaced(tmp_path: Path, scan: Path) -> None:
    prompt = "опухоль 肝臓 🫁 é"
    asked = ["segment", scan, "-p", prompt, "--device", "cpu"]
    told = on_a_console("cp1252", *asked, "-o", tmp_path / "words")
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.decode("cp1252").startswith("??????? ?? ? é: ")
    assert prompt_of((tmp_path / "words" / "report.json").read_text("utf-8")) == prompt
    exact = on_a_console("cp1252", *asked, "-o", tmp_path / "json", "--json")
    assert prompt_of(exact.stdout.decode("cp1252")) == prompt


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp932", "utf-8", "utf-16-le"])
@pytest.mark.parametrize("text", ["опухоль 肝臓 🫁 é", "a file \udcff", "plain"])
def test_words_are_replaced_and_json_is_escaped_where_a_stream_lacks_them(
    text: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    console.replace_what_cannot_be_shown()
    console.say(text, end="")
    assert stream.buffer.getvalue().decode(encoding) == text.encode(encoding, "replace").decode(encoding)
    stream.buffer.truncate(0), stream.buffer.seek(0)
    console.say_json(json.dumps({"prompt": text}, ensure_ascii=False))
    assert json.loads(stream.buffer.getvalue().decode(encoding)) == {"prompt": text}


def test_an_error_and_help_that_the_console_cannot_show_are_no_failure(tmp_path: Path) -> None:
    refused = on_a_console("cp1252", "segment", tmp_path / "опухоль.png", "-p", "x")
    assert refused.returncode == 2
    assert refused.stderr.startswith(b"medclipsam: ")
    assert on_a_console("ascii", "segment", "--help").returncode == 0
    assert on_a_console("ascii", "info").returncode == 0


def test_a_runner_with_few_characters_is_served_as_well() -> None:
    class Narrow(CliRunner):
        def __init__(self) -> None:
            super().__init__(charset="cp1252")

    result = Narrow().invoke(cli.app, ["weights", "path", "肝臓"], prog_name="medclipsam")
    assert (result.exit_code, type(result.exception)) == (2, SystemExit)


@pytest.fixture
def bracketed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command whose texts are full of brackets, and that fails with one."""

    def brackets(
        place: str = typer.Argument("x", help=f"Argument: {BRACKETS}"),
        choice: str = typer.Option("x", help=f"Option: {BRACKETS}", metavar="[one|two]", show_default="[none]"),
    ) -> None:
        raise BadInput(BRACKETS, BRACKETS)

    brackets.__doc__ = f"Summary: {BRACKETS}"
    monkeypatch.setattr(cli, "brackets_for_test", brackets, raising=False)
    monkeypatch.setitem(cli.COMMANDS, "brackets", "medclipsam.cli:brackets_for_test")
    monkeypatch.setitem(cli.SUMMARIES, "brackets", f"Listed: {BRACKETS}")


def shown(*arguments: str) -> str:
    """Help on a wide terminal, without frames and breaks of lines."""
    result = CliRunner(env={"COLUMNS": "400"}).invoke(cli.app, list(arguments), prog_name="medclipsam")
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.output).split())


@pytest.mark.usefixtures("bracketed")
def test_every_bracket_of_help_and_errors_is_shown() -> None:
    page = shown("brackets", "--help")
    for part in ("Summary", "Argument", "Option"):
        assert f"{part}: {BRACKETS}" in page
    assert "[one|two]" in page
    assert "[none]" in page
    assert f"Listed: {BRACKETS}" in shown("--help")
    assert shown("brackets") == f"medclipsam: {BRACKETS}; {BRACKETS}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_bracket_of_a_commands_help_is_shown(name: str) -> None:
    command = COMMANDS[name]
    texts = [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]
    brackets = [found for text in texts if text for found in re.findall(r"\[[^\[\]]*\]", text.replace("\\[", "["))]
    page = shown(*name.split(), "--help")
    assert [found for found in brackets if " ".join(found.split()) not in page] == []
    assert "\\[" not in page


def test_a_wrong_choice_in_brackets_is_shown() -> None:
    assert "'[liver]'" in shown("segment", "scan.png", "-p", "x", "--seg-type", "[liver]")
    assert "'[/liver]'" in shown("[/liver]")


def loudly(*_: object) -> None:
    """What libraries do: print, from Python, from C, and from a process of their own."""
    print("noise from Python")  # noqa: T201
    os.write(1, b"noise from C\n")
    ctypes.CDLL(None).puts(b"noise that C holds back")
    subprocess.run(["echo", "noise of a process"], check=True)


def test_what_libraries_print_while_a_command_works_is_not_on_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    with console.progress() as tell:
        tell("working", 0, 0)
        loudly()
    console.say("outcome")
    out, err = capfd.readouterr()
    assert out == "outcome\n"
    assert err.count("noise") == 4


def test_every_word_goes_through_the_console() -> None:
    speakers = {
        path for path in Path(cli.__file__).parent.glob("*.py") if path.stem not in ("console", "progress_line")
    }
    said = re.compile(r"typer\.(echo|secho)|(?<![\w.])print\(|Console\(|sys\.std(out|err)\.write")
    assert [path.name for path in speakers if said.search(path.read_text("utf-8"))] == []


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something prints at every stage of a run, and where versions are looked up."""
    monkeypatch.setattr(console, "_quiet", loudly)
    versions = report.versions

    def told() -> dict[str, str]:
        loudly()
        return versions()

    monkeypatch.setattr(report, "versions", told)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Scans, captions, labels and a run of each kind, made as they are needed."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(6):
        Image.fromarray(bright_square(40, 60, top=4 + number, left=20, side=10)).save(scans / f"{number}.png")
    np.save(tmp_path / "one.npy", bright_square(40, 60, top=5, left=20, side=10))
    rows = [f"{number}.png,a breast tumor number {number},case{number}" for number in range(6)]
    (tmp_path / "captions.csv").write_text("\n".join(["image,caption,case", *rows]))
    here = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(here)


SMALL = ["--set", "epochs=2", "--set", "cycles=1", "--set", "keep=1", "--set", "side=32", "--set", "widths=[4,8,16]"]
CLIP = ["captions.csv", "--set", "images=scans", "--set", "epochs=1", "--set", "batch_size=2", "--device", "cpu"]
WITH_JSON: dict[str, list[str]] = {
    "segment": ["segment", "one.npy", "-p", "tumor", "-o", "one"],
    "pseudolabel": ["pseudolabel", "scans", "-p", "tumor", "-o", "labels"],
    "refine": ["refine", "labels", "--images", "scans", "-o", "run", "--device", "cpu", *SMALL],
    "export": ["export", "labels", "--to", "coco", "--images", "scans", "-o", "exported"],
    "predict": ["predict", "run", "scans", "-o", "masks", "--device", "cpu"],
    "train": ["train", "clip-embedded", *CLIP, "-o", "trained"],
    "finetune": ["finetune", *CLIP, "--preset", "embedded", "-o", "tuned"],
    "weights list": ["weights", "list"],
    "weights verify": ["weights", "verify", "lite-medsam"],
    "info": ["info"],
    "doctor": ["doctor"],
}
NEEDS = {"export": ["pseudolabel"], "refine": ["pseudolabel"], "predict": ["pseudolabel", "refine"]}


ELSEWHERE = {"serve", "review", "client", "weights path", "weights import", "weights pull"}
"""Commands that need a server or files; their JSON is held by `tests/serve` and `tests/cli/test_json.py`."""


def test_every_command_with_json_is_tried() -> None:
    asked = {name for name, command in COMMANDS.items() for each in command.params if is_json_flag(each)}
    assert asked - ELSEWHERE == set(WITH_JSON)


def is_json_flag(parameter: Any) -> bool:
    return "--json" in parameter.opts and parameter.is_flag


@pytest.mark.usefixtures("loaded", "noisy", "folder")
@pytest.mark.parametrize("name", WITH_JSON)
def test_with_json_stdout_is_json_and_nothing_else(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    for needed in NEEDS.get(name, []):
        assert typed(*WITH_JSON[needed]).exit_code == 0
    capfd.readouterr()
    result = typed(*WITH_JSON[name], "--json")
    assert result.exit_code == 0, result.output
    json.loads(result.stdout)
    out, _ = capfd.readouterr()
    assert "noise" not in out
