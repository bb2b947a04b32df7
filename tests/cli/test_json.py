"""Every command speaks to programs: `--json` gives one JSON document on stdout, all else goes to stderr."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from bright import bright_square
from PIL import Image
from typed import typed

from medclipsam import cli
from medclipsam.cli import COMMANDS, LazyCommands
from medclipsam.cli.console import NOTHING_READ
from medclipsam.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SPEAKS_A_PROTOCOL = {"mcp"}
"""Its stdout is the client's."""


def commands() -> dict[str, Any]:
    """Every command and command of a command, by what is typed."""
    group = typer.main.get_command(cli.app)
    context = typer.Context(group)
    assert isinstance(group, LazyCommands)
    found: dict[str, Any] = {}
    for name in COMMANDS:
        command = group.get_command(context, name)
        below = getattr(command, "commands", {})
        found |= {f"{name} {part}": each for part, each in below.items()} or {name: command}
    return found


def test_every_command_takes_json() -> None:
    assert {name for name, each in commands().items() if not _takes(each, "--json")} <= SPEAKS_A_PROTOCOL


def _takes(command: Any, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two scans, and a file that is none."""
    (tmp_path / "scans").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(bright_square(40, 60, 5, 20, 10)).save(tmp_path / "scans" / name)
    (tmp_path / "scans" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path / "scans"


def spoken(*words: object) -> Any:
    """What a command prints on stdout, as a value."""
    result = typed(*map(str, words))
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("loaded")
def test_runs_over_scans_print_one_document(scans: Path, tmp_path: Path) -> None:
    out, labels = tmp_path / "out", tmp_path / "labels"
    assert spoken("segment", scans / "a.png", "-p", "x", "-o", out, "--json")["images"]
    counted = spoken("pseudolabel", scans, "-p", "x", "-o", labels, "--json")
    assert counted["counts"] == {"done": 2, "refused": 1}
    written = spoken("export", labels, "--to", "coco", "--images", scans, "-o", tmp_path / "coco", "--json")
    assert isinstance(written, dict)
    (tmp_path / "truth").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.eye(40, 60, dtype=np.uint8) * 255).save(tmp_path / "truth" / name)
    measured = spoken("evaluate", labels, tmp_path / "truth", "--json", "-")
    assert measured["counts"]["compared"] == 2


def test_what_tells_of_this_machine_prints_one_document() -> None:
    assert {"methods", "presets", "targets", "formats", "extras", "weights"} <= spoken("info", "--json").keys()
    assert "liver" in {row["target"] for row in spoken("info", "--targets", "--json")}
    assert spoken("weights", "list", "--json")["compact"]["licence"]
    assert Path(spoken("weights", "path", "compact", "--json")["compact"]).is_file()
    assert spoken("weights", "verify", "compact", "--json")["compact"]["state"] == "verified"
    assert spoken("weights", "pull", "compact", "--json").keys() == {"compact"}
    assert spoken("train", "clip", "--show-config", "--json")
    assert "healthy" in spoken("doctor", "--json")


def test_what_cannot_be_used_is_said_on_stderr_alone(tmp_path: Path) -> None:
    code = "import medclipsam.cli; medclipsam.cli.main()"
    words = [sys.executable, "-c", code, "segment", str(tmp_path / "no.png"), "-p", "x", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (UserError.exit_code, "", 1)


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "programs.md").read_text()
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert codes == {0, 1, UserError.exit_code, NOTHING_READ, 130}
