"""NIfTI volumes in any orientation: slices out, masks back onto their voxels."""

from __future__ import annotations

import gzip
import itertools
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.orientations import ornt_transform

from medclipsam.errors import BadInput
from medclipsam.io import count_images, read_image, read_images, write_mask, write_volume_mask
from medclipsam.io.volumes.geometry import SliceView
from medclipsam.io.volumes.masks import PackedMasks
from medclipsam.io.volumes.nifti_place import NO_CODES, SHEARED
from medclipsam.io.volumes.source import HOUNSFIELD, NO_ORIENTATION
from medclipsam.types import MedImage

SHAPE = (23, 38, 3)
SPACING = (0.7, 0.9, 5.0)
ORIENTATIONS = [
    np.array([*zip(axes, flips, strict=True)], float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def phantom() -> np.ndarray:
    """In RAS+: dark, with one bright block that no mirror image equals."""
    volume = np.zeros(SHAPE, np.int16)
    volume[3:9, 20:34, 1] = 700
    volume[3:5, 20:34, 2] = 900
    volume[::2, ::3, 0] = 90
    return volume


def reoriented(orientation: np.ndarray, base: np.ndarray | None = None) -> nib.Nifti1Image:
    """The phantom with its voxels stored in another order, at the same place in space."""
    affine = np.diag([*SPACING, 1.0]) if base is None else base
    affine[:3, 3] = (-12, 31, 7)
    plain = nib.Nifti1Image(phantom(), affine)
    stored = plain.as_reoriented(orientation)
    return nib.Nifti1Image(np.asarray(stored.dataobj), stored.affine)


def masks_of(path: Path, level: float = 0.6, axis: str | None = None) -> tuple[MedImage, dict[int, np.ndarray]]:
    images = list(read_images(path, axis=axis))
    return images[0], {image.origin.index: image.pixels[..., 0] > level for image in images}


def centroid_mm(image: nib.Nifti1Image, inside: np.ndarray) -> np.ndarray:
    return nib.affines.apply_affine(image.affine, np.argwhere(inside).mean(axis=0))


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=lambda o: "".join(nib.orientations.ornt2axcodes(o)))
def test_a_mask_lies_on_its_voxels_in_all_48_orientations(tmp_path: Path, orientation: np.ndarray) -> None:
    nib.save(reoriented(orientation), tmp_path / "x.nii.gz")
    source = nib.load(tmp_path / "x.nii.gz")
    first, masks = masks_of(tmp_path / "x.nii.gz")
    assert len(masks) == 3
    written = nib.load(write_volume_mask(first.origin.volume, masks, tmp_path / "mask"))
    bright = np.asarray(source.dataobj) > 500
    np.testing.assert_array_equal(np.asarray(written.dataobj), bright)
    np.testing.assert_array_equal(written.affine, source.affine)
    np.testing.assert_allclose(centroid_mm(written, bright), centroid_mm(source, bright))


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("orientation", ORIENTATIONS[::5], ids=lambda o: "".join(nib.orientations.ornt2axcodes(o)))
def test_a_slice_is_shown_the_same_however_it_is_stored(tmp_path: Path, orientation: np.ndarray, axis: str) -> None:
    nib.save(reoriented(ORIENTATIONS[0]), tmp_path / "plain.nii")
    nib.save(reoriented(orientation), tmp_path / "stored.nii")
    expected = {image.digest for image in read_images(tmp_path / "plain.nii", axis=axis)}
    found = {image.digest for image in read_images(tmp_path / "stored.nii", axis=axis)}
    assert found == expected


def test_an_axial_slice_is_shown_with_right_on_the_left_and_front_on_top(tmp_path: Path) -> None:
    volume = np.zeros(SHAPE, np.float32)
    volume[20:, 30:, 1] = 1
    volume[:, :, 2] = 0.01
    nib.save(nib.Nifti1Image(volume, np.diag([*SPACING, 1.0])), tmp_path / "x.nii")
    shown = read_image(tmp_path / "x.nii", slice_index=1).pixels[..., 0] > 0.5
    rows, columns = np.nonzero(shown)
    assert rows.max() < 38 / 2
    assert columns.max() < 23 / 2
    assert read_image(tmp_path / "x.nii", slice_index=1).spacing_mm == pytest.approx((0.9, 0.7))


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-np.pi, np.pi)] * 3), st.sampled_from(range(48)), st.sampled_from([0, 1, 2]))
def test_an_oblique_volume_gets_its_mask_back_too(
    tmp_path_factory: pytest.TempPathFactory, angles: tuple[float, ...], number: int, axis: int
) -> None:
    folder = tmp_path_factory.mktemp("oblique")
    base = np.eye(4)
    base[:3, :3] = nib.eulerangles.euler2mat(*angles) @ np.diag(SPACING)
    source = reoriented(ORIENTATIONS[number], base)
    nib.save(source, folder / "x.nii")
    images = list(read_images(folder / "x.nii", axis=axis))
    masks = {image.origin.index: image.pixels[..., 0] > 0.6 for image in images}
    written = nib.load(write_volume_mask(images[0].origin.volume, masks, folder / "mask"))
    np.testing.assert_array_equal(np.asarray(written.dataobj), np.asarray(source.dataobj) > 500)


@given(st.booleans(), st.booleans(), st.booleans(), st.integers(1, 5), st.integers(1, 5))
def test_placing_undoes_showing(transposed: bool, rows: bool, columns: bool, height: int, width: int) -> None:
    view = SliceView(transposed=transposed, flipped_rows=rows, flipped_columns=columns)
    voxels = np.arange(height * width).reshape(height, width)
    np.testing.assert_array_equal(view.place(view.show(voxels)), voxels)


def test_one_slice_is_written_into_a_volume_that_is_empty_elsewhere(tmp_path: Path) -> None:
    nib.save(reoriented(ORIENTATIONS[7]), tmp_path / "x.nii.gz")
    image = read_image(tmp_path / "x.nii.gz", slice_index=1)
    path = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "breast.tumor")
    assert path.name == "breast.tumor.nii.gz"
    written = np.asarray(nib.load(path).dataobj)
    source = nib.load(tmp_path / "x.nii.gz")
    axis = image.origin.volume.axis
    others = np.delete(written, 1, axis=axis)
    assert not others.any()
    np.testing.assert_array_equal(written.take(1, axis), np.asarray(source.dataobj).take(1, axis) > 500)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("codes", [(0, 0), (1, 0), (0, 4), (1, 2)])
def test_qform_and_sform_come_back_bit_for_bit(tmp_path: Path, kind: type, codes: tuple[int, int]) -> None:
    source = kind(phantom(), np.diag([*SPACING, 1.0]))
    skewed = source.affine.copy()
    skewed[0, 1] = 0.4
    source.set_sform(skewed, codes[1])
    source.set_qform(np.diag([*SPACING, 1.0]), codes[0])
    source.header.set_xyzt_units("mm", "sec")
    nib.save(source, tmp_path / "x.nii")
    before = nib.load(tmp_path / "x.nii").header
    image = read_image(tmp_path / "x.nii", slice_index=0, axis=2)
    after = nib.load(write_mask(image, np.ones(image.size, bool), tmp_path / "mask"))
    assert type(after) is kind
    for name in before:
        if name[:4] in ("qfor", "sfor", "quat", "qoff", "srow", "pixd", "xyzt") or name == "dim":
            assert before[name].tobytes() == after.header[name].tobytes(), name
    assert after.get_data_dtype() == np.uint8


def test_a_big_endian_header_comes_back_with_the_same_geometry(tmp_path: Path) -> None:
    affine = np.diag([*SPACING, 1.0])
    header = nib.Nifti1Header(endianness=">")
    source = nib.Nifti1Image(phantom().astype(">i2"), affine, header)
    nib.save(source, tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes()[:4] == struct.pack(">i", 348)
    first, masks = masks_of(tmp_path / "x.nii")
    written = nib.load(write_volume_mask(first.origin.volume, masks, tmp_path / "mask"))
    np.testing.assert_array_equal(written.affine, nib.load(tmp_path / "x.nii").affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), phantom() > 500)


def test_nothing_that_the_header_tells_of_the_patient_is_carried_over(tmp_path: Path) -> None:
    source = reoriented(ORIENTATIONS[0])
    for name in ("descrip", "db_name", "aux_file", "intent_name"):
        source.header[name] = b"DOE^JANE"
    source.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"DOE^JANE 19700101"))
    nib.save(source, tmp_path / "x.nii")
    assert b"DOE^JANE" in (tmp_path / "x.nii").read_bytes()
    image = read_image(tmp_path / "x.nii", slice_index=1)
    path = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    raw = gzip.decompress(path.read_bytes())
    assert b"DOE" not in raw
    assert "DOE" not in repr(image)
    assert not nib.load(path).header.extensions


def test_a_mask_file_has_the_same_bytes_each_time_and_no_name_or_time_in_gzip(tmp_path: Path) -> None:
    nib.save(reoriented(ORIENTATIONS[0]), tmp_path / "x.nii")
    image = read_image(tmp_path / "x.nii", slice_index=1)
    mask = image.pixels[..., 0] > 0.6
    first = write_mask(image, mask, tmp_path / "a").read_bytes()
    assert first == write_mask(image, mask, tmp_path / "b").read_bytes()
    assert first[3] == 0
    assert first[4:8] == bytes(4)


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 1, 1), (9, 1, 7), (1, 9, 7)])
def test_a_flat_volume_is_one_image_and_its_mask_has_its_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.arange(63, dtype=np.float32).reshape(shape)
    nib.save(nib.Nifti1Image(values, np.diag([0.5, 0.5, 0.5, 1])), tmp_path / "x.nii.gz")
    assert count_images(tmp_path / "x.nii.gz") == 1
    image = read_image(tmp_path / "x.nii.gz")
    assert sorted(image.size) == [7, 9]
    written = nib.load(write_mask(image, image.pixels[..., 0] > 0.5, tmp_path / "mask"))
    stored = nib.load(tmp_path / "x.nii.gz").shape
    assert written.shape == stored
    np.testing.assert_array_equal(np.asarray(written.dataobj), values.reshape(stored) > 31)


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1, 1, 5), 2), ((1, 5, 1), 1), ((5, 1, 1), 0), ((1, 1, 1), 2), ((1, 1.1, 1), 2)]
)
def test_slices_are_stacked_along_the_thick_axis_else_from_head_to_feet(
    tmp_path: Path, spacing: tuple[float, ...], axis: int
) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7)), np.diag([*spacing, 1])), tmp_path / "x.nii")
    assert count_images(tmp_path / "x.nii") == (5, 6, 7)[axis]


def test_an_isotropic_volume_stored_sagittally_is_cut_into_axial_slices(tmp_path: Path) -> None:
    orientation = ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt("PIR"))
    volume = nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7)), np.eye(4)).as_reoriented(orientation)
    nib.save(volume, tmp_path / "x.nii")
    assert volume.shape == (6, 7, 5)
    assert count_images(tmp_path / "x.nii") == 7


def test_all_slices_of_a_volume_share_one_brightness(tmp_path: Path) -> None:
    volume = np.zeros((8, 8, 4), np.float32)
    volume[2:6, 2:6, 0] = 10
    volume[2:6, 2:6, 1] = 1000
    nib.save(nib.Nifti1Image(volume, np.diag([1, 1, 5, 1])), tmp_path / "x.nii")
    images = list(read_images(tmp_path / "x.nii"))
    assert images[0].pixels.max() == pytest.approx(0.01)
    assert images[1].pixels.max() == 1
    assert images[0].digest == read_image(tmp_path / "x.nii", slice_index=0).digest


@pytest.mark.parametrize("axis", [0, 1])
def test_slices_that_are_gathered_in_blocks_are_the_same(
    tmp_path: Path, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = np.random.default_rng(0).integers(-1000, 1000, (11, 13, 17)).astype(np.int16)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / "x.nii.gz")
    whole = [image.digest for image in read_images(tmp_path / "x.nii.gz", axis=axis)]
    monkeypatch.setattr("medclipsam.io.volumes.source.BLOCK_BYTES", 3 * 17 * 13 * 2)
    monkeypatch.setattr("medclipsam.io.volumes.source.CHUNK_BYTES", 5 * 11 * 13 * 2)
    assert [image.digest for image in read_images(tmp_path / "x.nii.gz", axis=axis)] == whole
    assert [read_image(tmp_path / "x.nii.gz", axis=axis, slice_index=k).digest for k in range(len(whole))] == whole
    assert len(set(whole)) == volume.shape[axis]


def test_scaling_in_the_header_and_a_named_window_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    nib.save(nib.Nifti1Image(np.asarray([[[-1350, -600], [150, 602]]] * 2, np.int16), np.eye(4)), path)
    shown = read_image(path, axis=0, slice_index=0, window="lung").pixels[..., 0]
    assert sorted(shown.ravel().tolist()) == pytest.approx([0, 0.5, 1, 1])
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", 0.5, 75.0)
    path.write_bytes(raw)
    scaled = read_image(path, axis=0, slice_index=0, window="lung").pixels[..., 0]
    assert sorted(scaled.ravel().tolist()) == pytest.approx([0.5, 0.75, 1, 1])


def test_a_header_with_its_voxels_beside_it_is_read_from_either_file(tmp_path: Path) -> None:
    pair = nib.Nifti1Pair(phantom(), np.diag([*SPACING, 1.0]))
    nib.save(pair, tmp_path / "x.img")
    header, voxels = (read_image(tmp_path / f"x.{suffix}", slice_index=1) for suffix in ("hdr", "img"))
    assert header.digest == voxels.digest
    written = nib.load(write_mask(header, header.pixels[..., 0] > 0.6, tmp_path / "mask"))
    np.testing.assert_array_equal(np.asarray(written.dataobj)[..., 1], phantom()[..., 1] > 500)
    (tmp_path / "x.img").unlink()
    with pytest.raises(BadInput, match="img beside the header is missing"):
        read_image(tmp_path / "x.hdr", slice_index=1)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.hdr", "x.img", "x.dcm", "x"])
@pytest.mark.parametrize("level", [None, 0, 6], ids=["plain", "stored", "packed"])
def test_header_and_voxels_are_unpacked_by_content_whatever_the_file_is_called(
    tmp_path: Path, name: str, level: int | None
) -> None:
    plain = tmp_path / "good.nii"
    nib.save(reoriented(ORIENTATIONS[11]), plain)
    raw = plain.read_bytes()
    (tmp_path / name).write_bytes(raw if level is None else gzip.compress(raw, level))
    expected = [image.digest for image in read_images(plain)]
    assert [image.digest for image in read_images(tmp_path / name)] == expected
    assert len(set(expected)) == 3


@pytest.mark.parametrize(
    "names", [("x.hdr", "x.img"), ("X.HDR", "X.IMG"), ("x.hdr.gz", "x.img.gz"), ("x.nii", "x.img")]
)
@pytest.mark.parametrize("packed", [(False, False), (True, False), (False, True), (True, True)])
def test_either_file_of_a_pair_may_be_packed(tmp_path: Path, names: tuple[str, str], packed: tuple[bool, bool]) -> None:
    pair = nib.Nifti1Pair(phantom(), np.diag([*SPACING, 1.0]))
    nib.save(pair, tmp_path / "good.img")
    for name, source, pack in zip(names, ("good.hdr", "good.img"), packed, strict=True):
        raw = (tmp_path / source).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(raw) if pack else raw)
    found, expected = (read_image(tmp_path / name, slice_index=1).digest for name in (names[0], "good.hdr"))
    assert found == expected


@pytest.mark.parametrize("magic", [b"BZh91AY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
def test_what_is_packed_in_another_way_is_named_and_refused(tmp_path: Path, magic: bytes) -> None:
    (tmp_path / "x.nii.gz").write_bytes(magic + bytes(400))
    with pytest.raises(BadInput, match="is packed with"):
        read_image(tmp_path / "x.nii.gz")


def test_units_of_micrometres_become_millimetres(tmp_path: Path) -> None:
    source = nib.Nifti1Image(phantom(), np.diag([500.0, 250.0, 9000.0, 1]))
    source.header.set_xyzt_units("micron")
    nib.save(source, tmp_path / "x.nii")
    assert read_image(tmp_path / "x.nii", slice_index=1).spacing_mm == pytest.approx((0.25, 0.5))


def placed(path: Path, sform: np.ndarray | None, qform: np.ndarray | None = None, **fields: object) -> MedImage:
    """A slice of the phantom whose header says what is given, and nothing else, of its place."""
    source = nib.Nifti1Image(phantom(), None)
    source.header.set_sform(sform, 0 if sform is None else int(str(fields.pop("sform_code", 1))))
    source.header.set_qform(qform, 0 if qform is None else 1)
    source.header.set_zooms(SPACING)
    for name, value in fields.items():
        source.header[name] = value
    nib.save(source, path)
    return read_image(path, slice_index=1, axis=2)


PLAIN = np.diag([*SPACING, 1.0])
MOVED = PLAIN + np.eye(4, k=3) * 10
SHEARED_BY_A_THOUSANDTH = PLAIN + np.eye(4, k=1) * [0, 0.001, 0, 0]


def test_a_header_without_orientation_is_told_with_the_flip_that_readers_differ_by(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = placed(tmp_path / "x.nii", None)
    assert image.warnings == (NO_CODES,)
    assert image.spacing_mm == pytest.approx((0.9, 0.7))
    across = nib.load(tmp_path / "x.nii").affine[:3, :3]
    theirs = np.diag([-1, -1, 1]) @ np.reshape(sitk.ReadImage(tmp_path / "x.nii").GetDirection(), (3, 3))
    np.testing.assert_array_equal(np.sign(np.diag(across)), [-1, 1, 1])
    np.testing.assert_array_equal(np.sign(np.diag(theirs)), [-1, -1, 1])


@pytest.mark.parametrize("sform_code", [1, 2, 4])
def test_qform_and_sform_that_differ_are_told_with_the_distance(tmp_path: Path, sform_code: int) -> None:
    (told,) = placed(tmp_path / "x.nii", PLAIN, MOVED, sform_code=sform_code).warnings
    assert "up to 10 mm apart" in told
    turned = PLAIN @ np.diag([-1.0, 1, 1, 1])
    assert "qform and sform" in placed(tmp_path / "x.nii", turned, PLAIN, sform_code=sform_code).warnings[0]


@pytest.mark.parametrize("qform", [None, PLAIN])
def test_an_sform_with_shear_is_told(tmp_path: Path, qform: np.ndarray | None) -> None:
    assert SHEARED in placed(tmp_path / "x.nii", SHEARED_BY_A_THOUSANDTH, qform).warnings


def test_voxel_sizes_of_the_sform_that_differ_from_pixdim_are_told(tmp_path: Path) -> None:
    image = placed(tmp_path / "x.nii", np.diag([2.0, 2.0, 3.0, 1.0]))
    assert image.spacing_mm == (2, 2)
    assert "2 x 2 x 3 mm by the sform and 0.7 x 0.9 x 5 by pixdim" in image.warnings[0]


@pytest.mark.parametrize(("code", "word", "factor"), [(1, "in metres", 1000), (3, "in micrometres", 0.001)])
def test_units_that_some_readers_ignore_are_told(tmp_path: Path, code: int, word: str, factor: float) -> None:
    image = placed(tmp_path / "x.nii", PLAIN, PLAIN, xyzt_units=code + 8)
    assert word in image.warnings[0]
    assert image.spacing_mm == pytest.approx((0.9 * factor, 0.7 * factor))
    without_codes = placed(tmp_path / "x.nii", None, xyzt_units=code)
    assert without_codes.spacing_mm == pytest.approx((0.9 * factor, 0.7 * factor))


@pytest.mark.parametrize("code", [0, 2, 10, 5, 255])
def test_no_unit_and_units_that_are_none_are_millimetres(tmp_path: Path, code: int) -> None:
    image = placed(tmp_path / "x.nii", PLAIN, xyzt_units=code)
    assert image.spacing_mm == pytest.approx((0.9, 0.7))
    assert image.warnings == ()


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-np.pi, np.pi)] * 3), st.floats(-500, 500))
def test_rounding_of_a_quaternion_is_not_told_as_a_difference(
    tmp_path_factory: pytest.TempPathFactory, angles: tuple[float, ...], place: float
) -> None:
    affine = np.eye(4)
    affine[:3, :3] = nib.eulerangles.euler2mat(*angles) @ np.diag(SPACING)
    affine[:3, 3] = place
    assert placed(tmp_path_factory.mktemp("x") / "x.nii", affine, affine).warnings == ()


def test_a_qform_that_is_none_is_passed_over_and_without_another_there_is_no_orientation(tmp_path: Path) -> None:
    fields = {"quatern_b": 3.0, "quatern_c": 3.0}
    assert placed(tmp_path / "x.nii", PLAIN, PLAIN, **fields).spacing_mm == pytest.approx((0.9, 0.7))
    image = placed(tmp_path / "x.nii", None, PLAIN, **fields)
    assert (image.spacing_mm, image.warnings) == (None, (NO_ORIENTATION,))


def test_a_voxel_size_of_zero_is_not_taken_for_one(tmp_path: Path) -> None:
    for qform in (None, PLAIN):
        image = placed(tmp_path / "x.nii", None, qform, pixdim=[1, 0, 0, 0, 1, 1, 1, 1])
        assert (image.spacing_mm, image.warnings) == (None, (NO_ORIENTATION,))


@pytest.mark.parametrize("broken", ["zero", "nan", "flat"])
def test_an_orientation_that_is_no_orientation_gives_a_warning_and_no_spacing(tmp_path: Path, broken: str) -> None:
    source = nib.Nifti1Image(phantom(), np.diag([*SPACING, 1.0]))
    nib.save(source, tmp_path / "x.nii")
    raw = bytearray((tmp_path / "x.nii").read_bytes())
    rows = {"zero": [0.0] * 12, "nan": [float("nan")] * 12, "flat": [1.0, 1, 0, 0] * 3}[broken]
    raw[280:328] = struct.pack("<12f", *rows)
    (tmp_path / "x.nii").write_bytes(raw)
    image = read_image(tmp_path / "x.nii", slice_index=1, axis=2)
    assert image.spacing_mm is None
    assert NO_ORIENTATION in image.warnings
    path = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    written = np.asarray(nib.load(path).dataobj)
    np.testing.assert_array_equal(written[..., 1], phantom()[..., 1] > 500)
    assert gzip.decompress(path.read_bytes())[280:328] == bytes(raw[280:328])


@pytest.mark.parametrize("shape", [(5, 6, 7, 2), (5, 6, 1, 1, 3)])
def test_more_than_three_dimensions_are_refused_with_the_way_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nib.save(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "x.nii")
    with pytest.raises(BadInput, match="split them into 3-D"):
        read_image(tmp_path / "x.nii")


def test_colours_and_complex_voxels_are_refused(tmp_path: Path) -> None:
    for number, dtype in enumerate([np.complex64, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])]):
        nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), dtype), np.eye(4)), tmp_path / f"{number}.nii")
        with pytest.raises(BadInput, match="voxels of type"):
            read_image(tmp_path / f"{number}.nii", slice_index=0)


def test_nan_is_refused_in_its_slice_and_does_not_spoil_the_others(tmp_path: Path) -> None:
    volume = phantom().astype(np.float32)
    volume[0, 0, 2] = np.nan
    volume[1, 1, 2] = np.inf
    nib.save(nib.Nifti1Image(volume, np.diag([*SPACING, 1.0])), tmp_path / "x.nii")
    assert read_image(tmp_path / "x.nii", slice_index=1).pixels.max() == pytest.approx(7 / 9)
    with pytest.raises(BadInput, match="2 of 874 values are NaN or infinite"):
        read_image(tmp_path / "x.nii", slice_index=2)


def test_the_slice_must_be_chosen_and_must_exist(tmp_path: Path) -> None:
    nib.save(reoriented(ORIENTATIONS[0]), tmp_path / "x.nii")
    with pytest.raises(BadInput, match=r"holds 3 slices; choose one by slice_index \(0 to 2\)"):
        read_image(tmp_path / "x.nii")
    for wrong in (3, -1):
        with pytest.raises(BadInput, match="choose 0 to 2"):
            read_image(tmp_path / "x.nii", slice_index=wrong)
    with pytest.raises(BadInput, match="choose one by slice_index"):
        read_image(tmp_path / "x.nii", frame=0)
    with pytest.raises(BadInput, match="axis 'up'"):
        read_image(tmp_path / "x.nii", axis="up", slice_index=0)  # type: ignore[arg-type]


def test_sizes_are_compared_with_the_file_before_voxels_are_read(tmp_path: Path) -> None:
    nib.save(reoriented(ORIENTATIONS[0]), tmp_path / "x.nii")
    raw = bytearray((tmp_path / "x.nii").read_bytes())
    (tmp_path / "short.nii").write_bytes(raw[:-1])
    raw[42:48] = struct.pack("<3h", 4000, 4000, 50)
    (tmp_path / "huge.nii").write_bytes(raw)
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    raw[42:48] = struct.pack("<3h", 32767, 32767, 32767)
    (tmp_path / "claims.nii").write_bytes(raw)
    for name, words in (("short", "it is cut off"), ("huge", "it is cut off"), ("claims", "bytes of pixels")):
        with pytest.raises(BadInput, match=words):
            read_image(tmp_path / f"{name}.nii", slice_index=0)
    with pytest.raises(BadInput, match="it is cut off"):
        read_image(tmp_path / "bomb.nii.gz", slice_index=0)
    with pytest.raises(BadInput, match="23 x 38 pixels are more than the limit of 100"):
        read_image(tmp_path / "x.nii", slice_index=0, axis=2, max_pixels=100)


def test_masks_that_do_not_fit_their_volume_are_refused(tmp_path: Path) -> None:
    nib.save(reoriented(ORIENTATIONS[0]), tmp_path / "x.nii")
    image = read_image(tmp_path / "x.nii", slice_index=0)
    for index, mask in ((3, np.zeros(image.size, bool)), (-1, np.zeros(image.size, bool)), (0, np.zeros((3, 4), bool))):
        with pytest.raises(BadInput):
            write_volume_mask(image.origin.volume, {index: mask}, tmp_path / "mask")
    with pytest.raises(BadInput):
        write_mask(image, np.zeros((3, 4), bool), tmp_path / "mask")
    assert list(tmp_path.iterdir()) == [tmp_path / "x.nii"]


@pytest.mark.parametrize("name", ["chest_ct_001", "chest_ct_002"])
def test_a_real_chest_ct_is_shown_without_the_padding_of_its_scanner(shared_data: Path, name: str) -> None:
    """Padded with -3024 HU: with it in the percentiles the lungs were as bright as half of white."""
    path = shared_data / "volumes" / f"{name}.nii.gz"
    drawn = nib.load(path.with_name(f"{name}_lungs.nii.gz")).dataobj[..., 32] > 0  # type: ignore[attr-defined]
    image = read_image(path, slice_index=32)
    lungs = image.origin.volume.view.show(drawn)
    assert image.pixels[lungs].mean() < 0.2
    assert image.warnings == (HOUNSFIELD,)
    assert read_image(path, slice_index=32, window="lung").warnings == ()
    values = nib.load(path).dataobj[..., 32]  # type: ignore[attr-defined]
    assert not image.pixels[image.origin.volume.view.show(values < -1024)].any()


def test_real_volumes_give_their_masks_back(shared_data: Path, tmp_path: Path) -> None:
    scan = shared_data / "volumes" / "brain_mri_1.nii.gz"
    truth = nib.load(shared_data / "volumes" / "brain_mri_1_tumor.nii.gz")
    inside = np.asarray(truth.dataobj) > 0
    first = read_image(scan, slice_index=0)
    volume = first.origin.volume
    masks = {k: volume.view.show(inside.take(k, volume.axis)) for k in range(inside.shape[volume.axis])}
    written = nib.load(write_volume_mask(volume, masks, tmp_path / "mask"))
    np.testing.assert_array_equal(np.asarray(written.dataobj), inside)
    np.testing.assert_array_equal(written.affine, nib.load(scan).affine)


@pytest.mark.parametrize(
    "values", [np.eye(5, 7) > 0, np.arange(35, dtype=np.uint8).reshape(5, 7) % 3], ids=["mask", "labels"]
)
def test_what_is_packed_comes_out_as_it_was(values: np.ndarray) -> None:
    packed = PackedMasks()
    packed.put(4, values)
    np.testing.assert_array_equal(packed[4], values)
    assert packed[4].dtype == values.dtype
