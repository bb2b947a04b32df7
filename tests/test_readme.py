"""What the README says is true: its commands are those of .ci/run, and every name in it exists."""

from __future__ import annotations

import re
import shlex
import shutil
from operator import attrgetter
from pathlib import Path

import pytest
from insert_tables import PLACES
from pydicom import examples
from typer.testing import CliRunner

from medclipsam import cli
from medclipsam.config import PRESETS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
CI = (ROOT / ".ci" / "run").read_text()
FENCED = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [line for language, block in FENCED if language == "bash" for line in block.splitlines()]


def help_of(*words: str) -> str:
    """The help page of a command, on a wide terminal."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_first_two_commands_are_what_ci_runs() -> None:
    ci = [line.strip() for line in CI.splitlines()]
    for command in (*COMMANDS[0].split(" && "), COMMANDS[1]):
        assert command in ci


def test_the_first_two_commands_run_in_the_readmes_order() -> None:
    parts = [*COMMANDS[0].split(" && "), COMMANDS[1]]
    places = [CI.index(f"{part}\n") for part in parts]
    assert places == sorted(places)


def test_ci_prints_the_verdict_of_the_tests_last() -> None:
    assert CI.rstrip().splitlines()[-1] == COMMANDS[1]


def test_every_command_exists() -> None:
    named = set(re.findall(r"(?:`|^|&& )medclipsam ([a-z]+)", README, re.MULTILINE))
    assert {"segment", "evaluate", "finetune", "weights", "doctor", "info"} <= named
    assert named <= set(cli.COMMANDS)


def test_every_subcommand_of_weights_exists() -> None:
    named = set(re.findall(r"medclipsam weights ([a-z]+)", README))
    shown = help_of("weights")
    assert named
    assert [name for name in named if not re.search(rf"\b{name}\b", shown)] == []


def test_every_option_of_the_table_exists() -> None:
    shown = help_of("segment")
    table = README[README.index("| option |") : README.index('## "Not found"')]
    options = set(re.findall(r"--[a-z][a-z-]+", table)) - {"--help"}
    assert len(options) > 8
    assert [option for option in options if option not in shown] == []


def test_the_presets_are_all_and_only_those_that_exist() -> None:
    section = README[README.index("## Presets") :]
    assert set(re.findall(r"^\| `([a-z0-9-]+)`", section, re.MULTILINE)) == set(PRESETS)


@pytest.mark.parametrize(("column", "name"), [(4, "medclip-samv2"), (5, "medclip-samv2-released")])
def test_the_page_on_paper_and_code_says_what_the_presets_take(column: int, name: str) -> None:
    page = (ROOT / "docs" / "medclip-samv2.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    said = {row[1].strip("`"): row[column] for row in rows}
    assert len(said) > 10
    assert said == {setting: str(attrgetter(setting)(PRESETS[name])) for setting in said}


@pytest.mark.parametrize(("name", "targets"), [(name, targets) for name, _, targets in PLACES])
def test_programs_find_the_places_of_their_tables(name: str, targets: tuple[str, ...]) -> None:
    for page in targets:
        text = (ROOT / page).read_text()
        assert text.count(f"<!-- {name}:begin -->") == text.count(f"<!-- {name}:end -->") == 1
        assert text.index(f"<!-- {name}:begin -->") < text.index(f"<!-- {name}:end -->")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *DOCS])
def test_every_link_into_the_repository_leads_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_contributing_guide_names_only_what_exists() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", guide)
    assert len(named) > 5
    assert [name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "medclipsam"))] == []


def test_the_python_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = [block for language, block in FENCED if language == "python"]
    shutil.copy(examples.get_path("overlay"), tmp_path / "scan.dcm")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert capsys.readouterr().out.split()[0] in {"True", "False"}
    result = names["result"]
    assert {getattr(result, name).shape for name in ("mask", "probability", "saliency")} == {(300, 484)}


def test_the_main_command_segments_the_real_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = COMMANDS[0].split(" && ")[1]
    typed = re.sub(r'"\$\(python -c .*\)"', shlex.quote(str(examples.get_path("overlay"))), command)
    result = CliRunner().invoke(cli.app, shlex.split(typed)[1:])
    assert result.exit_code == 0, result.output
    written = {path.name for path in (tmp_path / "runs" / "liver").iterdir()}
    assert {"overlay.png", "report.json"} < written
    assert sorted(Path(name).suffix for name in written) == [".dcm", ".json", ".png", ".png"]
