"""NRRD, MetaImage and FreeSurfer volumes: slices out, masks back onto their voxels, hostile headers in one line."""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from nibabel.orientations import io_orientation, ornt2axcodes

from medclipsam.errors import BadInput
from medclipsam.io import is_readable, read_image, read_images, write_mask, write_volume_mask
from medclipsam.io.reading import open_source
from medclipsam.io.source import ReadOptions
from medclipsam.io.volumes.masks import VolumeFormat
from medclipsam.io.volumes.nrrd import OTHER_UNITS
from medclipsam.io.volumes.opening import parts_of
from medclipsam.io.volumes.source import AS_STORED, NO_ORIENTATION

SHAPE, SPACING, ORIGIN = (23, 38, 3), (0.7, 0.9, 5.0), (-12.0, 31.0, 7.0)
ROTATIONS = [
    np.array([*zip(axes, flips, strict=True)], float)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
    if np.linalg.det(np.eye(3)[list(axes)] * flips) > 0
]
"""The 24 ways to store a volume without mirroring it."""
FORMATS: tuple[VolumeFormat, ...] = "nifti", "nrrd", "mha", "mgz"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Saver = Callable[[np.ndarray, np.ndarray, Path], Path]


def phantom() -> np.ndarray:
    """In RAS+: dark, with one bright block that no mirror image equals."""
    volume = np.zeros(SHAPE, np.int16)
    volume[3:9, 20:34, 1] = 700
    volume[3:5, 20:34, 2] = 900
    volume[::2, ::3, 0] = 90
    return volume


def stored(orientation: np.ndarray | None = None, tilt: tuple[float, ...] = (0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """(voxels, affine to RAS mm) of the phantom, in another storage order, perhaps oblique."""
    affine = np.eye(4)
    affine[:3, :3] = nib.eulerangles.euler2mat(*tilt) @ np.diag(SPACING)
    affine[:3, 3] = ORIGIN
    plain = nib.Nifti1Image(phantom(), affine)
    turned = plain if orientation is None else plain.as_reoriented(orientation)
    return np.asarray(turned.dataobj), turned.affine


def nrrd_in(space: str, **more: object) -> Saver:
    """Saves by pynrrd in one of the spaces that NRRD names."""
    signs = [-1.0 if side in "LP" else 1.0 for side in (space if len(space) == 3 else space.title()) if side in "LPRAS"]

    def save(voxels: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
        own = np.diag(signs) @ affine[:3]
        header = {"space": space, "space directions": own[:, :3].T, "space origin": own[:, 3], **more}
        nrrd.write(str(folder / "x.nrrd"), voxels, header)
        return folder / "x.nrrd"

    return save


def by_simpleitk(name: str, *, packed: bool) -> Saver:
    def save(voxels: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
        own = LPS @ affine
        image = sitk.GetImageFromArray(voxels.T)
        steps = np.linalg.norm(own[:3, :3], axis=0)
        image.SetSpacing(steps.tolist())
        image.SetDirection((own[:3, :3] / steps).ravel().tolist())
        image.SetOrigin(own[:3, 3].tolist())
        sitk.WriteImage(image, str(folder / name), packed)
        return folder / name

    return save


def by_nibabel(name: str) -> Saver:
    def save(voxels: np.ndarray, affine: np.ndarray, folder: Path) -> Path:
        nib.save(nib.MGHImage(voxels, affine), folder / name)
        return folder / name

    return save


SAVERS: dict[str, Saver] = {
    "RAS": nrrd_in("RAS"),
    "left-anterior-superior": nrrd_in("left-anterior-superior"),
    "LPS in mm": nrrd_in("LPS", **{"space units": ["mm", "mm", "mm"]}),
    "left-posterior-superior raw": nrrd_in("left-posterior-superior", encoding="raw"),
    "ascii": nrrd_in("LPS", encoding="ascii"),
    "nrrd by ITK": by_simpleitk("x.nrrd", packed=True),
    "nhdr by ITK": by_simpleitk("x.nhdr", packed=False),
    "nhdr packed by ITK": by_simpleitk("x.nhdr", packed=True),
    "mha": by_simpleitk("x.mha", packed=False),
    "mha packed": by_simpleitk("x.mha", packed=True),
    "mhd": by_simpleitk("x.mhd", packed=False),
    "mhd packed": by_simpleitk("x.mhd", packed=True),
    "mgz": by_nibabel("x.mgz"),
    "mgh": by_nibabel("x.mgh"),
}


def bright_centre(path: Path, level: float) -> np.ndarray:
    """Where the voxels above a level lie, in RAS mm: by nibabel of MGZ, by SimpleITK of all others."""
    if path.suffix == ".mgz":
        volume = nib.load(path)
        inside = np.argwhere(np.asarray(volume.dataobj) > level)
        return np.asarray(nib.affines.apply_affine(volume.affine, inside.mean(axis=0)))
    image = sitk.ReadImage(str(path))
    inside = np.argwhere(sitk.GetArrayFromImage(image) > level)[:, ::-1]
    return np.asarray(image.TransformContinuousIndexToPhysicalPoint(inside.mean(axis=0).tolist())) * (-1, -1, 1)


def masks_of(path: Path, **reading: object) -> tuple[object, dict[int, np.ndarray]]:
    images = list(read_images(path, **reading))  # type: ignore[arg-type]
    return images[0].origin.volume, {image.origin.index: image.pixels[..., 0] > 0.6 for image in images}


@pytest.mark.parametrize("saver", SAVERS)
@pytest.mark.parametrize("orientation", ROTATIONS, ids=lambda o: "".join(ornt2axcodes(o)))
def test_a_mask_lies_on_its_voxels_in_all_24_orientations(tmp_path: Path, saver: str, orientation: np.ndarray) -> None:
    voxels, affine = stored(orientation)
    path = SAVERS[saver](voxels, affine, tmp_path)
    volume, masks = masks_of(path)
    written = write_volume_mask(volume, masks, tmp_path / "mask")  # type: ignore[arg-type]
    assert written.suffix == {"nhdr": ".nrrd", "mhd": ".mha", "mgh": ".mgz"}.get(path.suffix[1:], path.suffix)
    wanted = nib.affines.apply_affine(affine, np.argwhere(voxels > 500).mean(axis=0))
    np.testing.assert_allclose(bright_centre(written, 0), wanted, atol=1e-4)
    if path.suffix not in (".mgz", ".mgh"):
        np.testing.assert_allclose(bright_centre(path, 500), wanted, atol=1e-4)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("saver", ["RAS", "nrrd by ITK", "mha packed", "mgz"])
def test_an_oblique_volume_gets_its_mask_in_every_format(tmp_path: Path, saver: str, format: VolumeFormat) -> None:
    voxels, affine = stored(ROTATIONS[7], tilt=(0.3, -0.5, 1.1))
    volume, masks = masks_of(SAVERS[saver](voxels, affine, tmp_path))
    written = write_volume_mask(volume, masks, tmp_path / "mask", format=format)  # type: ignore[arg-type]
    wanted = nib.affines.apply_affine(affine, np.argwhere(voxels > 500).mean(axis=0))
    np.testing.assert_allclose(bright_centre(written, 0), wanted, atol=1e-4)


def by_freesurfer(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(voxels, affine to RAS mm) as FreeSurfer's documentation of the format says, by no library."""
    content = gzip.decompress(path.read_bytes())
    sizes = struct.unpack(">3i", content[4:16])
    spacing, cosines, centre = np.split(np.array(struct.unpack(">15f", content[30:90])), (3, 12))
    affine = np.eye(4)
    affine[:3, :3] = cosines.reshape(3, 3).T * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array(sizes) / 2)
    voxels = np.frombuffer(content, np.uint8, int(np.prod(sizes)), 284).reshape(sizes, order="F")
    return voxels, affine


@pytest.mark.parametrize("orientation", ROTATIONS, ids=lambda o: "".join(ornt2axcodes(o)))
def test_a_freesurfer_mask_lies_where_freesurfers_own_convention_puts_it(
    tmp_path: Path, orientation: np.ndarray
) -> None:
    voxels, affine = stored(orientation, tilt=(0.2, -0.4, 0.1))
    volume, masks = masks_of(by_nibabel("x.mgz")(voxels, affine, tmp_path))
    written = write_volume_mask(volume, masks, tmp_path / "mask")  # type: ignore[arg-type]
    found, own = by_freesurfer(written)
    wanted = nib.affines.apply_affine(affine, np.argwhere(voxels > 500).mean(axis=0))
    assert nib.affines.apply_affine(own, np.argwhere(found).mean(axis=0)) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("saver", ["LPS in mm", "mha packed", "mgz"])
def test_slices_are_those_of_the_same_volume_as_nifti(tmp_path: Path, saver: str) -> None:
    voxels, affine = stored(ROTATIONS[5])
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "x.nii.gz")
    other = SAVERS[saver](voxels, affine, tmp_path)
    for axis in ("axial", "coronal", "sagittal"):
        expected = read_images(tmp_path / "x.nii.gz", axis=axis)
        for mine, same in zip(read_images(other, axis=axis), expected, strict=True):
            assert mine.digest == same.digest
            assert mine.spacing_mm == pytest.approx(same.spacing_mm, rel=1e-6)


@pytest.mark.parametrize("saver", SAVERS)
def test_the_sandbox_gives_the_same_slices_and_origin(tmp_path: Path, saver: str) -> None:
    path = SAVERS[saver](*stored(), tmp_path)
    plain, boxed = read_image(path, slice_index=1), read_image(path, slice_index=1, sandbox=True)
    assert boxed.digest == plain.digest
    np.testing.assert_array_equal(boxed.origin.volume.grid.affine, plain.origin.volume.grid.affine)


@pytest.mark.parametrize("saver", ["RAS", "nrrd by ITK", "mha", "mha packed", "mgz"])
def test_what_the_header_says_of_geometry_comes_back_number_for_number(tmp_path: Path, saver: str) -> None:
    path = SAVERS[saver](*stored(ROTATIONS[3], tilt=(0.1, 0.2, 0.3)), tmp_path)
    volume, masks = masks_of(path)
    written = write_volume_mask(volume, masks, tmp_path / "mask")  # type: ignore[arg-type]
    again, _ = masks_of(written)
    np.testing.assert_array_equal(again.grid.affine, volume.grid.affine)  # type: ignore[attr-defined]


def test_the_same_masks_give_the_same_bytes_and_nothing_of_the_header_but_geometry(tmp_path: Path) -> None:
    more = {"content": "Doe^Jane", "DICOM_0010_0010": "Doe^Jane", "units": ["mm", "Doe", "mm"], "encoding": "raw"}
    path = nrrd_in("LPS", **more)(*stored(), tmp_path)
    volume, masks = masks_of(path)
    for format in FORMATS:
        written = [
            write_volume_mask(volume, masks, tmp_path / name, format=format)  # type: ignore[arg-type]
            for name in ("one", "two")
        ]
        content = written[0].read_bytes()
        assert content == written[1].read_bytes()
        assert b"Doe" not in content


def test_metaimage_comments_do_not_reach_the_mask(tmp_path: Path) -> None:
    path = by_simpleitk("x.mha", packed=False)(*stored(), tmp_path)
    path.write_bytes(b"Comment = Doe, Jane\n" + path.read_bytes().replace(b"RAI", b"DOE"))
    image = read_image(path, slice_index=0)
    assert b"DOE" not in write_mask(image, np.ones(image.size, bool), tmp_path / "mask").read_bytes().upper()


def test_every_number_type_is_read_in_both_byte_orders(tmp_path: Path) -> None:
    for code, order in itertools.product(("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"), "<>"):
        voxels = (phantom() // 10).astype(np.dtype(code).newbyteorder(order))
        path = nrrd_in("RAS")(voxels, stored()[1], tmp_path)
        assert [mask.sum() for mask in masks_of(path)[1].values()] == [0, 84, 28], (code, order)
        if code[1] != "8" or code == "f8":
            path = by_simpleitk("x.mha", packed=True)(voxels.astype(code), stored()[1], tmp_path)
            assert [mask.sum() for mask in masks_of(path)[1].values()] == [0, 84, 28], code


def test_unsigned_16_bit_freesurfer_volumes_and_long_metaimages_are_read(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(phantom().astype(np.uint16), stored()[1]), tmp_path / "x.mgz")
    header = "ObjectType = Image\nNDims = 3\nElementSpacing = 1 2 5\nDimSize = 23 38 3\nElementType = MET_LONG\n"
    voxels = phantom().astype("<i4").tobytes(order="F")
    (tmp_path / "x.mha").write_bytes(f"{header}ElementDataFile = LOCAL\n".encode() + voxels)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.mha"))).T, phantom())
    for name in ("x.mgz", "x.mha"):
        assert [mask.sum() for mask in masks_of(tmp_path / name, axis=2)[1].values()] == [0, 84, 28]


def test_a_big_endian_metaimage_is_read(tmp_path: Path) -> None:
    path = by_simpleitk("x.mha", packed=False)(*stored(), tmp_path)
    expected = read_image(path, slice_index=1).digest
    header, values = path.read_bytes().split(b"ElementDataFile = LOCAL\n")
    swapped = header.replace(b"MSB = False", b"MSB = True") + b"ElementDataFile = LOCAL\n"
    path.write_bytes(swapped + np.frombuffer(values, "<i2").astype(">i2").tobytes())
    assert read_image(path, slice_index=1).digest == expected


def test_slices_along_the_fastest_axis_of_a_packed_file_are_the_same_as_of_a_plain_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    packed = SAVERS["mha packed"](*stored(), tmp_path / "a")
    plain = SAVERS["mha"](*stored(), tmp_path / "b")
    digests = [[image.digest for image in read_images(path, axis=0)] for path in (packed, plain)]
    assert digests[0] == digests[1]
    source = open_source(packed, ReadOptions())
    other = open_source(plain, ReadOptions())
    assert [source.image(k).digest for k in (2, 0, 1)] == [other.image(k).digest for k in (2, 0, 1)]


@pytest.mark.parametrize("saver", ["RAS", "mha packed", "mgz"])
def test_volumes_larger_than_what_is_unpacked_at_once_are_read_through(tmp_path: Path, saver: str) -> None:
    voxels = np.random.default_rng(0).integers(0, 1000, (130, 140, 9)).astype(np.int16)
    path = SAVERS[saver](voxels, np.diag([1.0, 1.0, 3.0, 1.0]), tmp_path)
    for image in read_images(path, window=(500, 1000)):
        shown = image.origin.volume.view.place(image.pixels[..., 0]) * 1000
        np.testing.assert_allclose(shown, voxels[..., image.origin.index], atol=1e-3)


# What a header leaves out is not guessed.


@pytest.mark.parametrize(
    ("fields", "spacing", "words"),
    [
        ({"spacings": [2.0, 3.0, 4.0]}, (3.0, 2.0), AS_STORED),
        ({"spacings": [2.0, 3.0, 4.0], "units": ["cm"] * 3}, (30.0, 20.0), AS_STORED),
        ({"spacings": [2.0, 3.0, 4.0], "units": ["furlong"] * 3}, None, NO_ORIENTATION),
        ({}, None, NO_ORIENTATION),
        ({"space dimension": 3, "space directions": np.diag([2.0, 3.0, 4.0])}, (3.0, 2.0), AS_STORED),
        ({"space": "scanner-xyz", "space directions": np.diag([2.0, 3.0, 4.0])}, (3.0, 2.0), AS_STORED),
        ({"space": "RAS", "space directions": np.diag([2.0, 0.0, 4.0])}, None, NO_ORIENTATION),
    ],
)
def test_a_nrrd_without_patient_space_is_shown_as_stored(
    tmp_path: Path, fields: dict[str, object], spacing: tuple[float, float] | None, words: str
) -> None:
    nrrd.write(str(tmp_path / "x.nrrd"), phantom(), fields)
    image = read_image(tmp_path / "x.nrrd", slice_index=1, axis=2)
    assert words in image.warnings
    assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    np.testing.assert_array_equal(image.pixels[..., 0] > 0.6, phantom()[..., 1].T > 500)
    written = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    values, header = nrrd.read(str(written))
    np.testing.assert_array_equal(values[..., 1], phantom()[..., 1] > 500)
    assert header.get("space") == fields.get("space")
    with pytest.raises(BadInput, match="does not say how it lies in the patient"):
        write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask", format="nifti")


@pytest.mark.parametrize(
    ("left_out", "spacing"),
    [("TransformMatrix", (3.0, 2.0)), ("ElementSpacing", None)],
)
def test_a_metaimage_without_directions_or_spacing_is_shown_as_stored(
    tmp_path: Path, left_out: str, spacing: tuple[float, float] | None
) -> None:
    path = by_simpleitk("x.mha", packed=False)(phantom(), np.diag([2.0, 3.0, 4.0, 1.0]), tmp_path)
    lines = path.read_bytes().split(b"\n", 14)
    path.write_bytes(b"\n".join(line for line in lines if not line.startswith(left_out.encode())))
    image = read_image(path, slice_index=1, axis=2)
    assert image.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    assert (AS_STORED if spacing else NO_ORIENTATION) in image.warnings
    written = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    assert left_out.encode() not in written.read_bytes()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(written)))[1].T, phantom()[..., 1] > 500)


def test_a_freesurfer_volume_whose_orientation_is_marked_bad_is_shown_as_stored(tmp_path: Path) -> None:
    path = by_nibabel("x.mgh")(*stored(), tmp_path)
    content = bytearray(path.read_bytes())
    content[28:30] = b"\0\0"
    path.write_bytes(content)
    image = read_image(path, slice_index=1, axis=2)
    assert NO_ORIENTATION in image.warnings
    assert image.spacing_mm is None
    written = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    assert gzip.decompress(written.read_bytes())[28:90] == bytes(content[28:90])


def test_space_units_of_micrometres_become_millimetres(tmp_path: Path) -> None:
    voxels, affine = stored()
    path = nrrd_in("RAS", **{"space units": ["um"] * 3})(voxels, affine, tmp_path)
    image = read_image(path, slice_index=1)
    assert image.spacing_mm == pytest.approx((0.9e-3, 0.7e-3))
    assert OTHER_UNITS in image.warnings
    written = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    assert read_image(written, slice_index=1).spacing_mm == image.spacing_mm


def test_a_flat_nrrd_in_space_is_one_image_whose_mask_is_flat_too(tmp_path: Path) -> None:
    values = phantom()[..., 1].astype(np.uint8)
    fields = {"space": "LPS", "space directions": [[0.5, 0, 0], [0, 0, 2.0]], "space origin": [1.0, 2.0, 3.0]}
    nrrd.write(str(tmp_path / "x.nrrd"), values, fields)
    (image,) = read_images(tmp_path / "x.nrrd")
    assert image.spacing_mm == pytest.approx((2.0, 0.5))
    written, header = nrrd.read(str(write_mask(image, np.ones(image.size, bool), tmp_path / "mask")))
    assert written.shape == values.shape
    np.testing.assert_array_equal(header["space directions"], fields["space directions"])


# Several values for each voxel, other objects, and what lies elsewhere.


@pytest.mark.parametrize(
    ("shape", "kinds", "words"),
    [
        ((3, 23, 38, 3), ["RGB-color", "domain", "domain", "domain"], "RGB-color"),
        ((23, 38, 3, 6), ["domain", "domain", "domain", "list"], "an axis of 6 values"),
        ((23, 38, 3, 4), ["domain", "domain", "domain", "domain"], "4-D data"),
        ((23, 38, 3, 4), ["domain", "domain", "domain", "time"], "an axis of 4 values"),
    ],
)
def test_colours_gradients_and_times_are_refused_with_the_way_out(
    tmp_path: Path, shape: tuple[int, ...], kinds: list[str], words: str
) -> None:
    nrrd.write(str(tmp_path / "x.nrrd"), np.zeros(shape, np.uint8), {"kinds": kinds})
    with pytest.raises(BadInput, match=words):
        read_image(tmp_path / "x.nrrd", slice_index=0)


def test_an_axis_that_is_no_direction_in_space_may_have_length_one(tmp_path: Path) -> None:
    voxels, affine = stored()
    directions = np.vstack([[np.nan] * 3, affine[:3, :3].T])
    fields = {"space": "RAS", "space directions": directions, "kinds": ["list", *["domain"] * 3]}
    nrrd.write(str(tmp_path / "x.nrrd"), voxels[None], {**fields, "space origin": affine[:3, 3]})
    by_nibabel("plain.mgz")(voxels, affine, tmp_path)
    image, plain = (read_image(tmp_path / name, slice_index=1) for name in ("x.nrrd", "plain.mgz"))
    assert image.digest == plain.digest
    written = write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")
    assert sitk.ReadImage(str(written)).GetSize() == SHAPE


def test_colours_of_metaimage_are_refused(tmp_path: Path) -> None:
    colours = sitk.GetImageFromArray(np.zeros((3, 8, 9, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(tmp_path / "x.mha"))
    with pytest.raises(BadInput, match="has 3 values for each voxel"):
        read_image(tmp_path / "x.mha", slice_index=0)


def test_frames_of_a_freesurfer_volume_are_refused(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(np.zeros((4, 5, 6, 2), np.uint8), np.eye(4)), tmp_path / "x.mgz")
    with pytest.raises(BadInput, match="4-D data"):
        read_image(tmp_path / "x.mgz", slice_index=0)


@pytest.mark.parametrize("outside", ["../secret.raw", "/etc/passwd", "..\\secret.raw", "C:\\x.raw", "link.raw"])
@pytest.mark.parametrize("kind", ["mhd", "nhdr"])
def test_voxels_outside_the_folder_of_their_header_are_refused(tmp_path: Path, kind: str, outside: str) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(phantom().tobytes())
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    path = SAVERS[kind if kind == "mhd" else "nhdr by ITK"](*stored(), folder)
    path.write_text(path.read_text().replace("x.raw", outside))
    for read in (lambda: read_image(path, slice_index=0), lambda: parts_of({"nhdr": "nrrd", "mhd": "mha"}[kind], path)):
        with pytest.raises(BadInput, match="outside its own folder") as refused:
            read()
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize("kind", ["mhd", "nhdr by ITK"])
def test_voxels_in_a_folder_below_are_read_and_missing_ones_are_said(tmp_path: Path, kind: str) -> None:
    path = SAVERS[kind](*stored(), tmp_path)
    expected = read_image(path, slice_index=1).digest
    (tmp_path / "data").mkdir()
    (tmp_path / "x.raw").rename(tmp_path / "data" / "x.raw")
    with pytest.raises(BadInput, match="is missing"):
        read_image(path, slice_index=1)
    path.write_text(path.read_text().replace("x.raw", "data/x.raw"))
    assert read_image(path, slice_index=1).digest == expected
    assert parts_of("mha" if kind == "mhd" else "nrrd", path) == (path, tmp_path / "data" / "x.raw")


def test_several_data_files_are_refused(tmp_path: Path) -> None:
    path = SAVERS["nhdr by ITK"](*stored(), tmp_path)
    text = path.read_text()
    for names in ("x%02d.raw 1 3 1", "LIST\nx1.raw\nx2.raw"):
        path.write_text(text.replace("x.raw", names))
        with pytest.raises(BadInput, match="lie in several files"):
            read_image(path, slice_index=0)


@pytest.mark.parametrize("saver", [name for name in SAVERS if not name.startswith(("nhdr", "mhd"))])
def test_sizes_are_compared_with_the_file_before_voxels_are_read(tmp_path: Path, saver: str) -> None:
    path = SAVERS[saver](*stored(), tmp_path)
    plain = gzip.decompress(path.read_bytes()) if path.suffix == ".mgz" else path.read_bytes()
    sizes = {".nrrd": (b"sizes: 23 38 3", b"sizes: 99999 99999 3"), ".mha": (b"= 23 38 3", b"= 99999 99999 3")}
    old, new = sizes.get(path.suffix, (struct.pack(">3i", *SHAPE), struct.pack(">3i", 99999, 99999, 3)))
    assert old in plain
    changed = plain.replace(old, new)
    path.write_bytes(gzip.compress(changed) if path.suffix == ".mgz" else changed)
    with pytest.raises(BadInput, match=r"claims .* bytes"):
        read_image(path, slice_index=0)


@pytest.mark.parametrize("saver", SAVERS)
def test_a_file_that_is_cut_off_is_refused_in_one_line(tmp_path: Path, saver: str) -> None:
    path = SAVERS[saver](*stored(), tmp_path)
    data = next((tmp_path / name for name in ("x.raw", "x.raw.gz", "x.zraw") if (tmp_path / name).exists()), path)
    whole = data.read_bytes()
    for length in (1, len(whole) // 2, len(whole) - 100):
        data.write_bytes(whole[:length])
        with pytest.raises(BadInput):
            list(read_images(path))


@pytest.mark.parametrize("saver", ["RAS", "ascii", "nrrd by ITK", "mha", "mha packed", "mgz", "mgh"])
def test_damaged_files_end_in_an_image_or_one_line(tmp_path: Path, saver: str) -> None:
    path = SAVERS[saver](*stored(), tmp_path)
    whole, generator = path.read_bytes(), np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(whole), 600), 3):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert read_image(path, slice_index=0).pixels.ndim == 3
        except BadInput as error:
            assert "\n" not in str(error)


def test_a_header_without_end_is_refused_within_its_limit(tmp_path: Path) -> None:
    for name, line in (("x.nrrd", b"NRRD0004\n" + b"# long\n" * 2_000_000), ("x.mha", b"NDims = 3\n" * 200_000)):
        (tmp_path / name).write_bytes(line)
        with pytest.raises(BadInput, match="its header does not"):
            read_image(tmp_path / name, slice_index=0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("type: int16", "type: block", "voxels of type block"),
        ("encoding: gzip", "encoding: bzip2", "voxels in bzip2"),
        ("encoding: gzip", "encoding: hex", "voxels in hex"),
        ("endian: little\n", "", "byte order"),
        ("dimension: 3", "dimension: 4", "different numbers of axes"),
        ("encoding: gzip", "encoding: gzip\nbyte skip: 4", "byte skip 4"),
        ("encoding: gzip", "encoding: gzip\nSegment0_ID:=Segment_1", "a segmentation that 3D Slicer saved"),
    ],
)
def test_nrrd_headers_that_cannot_be_used_say_why(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = nrrd_in("RAS")(*stored(), tmp_path)
    content = path.read_bytes().replace(b"type: short", b"type: int16")
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    with pytest.raises(BadInput, match=words):
        read_image(path, slice_index=0)


def test_bytes_before_raw_voxels_are_skipped(tmp_path: Path) -> None:
    path = SAVERS["nhdr by ITK"](*stored(), tmp_path)
    expected = read_image(path, slice_index=1).digest
    voxels, text = (tmp_path / "x.raw").read_bytes(), path.read_text()
    for before, field in ((b"12345", "byte skip: 5"), (b"12345", "byte skip: -1"), (b"a\nb\n", "line skip: 2")):
        (tmp_path / "x.raw").write_bytes(before + voxels)
        path.write_text(text.replace("encoding: raw", f"encoding: raw\n{field}"))
        assert read_image(path, slice_index=1).digest == expected, field


def test_a_detached_metaimage_skips_its_header_size(tmp_path: Path) -> None:
    path = SAVERS["mhd"](*stored(), tmp_path)
    expected = read_image(path, slice_index=1).digest
    (tmp_path / "x.raw").write_bytes(b"seven.." + (tmp_path / "x.raw").read_bytes())
    for size in ("7", "-1"):
        path.write_text(path.read_text().replace("NDims", f"HeaderSize = {size}\nNDims", 1))
        assert read_image(path, slice_index=1).digest == expected


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    for saver in ("RAS", "mha", "mgz", "mgh"):
        path = SAVERS[saver](*stored(), tmp_path)
        expected = read_image(path, slice_index=1).digest
        other = path.rename(tmp_path / "scan.dat")
        assert is_readable(other)
        assert read_image(other, slice_index=1).digest == expected


def test_a_nrrd_packed_as_a_whole_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = SAVERS["RAS"](*stored(), tmp_path)
    (tmp_path / "x.nrrd.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(BadInput, match="unpack it first"):
        read_image(tmp_path / "x.nrrd.gz", slice_index=0)


def test_a_stream_of_several_gzip_members_is_read_through(tmp_path: Path) -> None:
    path = SAVERS["RAS"](*stored(), tmp_path)
    expected = read_image(path, slice_index=2).digest
    header = path.read_bytes().split(b"\n\n")[0] + b"\n\n"
    voxels = phantom().tobytes(order="F")
    path.write_bytes(header + gzip.compress(voxels[:1000]) + gzip.compress(voxels[1000:]))
    assert read_image(path, slice_index=2).digest == expected


def test_a_zlib_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    fields = "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nDimSize = 2048 2048 400\n"
    packed = zlib.compress(bytes(10**6), 9)
    (tmp_path / "x.mha").write_bytes(f"{fields}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n".encode() + packed)
    with pytest.raises(BadInput, match="it is cut off"):
        read_image(tmp_path / "x.mha", slice_index=0)


def test_files_are_closed_with_their_source(tmp_path: Path) -> None:
    for saver in ("mha", "mha packed", "nrrd by ITK", "mgh", "mgz"):
        path = SAVERS[saver](*stored(), tmp_path)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            read_image(path, slice_index=1)
        assert len(list(Path("/proc/self/fd").iterdir())) == before, saver


def test_axis_codes_of_each_reader_agree(tmp_path: Path) -> None:
    """Radiological left and right are the ones that nibabel sees in the NIfTI that SimpleITK makes of the file."""
    for saver in ("RAS", "left-anterior-superior", "LPS in mm", "mha"):
        path = SAVERS[saver](*stored(ROTATIONS[11]), tmp_path)
        sitk.WriteImage(sitk.ReadImage(str(path)), str(tmp_path / "same.nii"))
        volume, _ = masks_of(path)
        mine = ornt2axcodes(io_orientation(volume.grid.affine))  # type: ignore[attr-defined]
        assert mine == nib.aff2axcodes(nib.load(tmp_path / "same.nii").affine)
