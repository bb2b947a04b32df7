"""Does every example run, as a person would run it, and say what it promises?"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import nibabel as nib
import pytest
from nibabel.testing import data_path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def said(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What the example printed, run in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [request.param])
    runpy.run_path(str(EXAMPLES / request.param), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("said", ["segment_array.py"], indirect=True)
def test_an_array_is_segmented_in_its_own_size(said: str) -> None:
    assert "mask (300, 484) bool" in said


@pytest.mark.parametrize("said", ["several_prompts.py"], indirect=True)
def test_each_prompt_has_an_answer(said: str) -> None:
    lines = said.splitlines()
    assert [line.split(":")[0] for line in lines] == ["liver", "kidney", "spleen", "optic disc"]
    assert all(re.search(r"(not found|pixels in Box).*presence [01]\.\d\d", line) for line in lines)


@pytest.mark.parametrize("said", ["nifti_volume.py"], indirect=True)
def test_a_mask_volume_lies_on_its_source(said: str, tmp_path: Path) -> None:
    assert "wrote volume_mask.nii.gz, 2 of 25 slices" in said
    mask, source = nib.load(tmp_path / "volume_mask.nii.gz"), nib.load(Path(data_path) / "anatomical.nii")
    assert mask.shape == source.shape
    assert (mask.affine == source.affine).all()


def test_every_example_has_a_test() -> None:
    tested = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'["{path.name}"]' not in tested] == []
