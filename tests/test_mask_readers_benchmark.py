"""The table of `docs/mask-readers.md` says what the programs do today."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_program_reads_the_masks_of_one_prompt_and_the_table_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import mask_readers

    missing = [name for name in ("dcm2niix", "plastimatch") if not Path(sys.executable).with_name(name).exists()]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    told = (ROOT / "docs" / "mask-readers.md").read_text(encoding="utf-8")
    for number, case in enumerate(mask_readers.CASES[:3]):
        (tmp_path / str(number)).mkdir()
        cells = mask_readers.row(case, tmp_path / str(number))
        assert cells[1:] == ["right"] * len(mask_readers.READERS)
        assert f"| {' | '.join(cells)} |" in told
