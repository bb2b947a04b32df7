"""nnU-Net's raw data: images and labels on one grid, overlaps by a rule or as regions, folds by groups."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from export_scans import SIZE, Exporting, Labelling, bright, write_volume
from PIL import Image
from series_files import OBLIQUE, series

from medclipsam.errors import BadInput
from medclipsam.export.label_maps import Layered, Regions
from medclipsam.runs.groups import Groups


def facts(folder: Path) -> dict:
    """dataset.json."""
    return json.loads((folder / "dataset.json").read_text())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_have_their_labels_beside_them(labelled: Labelling, exported: Exporting, suffix: str) -> None:
    labelled("tumor", "unicorn")
    folder, tally = exported("nnunet", name="Dataset001_x", picture_suffix=suffix)
    assert tally.counts == {"cases": 3}
    assert facts(folder) == {
        "channel_names": {"0": "image"},
        "labels": {"background": 0, "tumor": 1, "unicorn": 2},
        "numTraining": 3,
        "file_ending": suffix,
    }
    for labels in (folder / "labelsTr").iterdir():
        image = folder / "imagesTr" / f"{labels.stem}_0000{suffix}"
        assert Image.open(image).mode == "L"
        np.testing.assert_array_equal(np.asarray(Image.open(labels)), bright(image))


def test_one_picture_in_colours_makes_all_of_them_so(scans: Path, labelled: Labelling, exported: Exporting) -> None:
    red = np.zeros((*SIZE, 3), np.uint8)
    red[5:9, 5:9] = 255
    red[20:30, 20:30, 0] = 90
    Image.fromarray(red).save(scans / "red.png")
    labelled("tumor")
    folder, _ = exported("nnunet")
    assert facts(folder)["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert {Image.open(path).mode for path in (folder / "imagesTr").iterdir()} == {"RGB"}


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_volumes_and_their_labels_share_a_grid(
    scans: Path, labelled: Labelling, exported: Exporting, ending: str
) -> None:
    for number in range(2):
        write_volume(scans / f"v{number}{ending}", first=4 + number)
    labelled("unicorn", "tumor")
    folder, tally = exported("nnunet", only="volumes", own_names=True, channel="CT")
    assert tally.counts == {"cases": 2, "scans left out (of the kind pictures)": 3}
    assert facts(folder)["file_ending"] == ending
    assert facts(folder)["channel_names"] == {"0": "CT"}
    for number in range(2):
        image = folder / "imagesTr" / f"v{number}_0000{ending}"
        assert image.read_bytes() == (scans / f"v{number}{ending}").read_bytes()
        scan, labels = sitk.ReadImage(str(image)), sitk.ReadImage(str(folder / "labelsTr" / f"v{number}{ending}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(labels), sitk.GetArrayFromImage(scan))
        for geometry in ("GetDirection", "GetOrigin", "GetSpacing"):
            assert getattr(labels, geometry)() == pytest.approx(getattr(scan, geometry)())


def test_volumes_of_several_formats_all_become_nifti_with_their_own_values(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    write_volume(scans / "v.nrrd")
    write_volume(scans / "w.mha")
    labelled("tumor")
    folder, _ = exported("nnunet", only="volumes", own_names=True)
    assert facts(folder)["file_ending"] == ".nii.gz"
    for name, source in (("v", "v.nrrd"), ("w", "w.mha")):
        read = [sitk.ReadImage(str(path)) for path in (scans / source, folder / "imagesTr" / f"{name}_0000.nii.gz")]
        np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, read))
        np.testing.assert_allclose(read[0].GetDirection(), read[1].GetDirection(), atol=1e-5)
        labels = sitk.ReadImage(str(folder / "labelsTr" / f"{name}.nii.gz"))
        assert labels.GetOrigin() == read[1].GetOrigin()
        assert labels.GetDirection() == read[1].GetDirection()


def test_prompts_that_were_asked_of_other_scans_alone_are_no_labels(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    write_volume(scans / "v.nrrd")
    table = scans.with_name("prompts.csv")
    table.write_text("file,prompt\nv.nrrd,liver\na.png,tumor\nb.jpg,tumor\n")
    labelled(table=table)
    folder, _ = exported("nnunet", only="volumes")
    assert facts(folder)["labels"] == {"background": 0, "liver": 1}


def test_pictures_and_volumes_are_not_put_into_one_data_set(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    write_volume(scans / "v.nrrd")
    labelled("tumor")
    with pytest.raises(BadInput, match="--only pictures or --only volumes"):
        exported("nnunet")
    _, tally = exported("nnunet", only="pictures")
    assert tally.counts["cases"] == 3


def test_pixels_that_the_run_was_not_sure_of_have_the_highest_label(labelled: Labelling, exported: Exporting) -> None:
    labels = labelled("tumor", ignore_band=0.3)
    folder, _ = exported("nnunet", own_names=True)
    assert facts(folder)["labels"] == {"background": 0, "tumor": 1, "ignore": 2}
    wanted = np.asarray(Image.open(labels / "labels" / "tumor" / "a.png"))
    assert 2 in wanted
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "labelsTr" / "a.png")), wanted)


def test_the_smaller_of_two_masks_lies_on_top() -> None:
    organ, tumor = np.zeros((2, 9, 9), bool)
    organ[1:8, 1:8] = True
    tumor[3:5, 3:5] = True
    masks, sizes = {"tumor": tumor, "organ": organ}, {"tumor": 4, "organ": 49}
    for prompts in (["organ", "tumor"], ["tumor", "organ"]):
        layered = Layered(prompts)
        labels = layered.united(masks, sizes)
        assert (labels[3, 3], labels[1, 1], labels[0, 0]) == (layered.values["tumor"], layered.values["organ"], 0)


def test_regions_keep_overlaps_and_the_largest_is_painted_first() -> None:
    organ, tumor, other = np.zeros((3, 9, 9), bool)
    organ[1:8, 1:8] = True
    tumor[3:5, 3:5] = True
    other[7:9, 7:9] = True
    masks = {"other": other, "organ": organ, "tumor": tumor}
    regions = Regions(list(masks))
    regions.learn(masks)
    labels = regions.united(masks, {})
    told = regions.facts()
    assert list(told["labels"]) == ["background", "organ", "other", "tumor"]
    for prompt, mask in masks.items():
        np.testing.assert_array_equal(np.isin(labels, told["labels"][prompt]), mask)
    painted = np.zeros((9, 9), np.uint8)
    for prompt, value in zip(("organ", "other", "tumor"), told["regions_class_order"], strict=True):
        painted[masks[prompt]] = value
    np.testing.assert_array_equal(np.isin(painted, told["labels"]["organ"])[:7, :7], organ[:7, :7])
    np.testing.assert_array_equal(np.isin(painted, told["labels"]["tumor"]), tumor)


def test_regions_without_overlap_are_plain_labels(labelled: Labelling, exported: Exporting) -> None:
    labelled("tumor", "unicorn")
    folder, _ = exported("nnunet", regions=True)
    assert sorted(facts(folder)["labels"].items()) == [("background", 0), ("tumor", 1), ("unicorn", 2)]
    assert "regions_class_order" not in facts(folder)


def test_folds_keep_a_patients_scans_together(scans: Path, labelled: Labelling, exported: Exporting) -> None:
    labelled("tumor")
    table = scans.with_name("groups.csv")
    table.write_text("file,group\na.png,P1\nsiteA/DOE_JANE.png,P1\nb.jpg,P2\n")
    folder, tally = exported("nnunet", groups=Groups(path=table))
    folds = json.loads((folder / "splits_final.json").read_text())
    assert [len(fold["val"]) for fold in folds] == [2, 1]
    assert all(set(fold["train"]).isdisjoint(fold["val"]) for fold in folds)
    assert any("splits_final.json" in note for note in tally.notes)
    assert any("Dataset001_nnunet" in note for note in tally.notes)


def test_a_data_set_in_which_nothing_was_found_is_refused(labelled: Labelling, exported: Exporting) -> None:
    labelled("unicorn")
    with pytest.raises(BadInput, match="cannot plan"):
        exported("nnunet")


def test_a_dicom_series_becomes_nifti_with_its_values_and_without_its_names(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    series(scans.parent / "ct", OBLIQUE[0], PatientName="Doe^Jane", RescaleIntercept=-100)
    table = scans.with_name("table.csv")
    table.write_text("file\nct\n")
    labelled("liver", source=table, formats=("nifti",))
    folder, _ = exported("nnunet", images=table)
    (image,), (labels,) = ([*(folder / part).iterdir()] for part in ("imagesTr", "labelsTr"))
    scan = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(scans.parent / "ct")))
    found = sitk.ReadImage(str(image))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(scan))
    for geometry in ("GetDirection", "GetOrigin", "GetSpacing"):
        assert getattr(found, geometry)() == pytest.approx(getattr(scan, geometry)(), abs=1e-4)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(labels)))
    np.testing.assert_array_equal(mask > 0, sitk.GetArrayFromImage(scan) > 500)
    assert b"Doe" not in gzip.decompress(image.read_bytes())
