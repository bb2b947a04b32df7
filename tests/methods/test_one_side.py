"""The left of a pair is the patient's left, wherever the file puts it in the picture."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

import medclipsam
from medclipsam.errors import BadInput
from medclipsam.io.dicom.planes import towards_left
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.one_side import leftward, on_side
from medclipsam.metrics import dice
from medclipsam.sides import OneSide
from medclipsam.types import BoolArray, Box, MedImage, Segmentation

BODY = np.zeros((60, 100, 3), np.float32)
BODY[5:55, 10:90] = 0.6
AXIAL, MIRRORED = (0.0, 1.0), (0.0, -1.0)
LEFT = OneSide(side="left", structure="lungs")


def film(towards: tuple[float, float] | None, **facts: object) -> MedImage:
    return MedImage(pixels=BODY, name="film", towards_left=towards, **facts)  # type: ignore[arg-type]


def two_lungs(first: slice = slice(20, 40), second: slice = slice(60, 85)) -> Segmentation:
    mask = np.zeros((60, 100), bool)
    mask[10:50, first] = mask[10:50, second] = True
    boxes = tuple(Box(x0=part.start, y0=10, x1=part.stop, y1=50) for part in (first, second))
    return Segmentation(
        prompt="lungs", mask=mask, probability=mask.astype(np.float32), found=True, boxes=boxes, scores=(0.8, 0.9)
    )


def columns(mask: BoolArray) -> tuple[int, int]:
    found = np.flatnonzero(mask.any(axis=0))
    return int(found[0]), int(found[-1])


def cut(answer: Segmentation, image: MedImage, asked: OneSide = LEFT) -> Segmentation:
    left = leftward(image, asked.structure)
    assert left is not None
    return on_side(answer, image, asked, left, f"{asked.side} lung")


def test_the_left_lung_lies_where_the_file_says() -> None:
    told = cut(two_lungs(), film(AXIAL))
    assert columns(told.mask) == (60, 84) and told.prompt == "left lung"
    assert told.boxes == (Box(x0=60, y0=10, x1=85, y1=50),) and told.scores == (0.9,)
    assert told.notes == ("the patient's left side: as the file says",)
    assert columns(cut(two_lungs(), film(MIRRORED)).mask) == (20, 39)


@pytest.mark.parametrize("air", [0.0, 0.23])
def test_the_middle_is_that_of_the_body_though_air_is_grey(air: float) -> None:
    """A window for lungs shows air at a quarter of white; the body lies in the left of the picture."""
    pixels = np.full((60, 200, 3), air, np.float32)
    pixels[5:55, 10:90] = 0.6
    mask = np.zeros((60, 200), bool)
    mask[10:50, 20:40] = mask[10:50, 60:85] = True
    lungs = Segmentation(prompt="lungs", mask=mask, probability=mask.astype(np.float32), found=True)
    assert columns(cut(lungs, replace(film(AXIAL), pixels=pixels)).mask) == (60, 84)


def test_left_and_right_share_the_whole_mask_between_them() -> None:
    left = cut(two_lungs(slice(20, 52), slice(50, 85)), film(AXIAL))
    right = cut(two_lungs(slice(20, 52), slice(50, 85)), film(AXIAL), replace(LEFT, side="right"))
    assert not (left.mask & right.mask).any()
    assert (left.mask | right.mask).sum() == two_lungs(slice(20, 52), slice(50, 85)).mask.sum()
    assert left.mask.any() and right.mask.any()


def test_a_turned_image_is_cut_across() -> None:
    turned = MedImage(pixels=BODY.transpose(1, 0, 2).copy(), name="turned", towards_left=(1.0, 0.0))
    both = two_lungs()
    answer = replace(both, mask=both.mask.T.copy(), probability=both.probability.T.copy(), boxes=(), scores=())
    assert columns(cut(answer, turned).mask.T) == (60, 84)


def test_one_lung_alone_belongs_to_one_side() -> None:
    alone = two_lungs(slice(60, 85), slice(60, 85))
    assert cut(alone, film(AXIAL)).mask.sum() == alone.mask.sum()
    other = cut(alone, film(AXIAL), replace(LEFT, side="right"))
    assert (other.found, other.reason, other.boxes) == (False, "other_side", ())


def test_a_picture_of_lungs_is_shown_as_all_are_and_one_of_kidneys_is_refused() -> None:
    picture = film(None, format="raster")
    assert columns(cut(two_lungs(), picture).mask) == (60, 84)
    assert "convention" in cut(two_lungs(), picture).notes[0]
    for image, structure in ((picture, "kidney"), (film(None, format="nifti"), "lungs"), (film(None), "lungs")):
        with pytest.raises(BadInput, match="does not say which side"):
            leftward(image, structure)
        assert leftward(image, structure, pointed=True) is None


def test_a_view_from_the_side_has_no_sides() -> None:
    with pytest.raises(BadInput, match="behind each other"):
        leftward(film((0.0, 0.1)), "lungs")


@pytest.mark.parametrize(
    ("facts", "towards"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, (0, 1)),
        ({"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]}, (0, -1)),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, (0, 0)),
        ({"PatientOrientation": ["L", "F"]}, (0, 1)),
        ({"PatientOrientation": ["R", "F"]}, (0, -1)),
        ({"PatientOrientation": ["A", "F"]}, (0, 0)),
        ({"PatientOrientation": ["FR", "L"]}, (1, 0)),
        ({"PatientOrientation": ["L"]}, None),
        ({"PatientOrientation": ""}, None),
        ({}, None),
    ],
)
def test_dicom_says_which_way_is_left(facts: dict[str, object], towards: tuple[float, float] | None) -> None:
    header = Dataset()
    header.update(facts)  # type: ignore[arg-type]
    assert towards_left(header, 0) == towards


def test_real_lungs_are_told_apart(shared_data: Path) -> None:
    """On a film and its mirrored twin; the twin's file says that it is mirrored."""
    segmenter = medclipsam.load("embedded", device="cpu")
    with (shared_data / "index.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "chest_xray_montgomery"]
    row = next(row for row in rows if row["split"] == "test")
    truth = read_foreground(shared_data / row["mask"])
    truth[:, : truth.shape[1] // 2] = False
    image = medclipsam.read_image(shared_data / row["image"])
    assert dice(segmenter.segment(image, "left lung").mask, truth) > 0.9
    mirrored = replace(image, pixels=image.pixels[:, ::-1].copy(), format="dicom", towards_left=MIRRORED)
    assert dice(segmenter.segment(mirrored, "left lung").mask, truth[:, ::-1]) > 0.9
    assert dice(segmenter.segment(mirrored, "right lung").mask, truth[:, ::-1]) < 0.1
