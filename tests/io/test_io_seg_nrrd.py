"""Segmentations for 3D Slicer: read back by slicerio, pynrrd and SimpleITK."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import slicerio
from nibabel.orientations import ornt2axcodes
from test_io_volumes import ROTATIONS, bright_centre, by_nibabel, by_simpleitk, nrrd_in, phantom, stored

from medclipsam.errors import BadInput
from medclipsam.io import read_image, read_images
from medclipsam.io.volumes.seg_nrrd import write_seg_nrrd
from medclipsam.io.volumes.source import Volume


def bright_masks(path: Path, *levels: float) -> tuple[Volume, list[dict[int, np.ndarray]]]:
    """For each level what is brighter."""
    images = list(read_images(path, window=(500, 1000)))
    masks = [{image.origin.index: image.pixels[..., 0] > level / 1000 for image in images} for level in levels]
    return images[0].origin.volume, masks


@pytest.mark.parametrize("orientation", ROTATIONS, ids=lambda o: "".join(ornt2axcodes(o)))
def test_a_segmentation_lies_on_its_scan_in_all_24_orientations(tmp_path: Path, orientation: np.ndarray) -> None:
    voxels, affine = stored(orientation, tilt=(0.2, -0.4, 0.1))
    for name, save in (
        ("RAS", nrrd_in("RAS")),
        ("mha", by_simpleitk("x.mha", packed=True)),
        ("mgz", by_nibabel("x.mgz")),
    ):
        volume, (mask,) = bright_masks(save(voxels, affine, tmp_path), 500)
        written = write_seg_nrrd(volume, {"liver": mask}, tmp_path / name)
        wanted = nib.affines.apply_affine(affine, np.argwhere(voxels > 500).mean(axis=0))
        np.testing.assert_allclose(bright_centre(written, 0), wanted, atol=1e-4)


def test_segments_have_names_colours_extents_and_terminology_as_slicer_reads_them(tmp_path: Path) -> None:
    volume, (large, _) = bright_masks(nrrd_in("LPS")(*stored(), tmp_path), 500, 800)
    nothing = {index: np.zeros_like(mask) for index, mask in large.items()}
    path = write_seg_nrrd(volume, {"left breast tumor": large, "ground-glass ^~| x": nothing}, tmp_path / "seg")
    segmentation = slicerio.read_segmentation(str(path))
    tumor, glass = segmentation["segments"]
    assert [tumor["name"], glass["name"]] == ["left breast tumor", "ground-glass ^~| x"]
    assert tumor["extent"] == [3, 8, 20, 33, 1, 2]
    assert (tumor["labelValue"], tumor["layer"], glass["labelValue"], glass["layer"]) == (1, 0, 2, 0)
    assert tumor["color"] == pytest.approx([0, 158 / 255, 115 / 255], abs=1e-5)
    terms = tumor["terminology"]
    assert terms["contextName"] == "Segmentation category and type - 3D Slicer General Anatomy list"
    assert terms["category"] == ["SCT", "49755003", "Morphologically Abnormal Structure"]
    assert terms["type"][0] == "SCT"
    assert terms["anatomicRegion"][2] == "Breast"
    assert glass["terminology"]["type"][0] == "99MEDCLIPSAM"
    assert segmentation["containedRepresentationNames"] == ["Binary labelmap"]
    assert segmentation["masterRepresentation"] == "Binary labelmap"
    np.testing.assert_array_equal(segmentation["voxels"] == 1, phantom() > 500)


def test_prompts_that_overlap_keep_all_their_voxels_in_layers(tmp_path: Path) -> None:
    volume, (large, small) = bright_masks(nrrd_in("RAS")(*stored(ROTATIONS[4]), tmp_path), 500, 800)
    beside = {index: ~mask for index, mask in large.items()}
    path = write_seg_nrrd(volume, {"liver": large, "tumor": small, "body": beside}, tmp_path / "seg")
    voxels, header = nrrd.read(str(path))
    expected = stored(ROTATIONS[4])[0]
    assert voxels.shape == (2, *expected.shape)
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    for number, wanted in enumerate((expected > 500, expected > 800, expected <= 500)):
        layer, value = int(header[f"Segment{number}_Layer"]), int(header[f"Segment{number}_LabelValue"])
        np.testing.assert_array_equal(voxels[layer] == value, wanted)
    directions = header["space directions"]
    assert np.isnan(directions[0]).all()
    np.testing.assert_allclose(directions[1:].T, np.diag([-1, -1, 1]) @ stored(ROTATIONS[4])[1][:3, :3])
    # SimpleITK takes the layers for components of one 3-D image.
    image = sitk.ReadImage(str(path))
    assert (image.GetSize(), image.GetNumberOfComponentsPerPixel()) == (expected.shape, 2)


def test_a_volume_without_a_place_has_no_segmentation(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "x.nrrd"), phantom())
    image = read_image(tmp_path / "x.nrrd", slice_index=1)
    with pytest.raises(BadInput, match="does not say how it lies in the patient"):
        write_seg_nrrd(image.origin.volume, {"liver": {1: np.ones(image.size, bool)}}, tmp_path / "seg")


def test_a_segmentation_is_not_taken_for_a_scan(tmp_path: Path) -> None:
    volume, (mask,) = bright_masks(nrrd_in("LPS")(*stored(), tmp_path), 500)
    path = write_seg_nrrd(volume, {"liver": mask}, tmp_path / "seg")
    with pytest.raises(BadInput, match="a segmentation that 3D Slicer saved"):
        read_image(path, slice_index=0)
