"""YOLO, labelme and Label Studio: filled or unpacked as those tools do it, the masks are the same pixels."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml
from export_scans import SIZE, Exporting, Labelling, bright
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw

from medclipsam.errors import BadInput
from medclipsam.export.labelstudio import packed_runs
from medclipsam.export.outlines import WITHIN, outlines
from medclipsam.runs.groups import Groups


@settings(max_examples=100, deadline=None)
@given(arrays.arrays(bool, (8, 11)))
def test_outlines_filled_by_opencv_and_pillow_give_any_mask_back(mask: np.ndarray) -> None:
    by_opencv, rounded, by_pillow = (np.zeros(mask.shape, np.uint8) for _ in range(3))
    for outline in outlines(mask):
        assert len(outline) >= 3
        corners = outline + WITHIN
        part = Image.fromarray(np.zeros(mask.shape, np.uint8))
        ImageDraw.Draw(part).polygon([tuple(corner) for corner in corners.tolist()], outline=1, fill=1)
        by_pillow |= np.asarray(part)
        for filled, whole in ((by_opencv, corners.astype(np.int32)), (rounded, np.round(corners).astype(np.int32))):
            one = np.zeros(mask.shape, np.uint8)
            cv2.fillPoly(one, [whole], (1,))
            np.maximum(filled, one, out=filled)
    for filled in (by_opencv, rounded, by_pillow):
        np.testing.assert_array_equal(filled > 0, mask)


def test_yolo_labels_lie_beside_their_images_and_give_the_masks(labelled: Labelling, exported: Exporting) -> None:
    labelled("tumor", "unicorn")
    folder, tally = exported("yolo")
    data = yaml.safe_load((folder / "data.yaml").read_text())
    assert data == {"train": "images/train", "val": "images/val", "names": {0: "tumor", 1: "unicorn"}}
    images = sorted((folder / "images").rglob("*.*g"))
    assert {image.parent.name for image in images} == {"train", "val"}
    for image in images:
        lines = (folder / "labels" / image.parent.name / f"{image.stem}.txt").read_text().splitlines()
        filled = np.zeros(SIZE, np.uint8)
        for line in lines:
            number, *corners = map(float, line.split())
            assert number == 0
            pixels = np.reshape(corners, (-1, 2)) * SIZE[::-1]
            one = np.zeros(SIZE, np.uint8)
            cv2.fillPoly(one, [pixels.astype(np.int32)], (1,))
            filled |= one
        np.testing.assert_array_equal(filled > 0, bright(image))
    assert tally.counts == {"images": 3, "objects": 6}


def test_images_of_a_group_are_all_for_training_or_all_for_validation(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    labelled("tumor")
    table = scans.with_name("groups.csv")
    table.write_text("file,group\na.png,P1\nsiteA/DOE_JANE.png,P1\nb.jpg,P2\n")
    folder, _ = exported("yolo", groups=Groups(path=table), own_names=True)
    parts = {image.stem: image.parent.name for image in (folder / "images").rglob("*.*g")}
    assert parts["a"] == parts["siteA__DOE_JANE"] != parts["b"]
    table.write_text("file,group\na.png,P1\n")
    with pytest.raises(BadInput, match="has no group for"):
        exported("yolo", name="again", groups=Groups(path=table))


@pytest.mark.parametrize("shapes", ["masks", "polygons"])
def test_labelme_shapes_lie_beside_their_image_and_give_the_mask(
    labelled: Labelling, exported: Exporting, shapes: Any
) -> None:
    labelled("tumor")
    folder, tally = exported("labelme", shapes=shapes)
    assert tally.counts == {"images": 3, "shapes": 3 if shapes == "masks" else 6}
    for path in folder.glob("*.json"):
        document = json.loads(path.read_text())
        assert (document["imageHeight"], document["imageWidth"]) == SIZE
        filled = np.zeros(SIZE, bool)
        for shape in document["shapes"]:
            assert shape["label"] == "tumor"
            if shapes == "masks":
                (left, top), (right, bottom) = shape["points"]
                packed = Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
                filled[top : bottom + 1, left : right + 1] |= np.asarray(packed) > 0
            else:
                part = Image.fromarray(np.zeros(SIZE, np.uint8))
                ImageDraw.Draw(part).polygon([tuple(point) for point in shape["points"]], outline=1, fill=1)
                filled |= np.asarray(part) > 0
        assert len({shape["group_id"] for shape in document["shapes"]}) == 1
        np.testing.assert_array_equal(filled, bright(folder / document["imagePath"]))


def unpacked(packed: list[int]) -> np.ndarray:
    """thi.ng's rle-pack, read as its documentation says."""
    bits = "".join(f"{byte:08b}" for byte in packed)
    at = 0

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_run = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    return np.array(values)


@settings(max_examples=40, deadline=None)
@given(arrays.arrays(bool, (7, 9)))
def test_label_studios_run_lengths_unpack_to_any_mask(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(
        unpacked(packed_runs(mask)).reshape(*mask.shape, 4), np.repeat(mask[..., None] * 255, 4, axis=2)
    )


def test_runs_longer_than_label_studios_longest_length_are_parted() -> None:
    mask = np.zeros((300, 400), bool)
    mask[280:, 5:] = True
    np.testing.assert_array_equal(unpacked(packed_runs(mask)).reshape(300, 400, 4)[..., 3] > 0, mask)


@pytest.mark.parametrize("shapes", ["masks", "polygons"])
def test_label_studios_tasks_name_their_image_and_what_was_found(
    labelled: Labelling, exported: Exporting, shapes: Any
) -> None:
    labelled("tumor", "unicorn")
    folder, tally = exported("labelstudio", shapes=shapes)
    assert any("LOCAL_FILES" in note for note in tally.notes)
    for task in json.loads((folder / "tasks.json").read_text()):
        address, _, place = task["data"]["image"].partition("?d=")
        assert address == "/data/local-files/"
        mask = bright(folder.parent / place)
        (prediction,) = task["predictions"]
        assert prediction["score"] == prediction["result"][0]["score"]
        for result in prediction["result"]:
            assert (result["original_height"], result["original_width"]) == SIZE
            assert result["value"][result["type"]] == ["tumor"]
        if shapes == "masks":
            packed = prediction["result"][0]["value"]["rle"]
            np.testing.assert_array_equal(unpacked(packed).reshape(*SIZE, 4)[..., 0] > 0, mask)
        else:
            corners = np.array(prediction["result"][0]["value"]["points"]) * SIZE[::-1] / 100
            rows, columns = np.nonzero(mask)
            assert corners.min(axis=0).tolist() == pytest.approx([columns.min(), rows.min()])
    control = ElementTree.parse(folder / "label_config.xml").getroot()[1]
    assert control.tag == ("BrushLabels" if shapes == "masks" else "PolygonLabels")
    assert [label.attrib["value"] for label in control] == ["tumor", "unicorn"]


@pytest.mark.parametrize("layout", ["yolo", "labelme", "labelstudio", "nnunet", "slicer"])
def test_layouts_that_need_their_images_refuse_to_leave_them_in_place(
    labelled: Labelling, exported: Exporting, layout: str
) -> None:
    labelled("tumor")
    with pytest.raises(BadInput, match="leave --in-place out"):
        exported(layout, bring="refer")
