from __future__ import annotations

from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis.extra import numpy as arrays
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import read_labels, read_mask
from medclipsam.evaluate.masks import SeveralLabels
from medclipsam.io.label_files import read_foreground

TALL = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0], [1, 0, 0]], bool)
AFFINE = np.diag([0.5, 2.0, 3.0, 1.0])


def saved(path: Path, values: np.ndarray) -> Path:
    Image.fromarray(values).save(path)
    return path


def nifti(path: Path, values: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(values, AFFINE), path)
    return path


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.tif", "m.TIFF", "m.jpg", "m.npy", "m.nii", "m.nii.gz"])
def test_every_format_gives_back_the_mask_with_rows_first(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, TALL)
    elif ".nii" in name:
        nifti(path, TALL.T.astype(np.uint8))
    else:
        saved(path, TALL.repeat(16, 0).repeat(16, 1).astype(np.uint8) * 255)
    mask = read_mask(path).mask
    assert mask.dtype == bool
    assert np.array_equal(mask if mask.shape == TALL.shape else mask[8::16, 8::16], TALL)


@pytest.mark.parametrize("foreground", [1, 7, 255])
def test_any_value_above_zero_is_foreground_in_a_lossless_file(tmp_path: Path, foreground: int) -> None:
    path = saved(tmp_path / "m.png", TALL.astype(np.uint8) * foreground)
    assert np.array_equal(read_mask(path).mask, TALL)


def test_one_bit_sixteen_bit_palette_and_colour_pictures_are_read(tmp_path: Path) -> None:
    colours = np.zeros((4, 3, 4), np.uint8)
    colours[..., 1], colours[..., 3] = TALL * 9, 255
    palette = Image.fromarray((~TALL).astype(np.uint8), "P")
    palette.putpalette([200, 200, 200, 0, 0, 0])
    palette.save(tmp_path / "palette.png")
    saved(tmp_path / "bit.png", TALL)
    saved(tmp_path / "deep.png", TALL.astype(np.uint16) * 256)
    saved(tmp_path / "alpha.png", colours)
    for name in ("palette", "bit", "deep", "alpha"):
        assert np.array_equal(read_mask(tmp_path / f"{name}.png").mask, TALL)


def test_the_halo_of_a_jpeg_is_not_foreground(tmp_path: Path) -> None:
    square = np.zeros((61, 45), np.uint8)
    square[13:40, 9:30] = 255
    path = tmp_path / "m.jpg"
    Image.fromarray(square).save(path, quality=60)
    with Image.open(path) as image:
        assert (np.asarray(image) > 0).sum() > (square > 0).sum()
    assert np.array_equal(read_mask(path).mask, square > 0)


def test_a_nifti_slice_and_a_volume_come_with_their_spacing_in_the_order_of_the_axes(tmp_path: Path) -> None:
    flat = read_mask(nifti(tmp_path / "flat.nii.gz", np.ones((5, 4, 1), np.uint8)))
    assert (flat.mask.shape, flat.spacing_mm) == ((4, 5), (2.0, 0.5))
    volume = read_mask(nifti(tmp_path / "volume.nii.gz", np.ones((5, 4, 3), np.int16)))
    assert (volume.mask.shape, volume.spacing_mm) == ((3, 4, 5), (3.0, 2.0, 0.5))
    assert np.array_equal(volume.grid.affine, AFFINE)


@given(arrays.arrays(np.int16, (3, 4)))
def test_the_labels_of_a_file_are_its_values_above_zero(tmp_path_factory, values: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("ints") / "m.npy"
    np.save(path, values)
    found = read_labels(path)
    assert found.labels == tuple(sorted({value for value in values.ravel().tolist() if value > 0}))
    assert np.array_equal(found.mask(found.labels).mask, values > 0)


LABELS = np.array([[0, 1, 3], [-1, 3, 3]], np.int16)
COLOURS = np.array([[[0, 0, 0], [255, 0, 0], [0, 128, 0]]], np.uint8)
SOFT = np.array([[0, 12, 60, 100, 140, 180, 200, 220, 240, 255]], np.uint8)


def test_one_label_of_several_is_a_mask_and_an_absent_one_is_empty(tmp_path: Path) -> None:
    path = nifti(tmp_path / "m.nii.gz", LABELS)
    assert np.array_equal(read_mask(path, labels=[3]).mask, LABELS.T == 3)
    assert np.array_equal(read_mask(path, labels=[1, 3]).mask, LABELS.T > 0)
    assert not read_mask(path, labels=[2]).mask.any()


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("m.nii.gz", LABELS, "holds several labels: 1, 3;"),
        ("m.npy", LABELS.astype(float), "holds several labels: 1, 3;"),
        ("m.npy", np.arange(20).reshape(4, 5), "holds 19 labels from 1 to 19;"),
        ("m.png", LABELS.astype(np.uint8)[:1], "holds several labels: 1, 3;"),
        ("m.png", COLOURS, "holds several labels: #008000, #ff0000;"),
        ("m.png", SOFT, "holds 9 grey values from 12 to 255, not one mask;"),
    ],
)
def test_several_labels_are_never_united_to_one_mask(tmp_path: Path, name: str, values: np.ndarray, told: str) -> None:
    path = tmp_path / name
    nifti(path, values) if ".nii" in name else np.save(path, values) if "npy" in name else saved(path, values)
    with pytest.raises(SeveralLabels) as refused:
        read_mask(path)
    assert told in str(refused.value)
    assert "--label N" in str(refused.value)


def test_soft_edges_are_cut_at_the_grey_value_that_is_asked_for(tmp_path: Path) -> None:
    assert np.array_equal(read_mask(saved(tmp_path / "m.png", SOFT), above=127).mask, SOFT > 127)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("m.npy", np.array([[0.0, 0.7]]), "probabilities"),
        ("m.npy", np.array([[0.0, np.nan]]), "NaN"),
        ("m.npy", np.array([[0.0, 1.5]]), "not whole numbers"),
        ("m.npy", np.zeros(4), "not a mask"),
        ("m.npy", np.zeros((0, 3)), "not a mask"),
        ("m.npy", np.zeros((1, 2, 3, 4)), "not a mask"),
        ("m.npy", np.array([["a", "b"]]), "not a mask"),
        ("m.npy", np.array([[{}, {}]]), "cannot be read"),
        ("m.nii", np.zeros((2, 3, 4, 5), np.uint8), "4-D data"),
        ("m.nii", np.full((2, 3), 0.5, np.float32), "probabilities"),
    ],
)
def test_an_array_that_is_no_mask_is_refused(tmp_path: Path, name: str, values: np.ndarray, says: str) -> None:
    path = tmp_path / name
    nifti(path, values) if name.endswith("nii") else np.save(path, values, allow_pickle=True)
    with pytest.raises(BadInput, match=says):
        read_mask(path)


@pytest.mark.parametrize("name", ["m.png", "m.tif", "m.jpg", "m.npy", "m.nii", "m.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"not an image at all", b"\x89PNG\r\n\x1a\n", b"\x93NUMPY\x01\x00\xff\xff"])
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as refusal:
        read_mask(path)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_cut_off_in_the_middle_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 64), np.uint8)
    for path in (saved(tmp_path / "m.png", noise), nifti(tmp_path / "m.nii.gz", noise)):
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(BadInput, match="cannot be read"):
            read_mask(path)


def test_several_pictures_in_one_tiff_are_refused(tmp_path: Path) -> None:
    pages = [Image.fromarray(TALL.astype(np.uint8)) for _ in range(2)]
    pages[0].save(tmp_path / "m.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(BadInput, match="several pictures"):
        read_mask(tmp_path / "m.tif")


def test_other_files_and_missing_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_bytes(bytes(128) + b"DICM" + bytes(100))
    with pytest.raises(BadInput, match="no mask file"):
        read_mask(tmp_path / "scan.dcm")
    with pytest.raises(BadInput, match="there is no file"):
        read_mask(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["m.nrrd", "m.seg.nrrd", "m.nhdr", "m.mha", "m.mhd"])
def test_labels_of_slicer_and_itk_are_read_with_their_place(tmp_path: Path, name: str) -> None:
    labels = np.zeros((3, 5, 7), np.uint8)
    labels[1, 2:4, 3:6], labels[2, 0, 0] = 1, 2
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.5, 0.7, 3.0))
    image.SetOrigin((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / name))
    found = read_labels(tmp_path / name)
    assert (found.labels, found.spacing_mm) == ((1, 2), pytest.approx((3.0, 0.7, 0.5)))
    np.testing.assert_array_equal(found.mask([1]).mask, labels == 1)
    assert found.grid is not None
    np.testing.assert_allclose(found.grid.affine[:3, 3], (-1.0, -2.0, 3.0))


def test_labels_of_freesurfer_are_read_with_their_place(tmp_path: Path) -> None:
    labels = np.zeros((7, 5, 3), np.int32)
    labels[3:6, 2:4, 1] = 17
    affine = np.array([[0, 0, -3.0, 1], [0.5, 0, 0, 2], [0, -0.7, 0, 3], [0, 0, 0, 1]])
    nib.save(nib.MGHImage(labels, affine), tmp_path / "aseg.mgz")
    found = read_labels(tmp_path / "aseg.mgz")
    assert (found.labels, found.spacing_mm) == ((17,), pytest.approx((3.0, 0.7, 0.5)))
    assert found.grid is not None
    np.testing.assert_allclose(found.grid.affine, affine, atol=1e-5)


def test_a_segmentation_that_was_saved_by_slicer_is_a_file_of_labels(tmp_path: Path) -> None:
    labels = np.zeros((7, 5, 3), np.uint8)
    labels[3:6, 2:4, 1] = 1
    header = {"space": "LPS", "space directions": np.eye(3), "Segment0_ID": "Segment_1", "Segment0_Name": "liver"}
    nrrd.write(str(tmp_path / "m.seg.nrrd"), labels, header)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.seg.nrrd").mask().mask, labels.T > 0)


def test_a_mask_to_train_on_is_one_structure_too(tmp_path: Path) -> None:
    assert np.array_equal(read_foreground(saved(tmp_path / "m.png", TALL.astype(np.uint8) * 7)), TALL)
    with pytest.raises(BadInput, match=r"several labels: 1 \.\.\. 3; save each structure alone"):
        read_foreground(nifti(tmp_path / "m.nii.gz", LABELS))
