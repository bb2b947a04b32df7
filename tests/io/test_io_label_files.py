"""Mask files are read as a viewer shows them, by their content."""

from __future__ import annotations

import gzip
import struct
import zlib
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tiff_files import MIN_IS_BLACK, MIN_IS_WHITE, RGB, tiff

from medclipsam.errors import BadInput
from medclipsam.io import read_images, write_volume_mask
from medclipsam.io.label_files import read_foreground, read_label_values

INSIDE = np.zeros((6, 9), bool)
INSIDE[1:4, 2:6] = True
WHITE_ON_BLACK = INSIDE.astype(np.uint8) * 255
BLACK_ON_WHITE = 255 - WHITE_ON_BLACK


def palette(path: Path, indexes: np.ndarray, colours: list[int]) -> Path:
    picture = Image.fromarray(indexes.astype(np.uint8), "P")
    picture.putpalette(colours)
    picture.save(path)
    return path


def layers(colour: tuple[int, int, int], alpha: np.ndarray) -> np.ndarray:
    """(height, width, 4) of one colour."""
    return np.dstack([np.full(INSIDE.shape, level, np.uint8) for level in colour] + [alpha])


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
@pytest.mark.parametrize(
    ("indexes", "colours"),
    [
        (INSIDE, [0, 0, 0, 255, 255, 255]),
        (~INSIDE, [255, 255, 255, 0, 0, 0]),
        (INSIDE, [0, 0, 0, 128, 0, 0]),
        (~INSIDE, [0, 200, 0, 0, 0, 0]),
        (np.where(INSIDE, 7, 3), [9, 9, 9] * 3 + [0, 0, 0] + [9, 9, 9] * 3 + [1, 1, 1]),
    ],
    ids=["black first", "white first", "red second", "green first", "of many"],
)
def test_a_palette_is_read_by_its_colours(tmp_path: Path, suffix: str, indexes: np.ndarray, colours: list[int]) -> None:
    np.testing.assert_array_equal(read_foreground(palette(tmp_path / f"m.{suffix}", indexes, colours)), INSIDE)


def test_the_palette_that_an_optimiser_makes_is_read_by_its_colours(tmp_path: Path) -> None:
    quantized = Image.fromarray(WHITE_ON_BLACK).convert("RGB").quantize(2)
    assert quantized.getpalette()[:3] == [255, 255, 255]
    quantized.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_foreground(tmp_path / "m.png"), INSIDE)


def test_the_labels_of_a_palette_that_begins_with_black_are_its_indexes(tmp_path: Path) -> None:
    indexes = np.array([[0, 1, 2, 20]])
    voc = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [192, 128, 0] * 20
    found = read_label_values(palette(tmp_path / "m.png", indexes, voc))
    np.testing.assert_array_equal(found.values, indexes)
    assert not found.coloured


def test_a_transparent_first_colour_leaves_the_labels_of_a_palette_as_they_are(tmp_path: Path) -> None:
    indexes = np.array([[0, 1, 2, 1]])
    path = palette(tmp_path / "m.png", indexes, [255, 255, 255, 128, 0, 0, 0, 128, 0])
    with Image.open(path) as picture:
        picture.save(tmp_path / "m.png", transparency=0)
    np.testing.assert_array_equal(read_label_values(path).values, indexes)


def test_colours_of_a_palette_without_black_are_labels_of_their_own(tmp_path: Path) -> None:
    found = read_label_values(palette(tmp_path / "m.png", INSIDE, [0, 0, 255, 255, 0, 0]))
    assert found.coloured
    assert set(np.unique(found.values)) == {0x0000FF, 0xFF0000}


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_read_as_it_is_shown(tmp_path: Path, depth: type, big_endian: bool) -> None:
    stored = np.where(INSIDE, 0, np.iinfo(depth).max).astype(depth)
    path = tiff(tmp_path / "m.tif", stored, MIN_IS_WHITE, big_endian=big_endian)
    np.testing.assert_array_equal(read_foreground(path), INSIDE)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("highest", [False, True])
def test_a_tiff_whose_zero_is_black_is_read_at_any_depth(tmp_path: Path, depth: type, highest: bool) -> None:
    level = np.iinfo(depth).max if highest else 1
    found = read_label_values(tiff(tmp_path / "m.tif", INSIDE.astype(depth) * depth(level), MIN_IS_BLACK))
    np.testing.assert_array_equal(found.values, INSIDE * np.int64(level))


def test_a_bit_is_white_or_black_as_the_file_says(tmp_path: Path) -> None:
    bits = Image.fromarray(INSIDE)
    bits.save(tmp_path / "m.png")
    bits.save(tmp_path / "m.bmp")
    bits.save(tmp_path / "m.tif", compression="group4")
    bits.save(tmp_path / "w.tif", tiffinfo={262: MIN_IS_WHITE})
    for name in ("m.png", "m.bmp", "m.tif"):
        np.testing.assert_array_equal(read_foreground(tmp_path / name), INSIDE)
    with Image.open(tmp_path / "w.tif") as picture:
        np.testing.assert_array_equal(read_foreground(tmp_path / "w.tif"), np.asarray(picture))


def test_floating_samples_whose_least_is_white_are_refused(tmp_path: Path) -> None:
    path = tiff(tmp_path / "m.tif", (~INSIDE).astype(np.float32), MIN_IS_WHITE)
    with pytest.raises(BadInput, match="least is white"):
        read_foreground(path)
    np.testing.assert_array_equal(
        read_foreground(tiff(tmp_path / "p.tif", INSIDE.astype(np.float32), MIN_IS_BLACK)), INSIDE
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (3, 3, 3)])
def test_transparent_pixels_are_background_whatever_their_colour(
    tmp_path: Path, suffix: str, colour: tuple[int, int, int]
) -> None:
    Image.fromarray(layers(colour, WHITE_ON_BLACK)).save(tmp_path / f"m.{suffix}")
    np.testing.assert_array_equal(read_foreground(tmp_path / f"m.{suffix}"), INSIDE)


def test_opaque_and_half_transparent_pictures_are_read_by_their_colours(tmp_path: Path) -> None:
    grey = np.dstack([WHITE_ON_BLACK, np.full_like(WHITE_ON_BLACK, 255)])
    Image.fromarray(grey).save(tmp_path / "grey.png")
    half = np.dstack([WHITE_ON_BLACK] * 3 + [np.full_like(WHITE_ON_BLACK, 128)])
    Image.fromarray(half).save(tmp_path / "half.png")
    palette(tmp_path / "keyed.png", INSIDE, [255, 255, 255, 90, 0, 0])
    with Image.open(tmp_path / "keyed.png") as picture:
        picture.save(tmp_path / "keyed.png", transparency=0)
    for name in ("grey", "half", "keyed"):
        np.testing.assert_array_equal(read_foreground(tmp_path / f"{name}.png"), INSIDE)


def grey_png(path: Path, levels: np.ndarray, bits: int, transparent: int) -> Path:
    """Grey of 1 to 16 bits with a transparent level, which Pillow writes of 8 and 16 bits alone."""
    height, width = levels.shape
    if bits >= 8:
        rows = [row.astype(f">u{bits // 8}").tobytes() for row in levels]
    else:
        binary = ["".join(f"{level:0{bits}b}" for level in row) for row in levels.tolist()]
        rows = [int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in binary]
    stream = BytesIO(b"\x89PNG\r\n\x1a\n")
    stream.seek(0, 2)
    PngImagePlugin.putchunk(stream, b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    PngImagePlugin.putchunk(stream, b"tRNS", struct.pack(">H", transparent))
    PngImagePlugin.putchunk(stream, b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    PngImagePlugin.putchunk(stream, b"IEND", b"")
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_level_of_a_grey_png_is_background_at_any_depth(tmp_path: Path, bits: int) -> None:
    top = 2**bits - 1
    path = grey_png(tmp_path / "m.png", np.where(INSIDE, top, 0), bits, transparent=0)
    np.testing.assert_array_equal(read_foreground(path), INSIDE)
    with pytest.raises(BadInput, match="black wherever it is not transparent"):
        read_foreground(grey_png(tmp_path / "hidden.png", np.where(INSIDE, top, 0), bits, transparent=top))


def test_a_mask_that_only_transparency_tells_is_refused_and_an_empty_one_is_empty(tmp_path: Path) -> None:
    Image.fromarray(layers((0, 0, 0), WHITE_ON_BLACK)).save(tmp_path / "hidden.png")
    Image.fromarray(np.dstack([WHITE_ON_BLACK] * 3 + [np.zeros_like(WHITE_ON_BLACK)])).save(tmp_path / "unseen.png")
    for name in ("hidden", "unseen"):
        with pytest.raises(BadInput, match="black wherever it is not transparent"):
            read_foreground(tmp_path / f"{name}.png")
    Image.fromarray(layers((0, 0, 0), np.full_like(WHITE_ON_BLACK, 255))).save(tmp_path / "empty.png")
    assert not read_foreground(tmp_path / "empty.png").any()


@pytest.mark.parametrize("channels", [3, 4])
def test_low_levels_of_sixteen_bit_colours_are_not_lost(tmp_path: Path, channels: int) -> None:
    samples = np.dstack([INSIDE.astype(np.uint16)] * 3 + [np.full(INSIDE.shape, 65535, np.uint16)])[..., :channels]
    np.testing.assert_array_equal(read_foreground(tiff(tmp_path / "m.tif", samples, RGB)), INSIDE)


def test_the_content_of_a_mask_file_decides_and_not_its_name(tmp_path: Path) -> None:
    stream = BytesIO()
    Image.fromarray(np.kron(INSIDE, np.ones((16, 16))).astype(np.uint8) * 255).save(stream, "JPEG", quality=40)
    (tmp_path / "m.png").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read_foreground(tmp_path / "m.png")[8::16, 8::16], INSIDE)
    assert read_foreground(tmp_path / "m.png").sum() == INSIDE.sum() * 256
    nib.save(nib.Nifti1Image(INSIDE.T.astype(np.uint8), np.eye(4)), tmp_path / "good.nii")
    raw = (tmp_path / "good.nii").read_bytes()
    for name, content in (("a.nii", gzip.compress(raw)), ("b.nii.gz", raw), ("c.png", raw), ("d.npy", raw)):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_foreground(tmp_path / name), INSIDE)
    (tmp_path / "e.dcm").write_bytes(bytes(128) + b"DICM" + bytes(200))
    with pytest.raises(BadInput, match=r"e\.dcm is no mask file"):
        read_foreground(tmp_path / "e.dcm")


def test_a_tiff_with_jpeg_inside_has_the_halo_of_a_jpeg(tmp_path: Path) -> None:
    square = np.zeros((61, 45), np.uint8)
    square[13:40, 9:30] = 255
    Image.fromarray(square).convert("RGB").save(tmp_path / "m.tif", compression="jpeg", quality=60)
    with Image.open(tmp_path / "m.tif") as picture:
        assert (np.asarray(picture) > 0).sum() > (square > 0).sum() * 3
    np.testing.assert_array_equal(read_foreground(tmp_path / "m.tif"), square > 0)


def test_a_jpeg_of_low_levels_is_refused_instead_of_empty(tmp_path: Path) -> None:
    Image.fromarray(np.kron(INSIDE, np.ones((8, 8))).astype(np.uint8) * 40).save(tmp_path / "m.jpg", quality=95)
    with pytest.raises(BadInput, match="less than half of white"):
        read_foreground(tmp_path / "m.jpg")
    Image.fromarray(np.zeros((48, 48), np.uint8)).save(tmp_path / "empty.jpg")
    assert not read_foreground(tmp_path / "empty.jpg").any()


def scaled(path: Path, stored: np.ndarray, slope: float, intercept: float = 0.0) -> Path:
    """Stored integers that a header scales."""
    nib.save(nib.Nifti1Image(stored, np.eye(4)), path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("one", [0.99999994, 1.0000001, 0.9995, 1.0005])
def test_a_value_within_a_thousandth_of_a_whole_number_is_that_label(tmp_path: Path, one: float) -> None:
    values = np.where(INSIDE, one, 1e-7).astype(np.float32)
    values[0, 0] = 2 + one
    nib.save(nib.Nifti1Image(values.T, np.eye(4)), tmp_path / "m.nii.gz")
    np.save(tmp_path / "m.npy", values)
    for name in ("m.nii.gz", "m.npy"):
        found = read_label_values(tmp_path / name).values
        assert found.dtype.kind == "i"
        assert found[0, 0] == 3
        np.testing.assert_array_equal(found == 1, INSIDE)


@pytest.mark.parametrize(("slope", "top"), [(1 / 255, 255), (0.5, 2), (1 / 32767, 32767), (0.1, 10), (1 / 3, 3)])
def test_labels_stored_as_integers_and_a_slope_are_read(tmp_path: Path, slope: float, top: int) -> None:
    path = scaled(tmp_path / "m.nii", (INSIDE.T * top).astype(np.int16), slope)
    np.testing.assert_array_equal(read_label_values(path).values, INSIDE)
    path = scaled(tmp_path / "m.nii", (INSIDE.T * top - 3).astype(np.int16), slope, 3 * slope)
    np.testing.assert_array_equal(read_label_values(path).values, INSIDE)


def test_labels_that_nibabel_scaled_to_bytes_are_read(tmp_path: Path) -> None:
    labels = np.arange(60).reshape(3, 4, 5) % 5
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(labels.astype(float), np.eye(4), header), tmp_path / "m.nii")
    stored = np.asarray(nib.load(tmp_path / "m.nii").dataobj)
    assert np.abs(stored - labels).max() > 1e-3
    np.testing.assert_array_equal(read_label_values(tmp_path / "m.nii").values.T, labels)


@pytest.mark.parametrize(
    ("values", "says"),
    [([0.0, 0.5, 1.0], "probabilities"), ([0.0, 0.99, 1.0], "probabilities"), ([0.0, 1.5, 2.0], "not whole numbers")],
)
def test_what_lies_between_labels_is_refused(tmp_path: Path, values: list[float], says: str) -> None:
    nib.save(nib.Nifti1Image(np.array([values, values], np.float32), np.eye(4)), tmp_path / "m.nii")
    with pytest.raises(BadInput, match=says):
        read_label_values(tmp_path / "m.nii")


def test_probabilities_that_are_stored_as_bytes_are_refused(tmp_path: Path) -> None:
    path = scaled(tmp_path / "m.nii", np.arange(256, dtype=np.int16).reshape(16, 16), 1 / 255)
    with pytest.raises(BadInput, match="probabilities"):
        read_label_values(path)


@pytest.mark.parametrize("format", ["nifti", "nrrd", "mha", "mgz"])
def test_a_mask_in_any_format_of_volumes_is_read_with_its_place(tmp_path: Path, format: str) -> None:
    voxels = np.zeros((6, 9, 3), np.int16)
    voxels[1:4, 2:6, 1] = 700
    nib.save(nib.Nifti1Image(voxels, np.diag([0.5, 2, 3, 1])), tmp_path / "scan.nii")
    images = list(read_images(tmp_path / "scan.nii"))
    masks = {image.origin.index: image.pixels[..., 0] > 0.5 for image in images}
    found = read_label_values(write_volume_mask(images[0].origin.volume, masks, tmp_path / "mask", format=format))
    np.testing.assert_array_equal(found.values.T, voxels > 0)
    assert found.grid is not None
    np.testing.assert_allclose(found.grid.affine, np.diag([0.5, 2, 3, 1]), atol=1e-6)
