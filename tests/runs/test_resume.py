"""Killed at any moment and started again, does a run end with the folder of an unbroken one, byte for byte?"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from run_folders import save_scan, tree

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def killed_and_resumed(scans: Path, out: Path, *, kills: int, seed: int, shards: int) -> int:
    """Run `killed_runs.py`; how many kills came before the end of a run."""
    command = [sys.executable, str(HERE / "killed_runs.py"), str(scans), str(out), *map(str, (kills, seed, shards))]
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths})
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


@pytest.mark.parametrize(
    ("kills", "shards"),
    [
        (10, 1),
        pytest.param(50, 1, marks=pytest.mark.slow),
        pytest.param(50, 3, marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_moments_it_ends_as_if_unbroken(scans: Path, out: Path, kills: int, shards: int) -> None:
    for index in range(3):
        save_scan(scans / f"more{index}.png", top=index)
    hit = killed_and_resumed(scans, out, kills=kills, seed=7, shards=shards)
    assert hit >= kills / 4
    assert tree(out) == tree(out.with_name("out-unbroken-0"))
    assert [path.name for path in out.rglob(".*") if "partial" in path.name] == []
