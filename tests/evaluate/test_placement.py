"""Two volumes are compared where they are the same place, and refused where they are not."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import LabelFile, read_labels
from medclipsam.evaluate.placement import AS_STORED, laid_upon
from medclipsam.io import read_images, write_volume_mask

SPACING = (0.7, 0.9, 5.0)
AFFINE = np.array([[0.7, 0, 0, -12], [0, 0.9, 0, 31], [0, 0, 5, 7], [0, 0, 0, 1.0]])
ORDERS = [
    np.array([*zip(axes, flips, strict=True)], float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
Place = np.ndarray


def labels() -> np.ndarray:
    """(7, 6, 5) that no turn or mirror leaves as they are."""
    return (np.random.default_rng(3).random((7, 6, 5)) < 0.3).astype(np.uint8)


def file(path: Path, voxels: np.ndarray, affine: np.ndarray | None, code: int = 1, unit: str = "mm") -> LabelFile:
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units(unit)
    if affine is not None:
        image.set_sform(affine, code)
        image.set_qform(affine, code)
    nib.save(image, path)
    return read_labels(path)


def oblique() -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, :3] = nib.eulerangles.euler2mat(0.4, -0.3, 0.2) @ affine[:3, :3]
    return affine


@pytest.mark.parametrize("affine", [AFFINE, oblique()], ids=["straight", "oblique"])
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join(nib.orientations.ornt2axcodes(order)))
def test_the_same_place_in_another_storage_order_is_reordered(tmp_path: Path, order: np.ndarray, affine: Place) -> None:
    plain = nib.Nifti1Image(labels(), affine)
    stored = plain.as_reoriented(order)
    expected = file(tmp_path / "truth.nii", labels(), affine)
    found = file(tmp_path / "found.nii.gz", np.asarray(stored.dataobj), stored.affine)
    laid = laid_upon(found, expected)
    np.testing.assert_array_equal(laid.values, labels().T)
    assert laid.spacing_mm == pytest.approx(SPACING[::-1])


@pytest.mark.parametrize("order", ORDERS[::7])
def test_a_slice_is_reordered_too_whichever_axis_is_flat(tmp_path: Path, order: np.ndarray) -> None:
    plain = nib.Nifti1Image(labels()[..., :1], AFFINE)
    stored = plain.as_reoriented(order)
    expected = file(tmp_path / "truth.nii", labels()[..., :1], AFFINE)
    found = file(tmp_path / "found.nii", np.asarray(stored.dataobj), stored.affine)
    np.testing.assert_array_equal(laid_upon(found, expected).values, labels()[..., 0].T)
    np.testing.assert_array_equal(laid_upon(expected, found).values.ravel(), np.asarray(stored.dataobj).T.ravel())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(("voxels", "same"), [(1e-6, True), (0.1, True), (0.49, True), (0.5, False), (1.0, False)])
def test_origins_may_differ_by_less_than_half_a_voxel(tmp_path: Path, axis: int, voxels: float, same: bool) -> None:
    moved = AFFINE.copy()
    moved[axis, 3] += voxels * SPACING[axis]
    expected = file(tmp_path / "truth.nii", labels(), AFFINE)
    found = file(tmp_path / "found.nii", labels(), moved)
    if same:
        np.testing.assert_array_equal(laid_upon(found, expected).values, labels().T)
    else:
        with pytest.raises(BadInput, match="different places: up to"):
            laid_upon(found, expected)


def test_other_voxel_sizes_rotations_and_axes_are_other_places(tmp_path: Path) -> None:
    expected = file(tmp_path / "truth.nii", labels(), AFFINE)
    turned = AFFINE.copy()
    turned[:3, :3] = nib.eulerangles.euler2mat(np.radians(10)) @ turned[:3, :3]
    for affine in (
        AFFINE @ np.diag([1.1, 1, 1, 1]),
        turned,
        np.diag([5, 0.9, 0.7, 1]),
        AFFINE @ np.diag([-1, 1, 1, 1]),
    ):
        with pytest.raises(BadInput, match="different places"):
            laid_upon(file(tmp_path / "found.nii", labels(), affine), expected)
    with pytest.raises(BadInput, match="their axes differ"):
        laid_upon(file(tmp_path / "found.nii", labels().transpose(1, 0, 2), AFFINE), expected)


def test_files_of_other_sizes_are_left_to_the_measuring(tmp_path: Path) -> None:
    expected = file(tmp_path / "truth.nii", labels(), AFFINE)
    found = file(tmp_path / "found.nii", labels()[1:], AFFINE)
    assert laid_upon(found, expected) is found


@pytest.mark.parametrize(("unit", "factor"), [("micron", 1000.0), ("meter", 0.001)])
def test_a_mask_in_another_unit_is_the_same_place(tmp_path: Path, unit: str, factor: float) -> None:
    scaled = AFFINE * np.array([[factor], [factor], [factor], [1]])
    expected = file(tmp_path / "truth.nii", labels(), scaled, unit=unit)
    assert expected.spacing_mm == pytest.approx(SPACING[::-1])
    found = file(tmp_path / "found.nii", labels(), AFFINE)
    np.testing.assert_array_equal(laid_upon(found, expected).values, labels().T)
    with pytest.raises(BadInput, match="different places"):
        laid_upon(file(tmp_path / "plain.nii", labels(), scaled), expected)


def test_files_without_orientation_are_compared_as_stored_where_voxels_have_one_size(tmp_path: Path) -> None:
    def bare(name: str, sizes: tuple[float, ...]) -> LabelFile:
        image = nib.Nifti1Image(labels(), None)
        image.header.set_zooms(sizes)
        nib.save(image, tmp_path / name)
        return read_labels(tmp_path / name)

    expected = bare("truth.nii", SPACING)
    assert expected.spacing_mm == pytest.approx(SPACING[::-1])
    bare_too, placed = bare("same.nii", SPACING), file(tmp_path / "placed.nii", labels(), AFFINE)
    for found, other, note in ((bare_too, expected, ""), (placed, expected, AS_STORED), (expected, placed, AS_STORED)):
        laid = laid_upon(found, other)
        assert laid.note == laid.mask().note == note
        np.testing.assert_array_equal(laid.values, labels().T)
    with pytest.raises(BadInput, match="different sizes"):
        laid_upon(bare("other.nii", (0.7, 0.9, 2.5)), expected)


def scan(path: Path, kind: str) -> None:
    """A scan whose header readers take differently."""
    image = nib.Nifti1Image(labels().astype(np.int16) * 500, None)
    moved, sheared = AFFINE + np.eye(4, k=3) * 10, AFFINE + np.eye(4, k=1) * [0, 0.2, 0, 0]
    sform, qform = {
        "plain": (AFFINE, AFFINE),
        "oblique": (oblique(), oblique()),
        "sform only": (oblique(), None),
        "qform only": (None, oblique()),
        "sform of a standard space": (moved, AFFINE),
        "neither": (None, None),
        "sheared": (sheared, AFFINE),
        "pixdim": (AFFINE, None),
        "micrometres": (AFFINE * [[1000], [1000], [1000], [1]],) * 2,
        "metres": (AFFINE * [[0.001], [0.001], [0.001], [1]],) * 2,
    }[kind]
    image.header.set_sform(sform, 0 if sform is None else 4)
    image.header.set_qform(qform, 0 if qform is None else 1)
    if qform is None:
        image.header.set_zooms((1, 1, 1) if kind == "pixdim" else SPACING)
    image.header.set_xyzt_units({"micrometres": "micron", "metres": "meter"}.get(kind, "mm"))
    nib.save(image, path)


KINDS = (
    *("plain", "oblique", "sform only", "qform only", "sform of a standard space"),
    *("neither", "sheared", "pixdim", "micrometres", "metres"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_a_scan_that_simpleitk_saved_again_is_the_same_place(tmp_path: Path, kind: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    scan(tmp_path / "scan.nii.gz", kind)
    images = list(read_images(tmp_path / "scan.nii.gz", axis=2))
    masks = {image.origin.index: image.pixels[..., 0] > 0.5 for image in images}
    written = write_volume_mask(images[0].origin.volume, masks, tmp_path / "mask")
    sitk.WriteImage(sitk.ReadImage(str(written)), str(tmp_path / "again.nii.gz"))
    ours, theirs = read_labels(written), read_labels(tmp_path / "again.nii.gz")
    for found, expected in ((ours, theirs), (theirs, ours)):
        laid = laid_upon(found, expected)
        np.testing.assert_array_equal(laid.values, expected.values)
        assert laid.mask().mask.sum() == labels().sum()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("size", "axes"), [(1e-6, (0,)), (1e6, (0,)), (1e9, (1, 2)), (1e-30, (0, 1, 2)), (1e30, (0, 1, 2))]
)
def test_absurd_voxel_sizes_are_other_places_and_no_error(tmp_path: Path, size: float, axes: tuple[int, ...]) -> None:
    absurd = AFFINE.copy()
    for axis in axes:
        absurd[axis, axis] = size
    expected = file(tmp_path / "truth.nii", labels(), AFFINE)
    image = nib.Nifti1Image(labels(), None)
    image.header.set_sform(absurd, 1)
    nib.save(image, tmp_path / "found.nii")
    found = read_labels(tmp_path / "found.nii")
    for one, other in ((found, expected), (expected, found)):
        with pytest.raises(BadInput, match="different"):
            laid_upon(one, other)
