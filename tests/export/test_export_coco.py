"""COCO as pycocotools reads it: the same pixels, from run lengths and from polygons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from export_scans import Exporting, Labelling, bright, ring, write_volume
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image

from medclipsam.export.coco import shape_of


@pytest.mark.parametrize("shapes", ["masks", "polygons"])
def test_coco_masks_decode_to_the_same_pixels_with_their_parts_and_holes(
    labelled: Labelling, exported: Exporting, shapes: Any
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    labelled("tumor", "liver")
    folder, tally = exported("coco", shapes=shapes)
    assert tally.counts == {"images": 3, "annotations": 6}
    read = coco.COCO(str(folder / "annotations.json"))
    assert [category["name"] for category in read.loadCats(read.getCatIds())] == ["liver", "tumor"]
    for image in read.loadImgs(read.getImgIds()):
        mask = bright(folder / image["file_name"])
        assert mask.shape == (image["height"], image["width"]) == (40, 60)
        annotations = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
        assert len(annotations) == 2
        for annotation in annotations:
            np.testing.assert_array_equal(read.annToMask(annotation) > 0, mask)
            assert annotation["area"] == mask.sum()
            assert 0 < annotation["score"] <= 1


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, (7, 9)))
def test_any_mask_comes_back_from_either_shape(mask: np.ndarray) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    if not mask.any():
        return
    for shapes in ("masks", "polygons"):
        segmentation = shape_of(mask, shapes)["segmentation"]  # type: ignore[arg-type]
        packed = tools.frPyObjects(segmentation, *mask.shape)
        packed = tools.merge(packed) if shapes == "polygons" else packed
        np.testing.assert_array_equal(tools.decode(packed) > 0, mask)
        assert tools.area(packed) == mask.sum()
        box = tools.toBbox(packed).tolist()
        assert shape_of(mask, shapes)["bbox"] == box  # type: ignore[arg-type]


def test_images_are_copied_linked_or_referred_to(scans: Path, labelled: Labelling, exported: Exporting) -> None:
    labelled("tumor")
    for how in ("copy", "link", "refer"):
        folder, _ = exported("coco", name=how, bring=how)
        images = json.loads((folder / "annotations.json").read_text())["images"]
        names = [image["file_name"] for image in images]
        if how == "refer":
            assert sorted(names) == ["a.png", "b.jpg", "siteA/DOE_JANE.png"]
            assert [path.name for path in folder.iterdir()] == ["annotations.json"]
        else:
            assert {(folder / name).read_bytes() for name in names} == {
                path.read_bytes() for path in scans.rglob("*.*g")
            }
            assert {(folder / name).is_symlink() for name in names} == {how == "link"}


def test_slices_of_a_volume_are_images_with_their_planes_of_the_mask(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    voxels = write_volume(scans / "v.nii.gz")
    labelled("tumor")
    folder, tally = exported("coco", only="volumes")
    assert tally.counts["scans left out (of the kind pictures)"] == 3
    read = coco.COCO(str(folder / "annotations.json"))
    images = read.loadImgs(read.getImgIds())
    assert [Path(image["file_name"]).stem[-6:] for image in images] == ["-s0000", "-s0001", "-s0002", "-s0003"]
    areas = []
    for image in images:
        shown = bright(folder / image["file_name"])
        found = [read.annToMask(each) for each in read.loadAnns(read.getAnnIds(imgIds=image["id"]))]
        np.testing.assert_array_equal(sum(found, np.zeros(shown.shape)) > 0, shown)
        areas.append(int(shown.sum()))
    assert areas == (voxels > 0).sum(axis=(1, 2)).tolist()


def test_pages_are_images_of_their_own(scans: Path, labelled: Labelling, exported: Exporting) -> None:
    pages = [Image.fromarray(ring(top)) for top in (2, 12)]
    pages[0].save(scans / "p.tif", save_all=True, append_images=pages[1:])
    labelled("tumor")
    folder, _ = exported("coco", own_names=True)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == ["a.png", "b.jpg", "p-p0000.png", "p-p0001.png", "siteA__DOE_JANE.png"]
