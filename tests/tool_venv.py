"""Runs other people's tools, each in an environment of its own that sees the test environment's packages too."""

from __future__ import annotations

import site
import subprocess
import sys
from pathlib import Path

import pytest


def installed(folder: Path, *packages: str, alone: bool = False) -> Path:
    """The folder of programs of a new environment.

    Args:
        folder: where it is made.
        packages: what pip installs.
        alone: without what the packages ask for, where the test environment has it.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True, check=True
    )
    Path(own.stdout.strip(), "shared.pth").write_text("\n".join(site.getsitepackages()))
    options = ["--no-deps"] if alone else []
    ran = subprocess.run(
        [python, "-m", "pip", "install", "-q", *options, *packages], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        pytest.skip(f"{packages[0]} cannot be installed here: {ran.stderr.strip().splitlines()[-1:]}")
    return folder / "bin"
