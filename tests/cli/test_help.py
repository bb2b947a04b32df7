"""Does the command line answer at once, name its commands, and say what went wrong in one line?"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest
from typed import typed

from medclipsam import cli
from medclipsam.errors import BadInput
from medclipsam.notice import RESEARCH_USE_ONLY

Raises = Callable[[BaseException], None]


def test_help_names_every_command_and_that_this_is_for_research() -> None:
    result = typed("--help")
    assert result.exit_code == 0
    assert [name for name in cli.COMMANDS if name not in result.output] == []
    assert RESEARCH_USE_ONLY in result.output


def test_help_loads_no_model_library() -> None:
    code = "import sys\nfrom medclipsam.cli import main\ntry:\n    main()\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'numpy', 'pydicom') if name in sys.modules], file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "segment" in shown.stdout
    assert shown.stderr.strip() == "[]"


@pytest.mark.parametrize(("set_before", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_person_wants_otherwise(set_before: dict[str, str], policy: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | set_before
    code = "import os\nfrom medclipsam.cli import main\ntry:\n    main()\nexcept SystemExit: pass\n"
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    arguments = [sys.executable, "-c", code, "--version"]
    shown = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    assert shown.stdout.splitlines()[-1] == policy


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    result = typed(command, "--help")
    assert result.exit_code == 0, result.output
    assert f"medclipsam {command}" in result.output


def test_the_version_is_the_packages_own() -> None:
    result = typed("--version")
    assert result.exit_code == 0
    assert result.output.split()[:2] == ["medclipsam", version("medclipsam")]


def test_no_command_shows_the_help() -> None:
    assert "segment" in typed().output


def test_a_mistyped_command_is_wrong_usage_and_names_the_nearest() -> None:
    result = typed("segmnt")
    assert result.exit_code == 2
    assert "'segment'" in result.output


@pytest.fixture
def command_that_raises(monkeypatch: pytest.MonkeyPatch) -> Raises:
    """Put a command named `fail` into the table that raises what it is given."""

    def install(error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr(cli, "fail_for_test", fail, raising=False)
        monkeypatch.setitem(cli.COMMANDS, "fail", "medclipsam.cli:fail_for_test")

    return install


def test_what_a_user_can_mend_is_one_line_on_stderr_and_exit_code_two(command_that_raises: Raises) -> None:
    command_that_raises(BadInput("no such\nscan \x1b[31m", "give another"))
    result = typed("fail")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "medclipsam: no such scan ?[31m; give another\n"


def test_a_bug_keeps_its_traceback(command_that_raises: Raises) -> None:
    command_that_raises(ZeroDivisionError("a bug"))
    result = typed("fail")
    assert isinstance(result.exception, ZeroDivisionError)
    assert result.exit_code == 1


def test_an_interrupt_ends_with_130(command_that_raises: Raises) -> None:
    command_that_raises(KeyboardInterrupt())
    assert typed("fail").exit_code == 130
