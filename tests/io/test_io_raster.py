"""PNG, JPEG, TIFF and BMP, as a viewer shows them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from tiff_files import MIN_IS_BLACK, MIN_IS_WHITE, RGB, tiff

from medclipsam.errors import BadInput
from medclipsam.io import count_images, read_image, read_images, write_mask
from medclipsam.io.pictures import ROTATED, TRANSPARENT
from medclipsam.io.window import EIGHT_IN_SIXTEEN

GREY = (np.arange(6 * 9, dtype=np.uint8).reshape(6, 9) * 4) + 7
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=-1)


def saved(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_grey_levels_survive_and_have_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    image = read_image(saved(tmp_path / f"x.{suffix}", GREY))
    assert image.format == "raster"
    assert image.spacing_mm is None
    for channel in range(3):
        np.testing.assert_allclose(image.pixels[..., channel], GREY / 255, atol=1e-6)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_colours_survive(tmp_path: Path, suffix: str) -> None:
    image = read_image(saved(tmp_path / f"x.{suffix}", COLOUR))
    np.testing.assert_allclose(image.pixels, COLOUR / 255, atol=1e-6)
    assert image.warnings == ()


def test_a_jpeg_is_near_what_was_saved(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path / "x.jpg", GREY, quality=98))
    np.testing.assert_allclose(image.pixels[..., 0], GREY / 255, atol=0.03)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_sixteen_bit_twin_is_the_same_image(tmp_path: Path, suffix: str) -> None:
    eight = read_image(saved(tmp_path / "eight.png", GREY))
    sixteen = read_image(saved(tmp_path / f"sixteen.{suffix}", GREY.astype(np.uint16) * 257))
    np.testing.assert_array_equal(sixteen.pixels, eight.pixels)
    assert sixteen.digest == eight.digest


def test_a_big_endian_sixteen_bit_tiff_is_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    big = Image.frombytes("I;16B", (9, 6), (GREY.astype(">u2") * 257).tobytes())
    big.save(path)
    np.testing.assert_allclose(read_image(path).pixels[..., 0], GREY / 255, atol=1e-6)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_shown_that_way(tmp_path: Path, depth: type) -> None:
    factor = 257 if depth is np.uint16 else 1
    plain = GREY.astype(depth) * depth(factor)
    stream = BytesIO()
    Image.fromarray(plain).save(stream, "TIFF")
    content = bytearray(stream.getvalue())
    tag = content.find(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")
    assert tag > 0
    content[tag + 8] = 0
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    np.testing.assert_allclose(read_image(path).pixels[..., 0], 1 - GREY / 255, atol=1e-6)


def test_twelve_bits_in_sixteen_are_shown_in_full_range(tmp_path: Path) -> None:
    twelve = np.linspace(0, 4095, 54).astype(np.uint16).reshape(6, 9)
    image = read_image(saved(tmp_path / "x.png", twelve))
    np.testing.assert_allclose(image.pixels[..., 0], twelve / 4095, atol=1e-6)


def test_opaque_transparency_changes_nothing(tmp_path: Path) -> None:
    alpha = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    image = read_image(saved(tmp_path / "x.png", alpha))
    np.testing.assert_allclose(image.pixels, COLOUR / 255, atol=1e-6)
    assert image.warnings == ()


def test_transparent_pixels_are_shown_over_black(tmp_path: Path) -> None:
    alpha = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    alpha[2, 3, 3] = 0
    image = read_image(saved(tmp_path / "x.png", alpha))
    assert not image.pixels[2, 3].any()
    np.testing.assert_allclose(image.pixels[0], COLOUR[0] / 255, atol=1e-6)
    assert image.warnings == (TRANSPARENT,)


def test_grey_with_transparency_is_read(tmp_path: Path) -> None:
    alpha = np.dstack([GREY, np.full(GREY.shape, 255, np.uint8)])
    path = tmp_path / "x.png"
    Image.fromarray(alpha).save(path)
    np.testing.assert_allclose(read_image(path).pixels[..., 1], GREY / 255, atol=1e-6)


def test_a_palette_is_turned_into_its_colours(tmp_path: Path) -> None:
    indexed = Image.fromarray(COLOUR).quantize(64)
    path = tmp_path / "x.png"
    indexed.save(path)
    np.testing.assert_allclose(read_image(path).pixels, np.asarray(indexed.convert("RGB")) / 255, atol=1e-6)


def test_one_bit_images_are_black_and_white(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(GREY > 100).save(path)
    np.testing.assert_array_equal(read_image(path).pixels[..., 0], GREY > 100)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_mask_lies_on_the_image_as_a_viewer_shows_it(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "x.png", GREY, exif=exif)
    image = read_image(path)
    assert image.warnings == (ROTATED,)
    assert image.size == ((9, 6) if orientation >= 5 else (6, 9))
    mask = image.pixels[..., 0] > 0.5
    with Image.open(write_mask(image, mask, tmp_path / "mask")) as written:
        assert written.size == image.size[::-1]
        assert not written.getexif()
        np.testing.assert_array_equal(np.asarray(written) > 0, mask)


def test_exif_orientation_turns_as_the_standard_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(saved(tmp_path / "x.png", GREY, exif=exif))
    np.testing.assert_allclose(image.pixels[..., 0], np.rot90(GREY, -1) / 255, atol=1e-6)


def test_sixteen_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(saved(tmp_path / "x.png", GREY.astype(np.uint16) * 257, exif=exif))
    np.testing.assert_allclose(image.pixels[..., 0], np.rot90(GREY, -1) / 255, atol=1e-6)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", ["grey", "colour", "alpha"])
def test_a_tiff_is_turned_as_its_png_twin(tmp_path: Path, orientation: int, depth: type, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    twin = read_image(saved(tmp_path / "twin.png", COLOUR if kind != "grey" else GREY, exif=exif))
    factor = depth(257 if depth is np.uint16 else 1)
    samples = (COLOUR if kind != "grey" else GREY).astype(depth) * factor
    if kind == "alpha":
        samples = np.dstack([samples, np.full(GREY.shape, np.iinfo(depth).max, depth)])
    image = read_image(tiff(tmp_path / "x.tif", samples, MIN_IS_BLACK if kind == "grey" else RGB, orientation))
    np.testing.assert_array_equal(image.pixels, twin.pixels)
    assert image.warnings == twin.warnings


def sixteen_bit_png(path: Path, samples: np.ndarray, orientation: int = 1) -> Path:
    """Colours of 16 bits, which Pillow does not write, with an orientation put in before the pixels."""
    cv2.imwrite(str(path), samples[..., ::-1])
    exif = Image.Exif()
    exif[0x0112] = orientation
    chunk, content = BytesIO(), path.read_bytes()
    PngImagePlugin.putchunk(chunk, b"eXIf", exif.tobytes()[6:])
    path.write_bytes(content[:33] + chunk.getvalue() + content[33:])
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_colours_of_sixteen_bits_are_turned_too(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    twin = read_image(saved(tmp_path / "twin.png", COLOUR, exif=exif))
    image = read_image(sixteen_bit_png(tmp_path / "x.png", COLOUR.astype(np.uint16) * 257, orientation))
    np.testing.assert_array_equal(image.pixels, twin.pixels)


@pytest.mark.parametrize("brightest", [255, 60])
@pytest.mark.parametrize("factor", [1, 256, 257])
@pytest.mark.parametrize("suffix", ["png", "tif", "npy"])
def test_eight_bit_levels_in_sixteen_bits_are_shown_as_their_eight_bit_twin(
    tmp_path: Path, suffix: str, factor: int, brightest: int
) -> None:
    levels = (GREY * (brightest / GREY.max())).astype(np.uint8)
    path = tmp_path / f"x.{suffix}"
    samples = levels.astype(np.uint16) * np.uint16(factor)
    np.save(path, samples) if suffix == "npy" else saved(path, samples)
    image = read_image(path)
    np.testing.assert_allclose(image.pixels[..., 0], levels / 255, atol=1e-6)
    assert image.warnings == ((EIGHT_IN_SIXTEEN,) if factor == 1 else ())


def test_eight_bit_colours_in_sixteen_bits_are_shown_as_their_eight_bit_twin(tmp_path: Path) -> None:
    for path in (
        tiff(tmp_path / "x.tif", COLOUR.astype(np.uint16), RGB),
        sixteen_bit_png(tmp_path / "x.png", COLOUR.astype(np.uint16)),
    ):
        image = read_image(path)
        np.testing.assert_allclose(image.pixels, COLOUR / 255, atol=1e-6)
        assert image.warnings == (EIGHT_IN_SIXTEEN,)


def test_a_transparent_level_of_sixteen_bits_is_black_and_the_others_stay(tmp_path: Path) -> None:
    samples = GREY.astype(np.uint16) * 250
    Image.fromarray(samples).save(tmp_path / "x.png", transparency=int(samples[2, 3]))
    plain = read_image(saved(tmp_path / "plain.png", samples))
    image = read_image(tmp_path / "x.png")
    assert image.pixels[2, 3].max() == 0
    assert image.warnings == (TRANSPARENT,)
    others = samples != samples[2, 3]
    np.testing.assert_array_equal(image.pixels[others], plain.pixels[others])


def test_a_floating_tiff_whose_least_is_white_is_shown_that_way(tmp_path: Path) -> None:
    plain = read_image(tiff(tmp_path / "p.tif", GREY.astype(np.float32), MIN_IS_BLACK)).pixels
    white = read_image(tiff(tmp_path / "w.tif", GREY.astype(np.float32), MIN_IS_WHITE)).pixels
    np.testing.assert_allclose(white, 1 - plain, atol=1e-5)


@pytest.mark.parametrize("levels", [(0, 255), (255, 0), (0, 1), (0, 200)])
def test_a_bitmap_with_a_palette_of_two_greys_is_read_by_its_colours(tmp_path: Path, levels: tuple[int, int]) -> None:
    bits = GREY > 100
    picture = Image.fromarray(bits.astype(np.uint8), "P")
    picture.putpalette([levels[0]] * 3 + [levels[1]] * 3)
    picture.save(tmp_path / "x.bmp")
    np.testing.assert_allclose(read_image(tmp_path / "x.bmp").pixels[..., 0], np.where(bits, *levels[::-1]) / 255)


def test_the_pages_of_a_tiff_are_chosen_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    pages = [Image.fromarray(GREY), Image.fromarray(GREY[::-1].copy())]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert count_images(path) == 2
    np.testing.assert_allclose(read_image(path, frame=1).pixels[..., 0], GREY[::-1] / 255, atol=1e-6)
    first, second = read_images(path)
    assert first.name != second.name
    with pytest.raises(BadInput, match="2 pages; choose one by frame"):
        read_image(path)


@pytest.mark.parametrize("depth", [np.uint16, np.float32])
def test_the_pages_of_a_tiff_share_what_is_black_and_white(tmp_path: Path, depth: type) -> None:
    pages = [(GREY.astype(int) * factor).astype(depth) for factor in (1, 4, 60)]
    pictures = [Image.fromarray(page) for page in pages]
    pictures[0].save(tmp_path / "x.tif", save_all=True, append_images=pictures[1:])
    shown = [image.pixels[..., 0] for image in read_images(tmp_path / "x.tif")]
    brightest = [float(page.max()) for page in shown]
    if depth is np.uint16:
        np.testing.assert_allclose(shown, np.stack(pages) / 16383, atol=1e-6)
    assert brightest[0] < 0.1
    assert brightest[1] == pytest.approx(4 * brightest[0], abs=0.06)
    assert [image.warnings for image in read_images(tmp_path / "x.tif")] == [()] * 3
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif", frame=1).pixels[..., 0], shown[1])


def test_a_page_that_cannot_be_decoded_does_not_spoil_the_others(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (3, 64, 64)).astype(np.uint16)
    pictures = [Image.fromarray(page) for page in noise]
    pictures[0].save(tmp_path / "x.tif", save_all=True, append_images=pictures[1:], compression="tiff_adobe_deflate")
    whole = [image.digest for image in read_images(tmp_path / "x.tif")]
    with Image.open(tmp_path / "x.tif") as opened:
        opened.seek(1)
        start, size = opened.tag_v2[273][0], opened.tag_v2[279][0]
    content = bytearray((tmp_path / "x.tif").read_bytes())
    content[start : start + size] = bytes(size)
    (tmp_path / "x.tif").write_bytes(content)
    assert [read_image(tmp_path / "x.tif", frame=page).digest for page in (0, 2)] == [whole[0], whole[2]]
    with pytest.raises(BadInput, match="cannot be read"):
        read_image(tmp_path / "x.tif", frame=1)


def test_a_floating_tiff_within_the_unit_range_stays(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", (GREY / 255).astype(np.float32))
    np.testing.assert_allclose(read_image(path).pixels[..., 0], GREY / 255, atol=1e-6)


def test_the_content_decides_and_not_the_extension(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    Image.fromarray(GREY).save(path, "PNG")
    assert read_image(path).format == "raster"


def test_a_window_of_grey_levels_is_applied(tmp_path: Path) -> None:
    image = read_image(saved(tmp_path / "x.png", GREY), window=(100.0, 50.0))
    np.testing.assert_allclose(image.pixels[..., 0], np.clip((GREY - 75.0) / 50, 0, 1), atol=1e-6)


def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.png", np.zeros((100, 200), np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(BadInput, match="200 x 100 pixels are more than the limit of 19,999"):
        read_image(path, max_pixels=19_999)


def test_a_decompression_bomb_is_refused_from_the_header(tmp_path: Path) -> None:
    header = b"\x00\x00\x75\x30\x00\x00\x75\x30\x08\x00\x00\x00\x00"
    stream = BytesIO()
    PngImagePlugin.putchunk(stream, b"IHDR", header)
    PngImagePlugin.putchunk(stream, b"IDAT", b"\x78\x9c")
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + stream.getvalue())
    with pytest.raises(BadInput, match="claims more than"):
        read_image(path)


def test_a_tiff_whose_pages_form_a_ring_is_refused_or_read_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", GREY)
    content = bytearray(path.read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    following = first + 2 + 12 * entries
    content[following : following + 4] = first.to_bytes(4, "little")
    path.write_bytes(content)
    try:
        assert count_images(path) < 10
    except BadInput as error:
        assert "pages" in str(error)


@pytest.mark.parametrize("start", [20, 60, 200])
def test_damaged_colours_of_sixteen_bits_are_refused_without_a_word_of_their_decoder(
    tmp_path: Path, start: int, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (24, 31, 3)).astype(np.uint16)
    path = sixteen_bit_png(tmp_path / "x.png", noise)
    content = bytearray(path.read_bytes())
    content[-start:] = bytes(start)
    path.write_bytes(content)
    with pytest.raises(BadInput):
        read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bit_colours_that_are_stored_plane_by_plane_are_refused(tmp_path: Path, channels: int) -> None:
    samples = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])[..., :channels]
    plain = read_image(tiff(tmp_path / "8.tif", samples, RGB, planes=True))
    np.testing.assert_allclose(plain.pixels, COLOUR / 255, atol=1e-6)
    with pytest.raises(BadInput, match="plane by plane"):
        read_image(tiff(tmp_path / "16.tif", samples.astype(np.uint16) * 257, RGB, planes=True))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("photometric", [MIN_IS_WHITE, MIN_IS_BLACK])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_grey_in_either_byte_order_with_either_end_white_is_shown_as_it_is_meant(
    tmp_path: Path, big_endian: bool, photometric: int, depth: type
) -> None:
    factor = 257 if depth is np.uint16 else 1
    path = tiff(tmp_path / "x.tif", GREY.astype(depth) * depth(factor), photometric, big_endian=big_endian)
    found = read_image(path, window="percentiles" if depth is np.float32 else None).pixels[..., 0]
    expected = GREY / 255 if depth is not np.float32 else (GREY - GREY.min()) / float(np.ptp(GREY))
    np.testing.assert_allclose(found, expected if photometric == MIN_IS_BLACK else 1 - expected, atol=0.01)
