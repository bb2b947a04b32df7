"""Pseudo-labels taken to other tools: COCO as pycocotools reads it, nnU-Net's raw data on the scans' own grids."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from bright import BrightSegmenter
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays
from PIL import Image
from typed import typed

from medclipsam.errors import BadInput
from medclipsam.export.coco import export_coco, shape_of
from medclipsam.export.labelled import read_labelled
from medclipsam.export.nnunet import export_nnunet
from medclipsam.runs import LabelRequest, label_folder


def silent(*_: object) -> None:
    """Progress that nobody hears."""


def ring(size: tuple[int, int], top: int) -> np.ndarray:
    """Two bright parts, one of them with a hole."""
    pixels = np.full((*size, 3), 10, np.uint8)
    pixels[top : top + 9, 4:16] = 240
    pixels[top + 3 : top + 6, 7:12] = 10
    pixels[-4:-1, -6:-2] = 240
    return pixels


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three pictures, one of them in a folder."""
    folder = tmp_path / "scans"
    (folder / "siteA").mkdir(parents=True)
    for number, name in enumerate(("a.png", "siteA/a.png", "b.jpg")):
        Image.fromarray(ring((40, 60), 2 + 5 * number)).save(folder / name, quality=100, subsampling=0)
    return folder


def labelled_folder(scans: Path, *prompts: str, **asked: Any) -> Path:
    """What pseudolabel writes."""
    out = scans.with_name("labels")
    request = LabelRequest(**{"source": scans, "output": out, "prompts": prompts, **asked})
    label_folder(request, BrightSegmenter, silent)
    return out


@pytest.mark.parametrize("shapes", ["rle", "polygons"])
def test_coco_masks_decode_to_the_same_pixels_with_their_parts_and_holes(
    scans: Path, tmp_path: Path, shapes: Any
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    labels = labelled_folder(scans, "tumor", "liver")
    found = read_labelled(labels, scans)
    counts = export_coco(found, tmp_path / "coco", shapes=shapes, how="copy", tell=silent)
    assert counts == {"images": 3, "annotations": 6, "scans left out": 0}
    read = coco.COCO(str(tmp_path / "coco" / "annotations.json"))
    assert [category["name"] for category in read.loadCats(read.getCatIds())] == ["liver", "tumor"]
    masks = {scan.file: scan.masks[""] for scan in found.scans}
    for image in read.loadImgs(read.getImgIds()):
        copied = np.asarray(Image.open(tmp_path / "coco" / image["file_name"]))
        assert copied.shape[:2] == (image["height"], image["width"]) == (40, 60)
    for scan in found.scans:
        (image,) = [each for each in read.dataset["images"] if Path(each["file_name"]).stem == scan.name]
        for annotation in read.loadAnns(read.getAnnIds(imgIds=image["id"])):
            prompt = read.loadCats(annotation["category_id"])[0]["name"]
            mask = np.asarray(Image.open(masks[scan.file][prompt])) > 0
            np.testing.assert_array_equal(read.annToMask(annotation) > 0, mask)
            assert annotation["area"] == mask.sum()
            assert 0 < annotation["score"] <= 1


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(bool, (7, 9)))
def test_any_mask_comes_back_from_either_shape(mask: np.ndarray) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    if not mask.any():
        return
    for shapes in ("rle", "polygons"):
        segmentation = shape_of(mask, shapes)["segmentation"]  # type: ignore[arg-type]
        packed = tools.frPyObjects(segmentation, *mask.shape)
        packed = tools.merge(packed) if shapes == "polygons" else packed
        np.testing.assert_array_equal(tools.decode(packed) > 0, mask)
        assert tools.area(packed) == mask.sum()
        box = tools.toBbox(packed).tolist()
        assert shape_of(mask, shapes)["bbox"] == box  # type: ignore[arg-type]


def test_coco_refers_to_pictures_where_they_lie_unless_they_are_brought(scans: Path, tmp_path: Path) -> None:
    found = read_labelled(labelled_folder(scans, "tumor"), scans)
    export_coco(found, tmp_path / "coco", shapes="rle", how="refer", tell=silent)
    names = {image["file_name"] for image in json.loads((tmp_path / "coco" / "annotations.json").read_text())["images"]}
    assert names == {"a.png", "siteA/a.png", "b.jpg"}
    assert not (tmp_path / "coco" / "images").exists()
    export_coco(found, tmp_path / "linked", shapes="rle", how="link", tell=silent)
    assert (tmp_path / "linked" / "images" / "siteA__a.png").resolve() == (scans / "siteA" / "a.png").resolve()


def test_what_is_doubtful_or_was_changed_is_left_out_and_counted(scans: Path, tmp_path: Path) -> None:
    labels = labelled_folder(scans, "tumor")
    mask = next((labels / "masks" / "tumor").glob("a*.png"))
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(mask)
    (scans / "b.jpg").unlink()
    found = read_labelled(labels, scans)
    assert [scan.file for scan in found.scans] == ["siteA/a.png"]
    assert found.left_out == {"the mask changed since it was written": 1, "the scan is not there": 1}
    with pytest.raises(BadInput, match="no prompt 'spleen'"):
        read_labelled(labels, scans, ["spleen"])


def test_pages_are_images_of_their_own(scans: Path, tmp_path: Path) -> None:
    shutil.rmtree(scans)
    scans.mkdir()
    pages = [Image.fromarray(ring((40, 60), top)) for top in (2, 12)]
    pages[0].save(scans / "p.tif", save_all=True, append_images=pages[1:])
    found = read_labelled(labelled_folder(scans, "tumor"), scans)
    export_coco(found, tmp_path / "coco", shapes="rle", how="refer", tell=silent)
    names = sorted(path.name for path in (tmp_path / "coco" / "images").iterdir())
    assert names == ["p-p0000.png", "p-p0001.png"]
    export_nnunet(found, tmp_path / "Dataset001_x", how="refer", tell=silent)
    assert sorted(path.name for path in (tmp_path / "Dataset001_x" / "labelsTr").iterdir()) == names


def test_nnunet_pictures_have_their_labels_beside_them(scans: Path, tmp_path: Path) -> None:
    found = read_labelled(labelled_folder(scans, "tumor", "unicorn"), scans)
    counts = export_nnunet(found, tmp_path / "Dataset001_x", how="refer", tell=silent)
    assert counts == {"cases": 3, "scans left out": 0}
    facts = json.loads((tmp_path / "Dataset001_x" / "dataset.json").read_text())
    assert facts["labels"] == {"background": 0, "tumor": 1, "unicorn": 2}
    assert (facts["numTraining"], facts["file_ending"], len(facts["channel_names"])) == (3, ".png", 3)
    for scan in found.scans:
        labels = np.asarray(Image.open(tmp_path / "Dataset001_x" / "labelsTr" / f"{scan.name}.png"))
        np.testing.assert_array_equal(labels, np.asarray(Image.open(scan.masks[""]["tumor"])) > 0)
        image = np.asarray(Image.open(tmp_path / "Dataset001_x" / "imagesTr" / f"{scan.name}_0000.png"))
        assert image.shape == (40, 60, 3)
    with (tmp_path / "Dataset001_x" / "cases.csv").open(newline="") as file:
        assert {row["file"] for row in csv.DictReader(file)} == {"a.png", "siteA/a.png", "b.jpg"}


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_nnunet_volumes_and_labels_share_their_grid(scans: Path, tmp_path: Path, ending: str) -> None:
    shutil.rmtree(scans)
    scans.mkdir()
    turned = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    for number in range(2):
        voxels = np.zeros((4, 20, 30), np.float32)
        voxels[1:3, 4 + number : 9, 8:14] = 1
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing((0.5, 2.0, 3.0))
        image.SetDirection((turned * np.sign(np.linalg.det(turned))).ravel().tolist())
        image.SetOrigin((3.0, -4.0, 5.0))
        sitk.WriteImage(image, str(scans / f"v{number}{ending}"))
    found = read_labelled(labelled_folder(scans, "unicorn", "tumor"), scans)
    export_nnunet(found, tmp_path / "Dataset001_x", how="copy", channel="CT", tell=silent)
    facts = json.loads((tmp_path / "Dataset001_x" / "dataset.json").read_text())
    assert (facts["file_ending"], facts["channel_names"]) == (ending, {"0": "CT"})
    assert facts["labels"] == {"background": 0, "tumor": 1, "unicorn": 2}
    for number in range(2):
        scan = sitk.ReadImage(str(tmp_path / "Dataset001_x" / "imagesTr" / f"v{number}_0000{ending}"))
        labels = sitk.ReadImage(str(tmp_path / "Dataset001_x" / "labelsTr" / f"v{number}{ending}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(scan))
        assert labels.GetDirection() == pytest.approx(scan.GetDirection())
        assert labels.GetOrigin() == pytest.approx(scan.GetOrigin())
        assert labels.GetSpacing() == pytest.approx(scan.GetSpacing())


def test_kinds_that_cannot_stand_in_one_export_are_refused(scans: Path, tmp_path: Path) -> None:
    voxels = np.zeros((4, 20, 30), np.float32)
    voxels[1:3, 4:9, 8:14] = 1
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(scans / "v.nrrd"))
    found = read_labelled(labelled_folder(scans, "tumor"), scans)
    with pytest.raises(BadInput, match="of several kinds"):
        export_nnunet(found, tmp_path / "n", how="copy", tell=silent)
    counts = export_coco(found, tmp_path / "coco", shapes="rle", how="refer", tell=silent)
    assert (counts["images"], counts["scans left out"]) == (3, 1)


def test_the_command_says_what_it_wrote_and_refuses_a_folder_that_is_in_use(scans: Path, tmp_path: Path) -> None:
    labels = labelled_folder(scans, "tumor")
    options = ["export", labels, "--to", "coco", "--images", scans, "-o", tmp_path / "coco"]
    ran = typed(*options, "--json", "--shapes", "polygons", "--copy-images")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout) == {"images": 3, "annotations": 3, "scans left out": 0}
    again = typed(*options)
    assert again.exit_code == 2
    assert "is not an empty folder" in again.stderr
