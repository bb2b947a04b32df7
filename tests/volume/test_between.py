"""Are the masks between two slices that were asked those that lie between their shapes?"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter

from medclipsam.errors import BadInput
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import MedImage, Segmentation
from medclipsam.volume.between import Between, blended_shape, interpolated
from medclipsam.volume.neighbours import Answered


def square(top: int, side: int, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top : top + side, top : top + side] = True
    return mask


def answer(mask: np.ndarray) -> Segmentation:
    return Segmentation(prompt="x", mask=mask, probability=mask.astype(np.float32), found=bool(mask.any()))


def test_a_square_that_grows_has_the_size_between_and_one_that_ends_shrinks_to_nothing() -> None:
    small, large = square(15, 10), square(5, 30)
    halfway = blended_shape(small, large, 0.5)
    assert halfway.sum() == pytest.approx(20 * 20, rel=0.1)
    assert (small <= halfway).all() and (halfway <= large).all()
    ends = [blended_shape(large, np.zeros_like(large), share).sum() for share in (0, 0.25, 0.5, 0.75, 1)]
    assert ends == sorted(ends, reverse=True) and ends[0] == 900 and ends[-1] == 0
    assert not blended_shape(np.zeros_like(large), np.zeros_like(large), 0.5).any()
    assert blended_shape(np.ones_like(large), np.ones_like(large), 0.3).all()


def test_the_slice_nearer_to_one_looks_more_like_it_by_millimetres() -> None:
    pixels = np.zeros((40, 40, 3), np.float32)
    images = [MedImage(pixels=pixels, name=str(number), format="nifti") for number in range(3)]
    kept: list[tuple[int, int]] = []
    between = Between(
        lambda answered, number: kept.append((number, answered.results[0].area_px)),
        [0, 2],
        (0, 1, 10),
        images.__getitem__,
    )
    between(Answered(images[0], [answer(square(5, 30))]), 0)
    between(Answered(images[2], [answer(square(15, 10))]), 1)
    assert [number for number, _ in kept] == [0, 1, 2]
    assert kept[0][1] == 900 and kept[2][1] == 100 and 700 < kept[1][1] < 900


def test_what_lies_between_says_so() -> None:
    found = interpolated(answer(square(5, 30)), answer(square(15, 10)), 0.5)
    assert found.found and "interpolated" in found.notes[0]


def bright_volume(folder: Path, slices: int = 9) -> Path:
    """A bright block on dark ground, in every slice but the outermost."""
    voxels = np.zeros((32, 32, slices), np.float32)
    voxels[8:24, 8:24, 1:-1] = 200
    path = folder / "block.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.diag((1, 1, 3, 1))), path)
    return path


class Counting(BrightSegmenter):
    """Counts what it is asked."""

    asked = 0

    def segment(self, *given: object, **more: object) -> Segmentation:
        type(self).asked += 1
        return super().segment(*given, **more)


def test_every_third_slice_is_asked_and_all_get_a_mask(tmp_path: Path) -> None:
    scan = bright_volume(tmp_path)
    Counting.asked = 0
    request = ScanRequest(
        scan=scan, prompts=("block",), folder=tmp_path / "out", every_nth=3, volume_mode="slices", always=True
    )
    report = segment_scan(request, Counting, lambda *_: None)
    assert Counting.asked == 4  # slices 0, 3, 6 and 8
    assert [image["case"].split("_")[-1] for image in report["images"]] == sorted(
        image["case"].split("_")[-1] for image in report["images"]
    )
    areas = [image["results"][0]["area_px"] for image in report["images"]]
    assert len(areas) == 9 and areas[3] == areas[4] == areas[5] == areas[6] == 256
    assert report["every_nth"] == 3


def test_a_picture_has_nothing_between(tmp_path: Path) -> None:
    np.save(tmp_path / "picture.npy", np.eye(32, dtype=np.float32))
    request = ScanRequest(scan=tmp_path / "picture.npy", prompts=("block",), folder=tmp_path / "out", every_nth=2)
    with pytest.raises(BadInput, match="no stack of slices"):
        segment_scan(request, BrightSegmenter, lambda *_: None)
