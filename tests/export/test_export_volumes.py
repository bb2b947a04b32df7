"""3D Slicer's segmentations and BIDS derivatives: masks on the scans' own grids, overlaps kept."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import slicerio
from export_scans import SIZE, Exporting, Labelling, bright, write_volume
from PIL import Image

from medclipsam.runs.groups import Groups


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_slicers_segmentation_lies_on_the_scan_beside_it(
    scans: Path, labelled: Labelling, exported: Exporting, ending: str
) -> None:
    voxels = write_volume(scans / "v.nii.gz")
    if ending != ".nii.gz":
        (nib.save if ending == ".mgz" else sitk.WriteImage)(
            nib.MGHImage.from_image(nib.load(scans / "v.nii.gz"))
            if ending == ".mgz"
            else sitk.ReadImage(str(scans / "v.nii.gz")),
            str(scans / f"v{ending}"),
        )
        (scans / "v.nii.gz").unlink()
    labelled("tumor", "unicorn")
    folder, tally = exported("slicer", only="volumes", own_names=True)
    assert tally.counts["segmentations"] == 1
    own = ".nii.gz" if ending == ".mgz" else ending
    assert sorted(path.name for path in (folder / "v").iterdir()) == sorted(["v.seg.nrrd", f"v{own}"])
    scan, segments = (sitk.ReadImage(str(folder / "v" / f"v{end}")) for end in (own, ".seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segments), sitk.GetArrayFromImage(scan))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(scan), voxels)
    for geometry in ("GetDirection", "GetOrigin", "GetSpacing"):
        assert getattr(segments, geometry)() == pytest.approx(getattr(scan, geometry)(), abs=1e-4)
    read = slicerio.read_segmentation(str(folder / "v" / "v.seg.nrrd"))
    assert [segment["name"] for segment in read["segments"]] == ["tumor", "unicorn"]


def test_slicers_segmentation_of_a_picture_lies_on_the_png_beside_it(labelled: Labelling, exported: Exporting) -> None:
    labelled("tumor")
    folder, tally = exported("slicer", own_names=True)
    assert tally.counts == {"segmentations": 3}
    shown = sitk.ReadImage(str(folder / "b" / "b.png"))
    segments = sitk.ReadImage(str(folder / "b" / "b.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(segments)[0] > 0, bright(folder / "b" / "b.png"))
    assert segments.GetSize() == (*shown.GetSize(), 1)
    assert segments.GetSpacing() == (*shown.GetSpacing(), 1)
    assert segments.GetDirection() == tuple(np.eye(3).ravel())


@pytest.mark.parametrize("layout", ["slicer", "bids"])
def test_a_volume_that_does_not_say_how_it_lies_is_left_out_with_the_reason(
    scans: Path, labelled: Labelling, exported: Exporting, layout: str
) -> None:
    voxels = np.zeros((20, 30, 4), np.float32)
    voxels[4:9, 8:14, 1:3] = 1
    nrrd.write(str(scans / "v.nrrd"), voxels)
    labelled("tumor")
    folder, tally = exported(layout)
    (told,) = [name for name in tally.counts if name.startswith("scans left out")]
    assert "does not say how it lies in the patient" in told
    assert not [path for path in folder.rglob("*") if path.name.startswith("v-")]


def test_bids_masks_lie_on_the_scan_with_what_they_are_beside_them(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    voxels = write_volume(scans / "v.nii.gz")
    labelled("breast tumor", "unicorn")
    folder, tally = exported("bids", only="volumes", own_names=True)
    assert (tally.counts["masks"], tally.counts["maps of labels"]) == (2, 1)
    description = json.loads((folder / "dataset_description.json").read_text())
    assert (description["DatasetType"], description["GeneratedBy"][0]["Name"]) == ("derivative", "medclipsam")
    assert (folder / "dseg.tsv").read_text() == "index\tname\n0\tbackground\n1\tbreast tumor\n2\tunicorn\n"
    files = {path.name for path in (folder / "sub-v" / "anat").iterdir()}
    names = ["sub-v_label-breastTumor_mask", "sub-v_label-unicorn_mask", "sub-v_dseg"]
    assert files == {f"{name}{end}" for name in names for end in (".nii.gz", ".json")}
    sidecar = json.loads((folder / "sub-v" / "anat" / f"{names[0]}.json").read_text())
    assert (sidecar["Prompt"], sidecar["Type"]) == ("breast tumor", "ROI")
    assert 0 < sidecar["Confidence"] <= 1
    scan = nib.load(scans / "v.nii.gz")
    for name, wanted in zip(names, (voxels, np.zeros_like(voxels), voxels), strict=True):
        mask = nib.load(folder / "sub-v" / "anat" / f"{name}.nii.gz")
        np.testing.assert_array_equal(np.asarray(mask.dataobj).T, wanted)
        np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-6)


def test_bids_subjects_are_groups_and_their_scans_runs(scans: Path, labelled: Labelling, exported: Exporting) -> None:
    labelled("tumor")
    table = scans.with_name("groups.csv")
    table.write_text("file,group\na.png,Jane Doe\nsiteA/DOE_JANE.png,Jane Doe\nb.jpg,P2\n")
    folder, tally = exported("bids", groups=Groups(path=table))
    assert tally.counts == {"masks": 3}
    assert any("pictures are volumes" in note for note in tally.notes)
    subjects = sorted(path.name for path in folder.glob("sub-*"))
    assert len(subjects) == 2
    assert not any("doe" in name.lower() for name in subjects)
    runs = sorted(path.name.split("_")[1] for path in folder.rglob("*_run-*.nii.gz"))
    assert runs == ["run-1", "run-2"]


def test_bids_words_of_prompts_that_look_alike_are_told_apart(labelled: Labelling, exported: Exporting) -> None:
    labelled("breast tumor", "breast-tumor", "腫瘍")
    folder, _ = exported("bids")
    words = {path.name.split("_label-")[1].split("_")[0] for path in folder.rglob("*_mask.nii.gz")}
    assert len(words) == 3
    assert all(word.isascii() and word.isalnum() for word in words)


def test_pages_of_a_file_are_one_volume_in_bids(scans: Path, labelled: Labelling, exported: Exporting) -> None:
    pages = [Image.fromarray(np.roll(bright(scans / "a.png"), 3 * number, 0)) for number in range(3)]
    pages[0].save(scans / "p.tif", save_all=True, append_images=pages[1:])
    labelled("tumor")
    folder, _ = exported("bids", own_names=True)
    mask = np.asarray(nib.load(folder / "sub-p" / "anat" / "sub-p_label-tumor_mask.nii.gz").dataobj)
    assert mask.shape == (*SIZE[::-1], 3)
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(mask[..., number].T > 0, np.asarray(page))
