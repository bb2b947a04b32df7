"""What fuzzing starts from and what it once found: read, or refused in one line. This needs no fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import FOUND, read_anything, seeds

FINDINGS = sorted(FOUND.glob("*.*"))


@pytest.mark.parametrize("suffix", [".dcm", ".nii", ".nii.gz"])
def test_every_seed_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    found = [read_anything(content, suffix, tmp_path) for content in seeds((suffix,)).values()]
    assert any(found)


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_fuzzing_found_is_read_or_refused(path: Path, tmp_path: Path) -> None:
    assert read_anything(path.read_bytes(), path.suffix, tmp_path) in (True, False)
