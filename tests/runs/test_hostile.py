"""Damaged files, thousands in one folder: each ends in a mask or one line, in little memory, in the output alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mutated_files import MUTATIONS, mutated

from medclipsam.runs import read_manifest

TESTS = Path(__file__).resolve().parents[1]

MEMORY_CAP_MIB = 1024
"""Of each process: of the one that segments (here without a model), and of the one that reads."""


def everything(folder: Path, without: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder but those of the output."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_relative_to(without)
    }


def labelled(folder: Path, count: int, seed: int) -> dict[str, Any]:
    """What became of so many damaged files; whatever else a run does fails here."""
    written = mutated(folder / "scans", count, seed)
    out, elsewhere = folder / "out", folder / "elsewhere"
    elsewhere.mkdir()
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "runs")])
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "MEDCLIPSAM_WEIGHTS"), str(elsewhere))
    environment = {**os.environ, **places, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    before = everything(folder, without=out)
    command = [sys.executable, str(TESTS / "runs" / "label_mutated.py"), str(folder / "scans"), str(out)]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=elsewhere, env=environment, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert everything(folder, without=out) == before
    records = read_manifest(out / "manifest.jsonl")
    assert len(records) == count
    for record in records.values():
        if record.status == "refused":
            assert record.reason and "\n" not in record.reason and len(record.reason) < 300
        else:
            assert record.status in ("done", "doubtful", "not found")
            assert record.outputs and all((out / name).is_file() for name in record.outputs)
    told = json.loads(finished.stdout)
    kinds = Counter(kind for kind, _ in written)
    assert set(kinds) == set(MUTATIONS)
    assert max(told["parent_mib"], told["child_mib"]) < MEMORY_CAP_MIB
    return told


def spoken(count: int, told: dict[str, Any]) -> str:
    refused, parent, child = told["counts"]["refused"], told["parent_mib"], told["child_mib"]
    return (
        f"{count:,} damaged files: {count - refused:,} answered, {refused:,} refused in one line, no traceback, "
        f"nothing outside the output; peak memory {parent:.0f} MiB, of the reading process {child:.0f} MiB "
        f"(cap {MEMORY_CAP_MIB})"
    )


@pytest.mark.parametrize("count", [210, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_files_end_in_a_mask_or_one_line(
    tmp_path: Path, count: int, record_property: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("peak memory is read as Linux tells it")
    told = labelled(tmp_path, count, seed=count)
    record_property("damaged files", spoken(count, told))
    with capsys.disabled():
        sys.stdout.write(f"\n{spoken(count, told)}\n")
    assert min(told["counts"]["refused"], count - told["counts"]["refused"]) > count // 10
