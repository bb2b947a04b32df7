"""`medclipsam train` from the outside: settings as TOML, wrong ones told in one line before anything is written."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from typed import typed

from medclipsam.training.registry import METHODS


@pytest.mark.parametrize("name", [name for name in METHODS if name != "medclipseg-released"])  # trains nothing
def test_the_settings_of_a_method_are_shown_with_what_was_changed(name):
    shown = typed("train", name, "--show-config", "--set", "seed=7")
    assert shown.exit_code == 0, shown.output
    assert tomllib.loads(shown.stdout)["seed"] == 7
    assert shown.stdout.startswith(f"# Settings of `medclipsam train {name}`")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clipp", "data.csv"], "did you mean clip"),
        (["clip"], "DATA is missing"),
        (
            ["clip", "data.csv", "--set", "lerning_rate=1"],
            "unknown setting 'lerning_rate'; did you mean learning_rate?",
        ),
        (["clip", "data.csv", "--set", "epochs=many"], "epochs = 'many' is not a whole number"),
        (["clip", "data.csv", "--config", "none.toml"], "none.toml cannot be read"),
        (["refine-unet", "labels"], "--set images=FOLDER"),
        (["refine-unet", "labels", "--set", "fold=9"], "no fold 9 of 5"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_writes_nothing(tmp_path, arguments, message):
    told = typed("train", *arguments, "-o", tmp_path / "run")
    assert told.exit_code == 2, told.output
    assert message in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_settings_are_shown_without_loading_torch():
    code = "import sys\nfrom medclipsam.training.registry import METHODS, config_of\n"
    code += "for name, method in METHODS.items(): config_of(name, method.defaults())\n"
    code += "print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
