"""The programs that measure volumes: every way on one volume, what neighbours mend, and settings by evidence alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import settling
import volumes
from drawn_model import drawn_segmenter, slice_of

from medclipsam.types import BoolArray, MedImage
from medclipsam.volume.rules import RULES


def square(top: int, left: int, side: int) -> BoolArray:
    mask = np.zeros((64, 64), bool)
    mask[top : top + side, left : left + side] = True
    return mask


LUNG, NECK = square(20, 20, 30), square(2, 50, 6)


def drawn_volume() -> volumes.Volume:
    """Six slices of an organ, an empty one, and three that look like it elsewhere."""
    shown = [LUNG] * 6 + [LUNG & False] + [NECK] * 3
    return volumes.Volume(
        name="drawn_1",
        group="drawn",
        images=[slice_of(number, mask) for number, mask in enumerate(shown)],
        places_mm=tuple(map(float, range(10))),
        references={"lungs": [LUNG] * 6 + [LUNG & False] * 4},
    )


def test_every_way_is_measured_and_the_stack_refuses_what_is_elsewhere() -> None:
    segmenter, _ = drawn_segmenter()
    rows = {row.mode: row for row in volumes.measured(segmenter, drawn_volume(), [None])}
    assert list(rows) == list(RULES)
    assert (rows["slices"].slices.false_positive, rows["agree"].slices.false_positive) == (3, 3)
    assert (rows["stack"].slices.false_positive, rows["stack"].slices.missed) == (0, 0)
    assert rows["stack"].dice > rows["slices"].dice


def test_the_table_tells_changes_against_slice_by_slice_and_names_the_best() -> None:
    segmenter, _ = drawn_segmenter()
    rows = list(volumes.measured(segmenter, drawn_volume(), [0.0, 0.15]))
    facts = {
        "preset": "embedded",
        "split": "test",
        "limit": 0,
        "ended": 0,
        "every": 1,
        "views": 1,
        **dict.fromkeys(("seed", "machine", "threads", "torch", "medclipsam", "weights"), 0),
    }
    table = volumes.markdown(rows, facts)
    assert "| drawn | lungs | 1 | slices, grow 0 |" in table
    assert table.count("\n| drawn |") == 2 * len(RULES)
    means = volumes.means(rows)
    assert means["stack, grow 0"] == max(means.values()) > means["slices, grow 0"]
    assert means[volumes.best(rows)] == means["stack, grow 0"]


def test_a_volume_is_taken_by_name_every_so_many_slices_and_in_every_display(tmp_path: Path) -> None:
    for name in ("chest_ct_1", "chest_ct_1_lungs", "brain_1", "brain_1_tumor"):
        voxels = np.zeros((8, 8, 7), np.int16)
        voxels[2:5, 2:5] = 1
        nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1.0])), tmp_path / f"{name}.nii.gz")
    found = list(volumes.whole(tmp_path, ["chest_ct_1"], every=3, displays=True))
    assert [volume.group for volume in found] == [f"chest_ct ({display})" for display in volumes.DISPLAYS]
    assert {len(volume.images) for volume in found} == {3}
    assert found[0].places_mm == pytest.approx((0.0, 9.0, 18.0))
    lung, inverted = found[0].images[0].pixels, found[list(volumes.DISPLAYS).index("inverted")].images[0].pixels
    assert np.allclose(lung, 1 - inverted)


@pytest.mark.parametrize(("chooses", "shown"), [(True, "lung"), (False, "soft-tissue")])
def test_a_display_may_be_the_one_that_a_run_chooses(tmp_path: Path, chooses: bool, shown: str) -> None:
    values = np.full((8, 8, 3), 40, np.int16)
    values[2:5] = -900
    for name, voxels in (("ct", values), ("ct_lungs", (values < 0).astype(np.uint8))):
        nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1.0])), tmp_path / f"{name}.nii.gz")
    by_display = {volume.group: volume for volume in volumes.whole(tmp_path, displays=True)}

    def weigh(image: MedImage, text: str) -> object:
        return SimpleNamespace(cells=SimpleNamespace(presence=float(np.ptp(image.pixels))))

    segmenter: Any = SimpleNamespace(info=SimpleNamespace(weighs_first=True), weigh=weigh)
    volume = by_display["ct (soft tissue, auto)" if chooses else "ct (soft tissue)"].shown(segmenter)
    expected = by_display["ct (lung)" if shown == "lung" else "ct (soft tissue)"]
    assert [np.array_equal(a.pixels, b.pixels) for a, b in zip(volume.images, expected.images, strict=True)] == [
        True
    ] * 3


def test_settings_are_compared_by_the_evidence_alone() -> None:
    segmenter, sam = drawn_segmenter()
    rows = list(settling.measured(segmenter, drawn_volume()))
    values = {row.way: row.dice for row in rows}
    usual = settling.Way(settling.OWN_SHARE, settling.LEAST_PART, settling.LEAST_OVERLAP)
    assert values[None] < values[usual]
    assert values[usual._replace(own_share=1.0, least_part=0.0)] == values[None]
    counts = {row.way: row.slices for row in rows}
    assert (counts[None].empty, counts[None].false_positive, counts[usual].false_positive) == (4, 3, 0)
    assert counts[None].present == counts[usual].present > 0 == counts[usual].missed
    assert sam.asked == []
