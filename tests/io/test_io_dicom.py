"""DICOM: what the samples mean, how far apart they are, and what must not leak."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from dicom_files import PLANTED, dicom, dicom_dataset, encapsulated, item
from htj2k_images import LOSSLESS, codestream, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.pixels.decoders.base import JPEGLosslessSV1Decoder

from medclipsam.errors import BadInput
from medclipsam.io import count_images, image_from_array, read_image, read_images, write_mask
from medclipsam.io.dicom import gdcm_child
from medclipsam.io.dicom.decoders import transfer_syntaxes
from medclipsam.io.dicom.display import FIRST_WINDOW, NO_WINDOW, WINDOW_UNUSABLE
from medclipsam.io.dicom.spacing import AT_DETECTOR, ESTIMATED, SEVERAL_SCALES, UNUSABLE

RAMP = np.arange(40, dtype=np.uint16).reshape(5, 8) * 100


def shown(folder: Path, samples: np.ndarray, window: Any = None, **attributes: Any) -> np.ndarray:
    return read_image(dicom(folder / "x.dcm", samples, **attributes), window=window).pixels[..., 0]


def bundled(name: str) -> str:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return path


# ---- what the samples mean -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2000, 1000), (1999.5, 3000.25), (100, 2)])
def test_windows_are_applied_as_highdicom_applies_them(
    tmp_path: Path, function: str | None, centre: float, width: float
) -> None:
    extra = {"VOILUTFunction": function} if function else {}
    found = shown(tmp_path, RAMP, WindowCenter=centre, WindowWidth=width, **extra)
    expected = highdicom.pixels.apply_voi_window(RAMP, centre, width, function or "LINEAR")
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_linear_window_of_width_one_is_a_step(tmp_path: Path) -> None:
    assert shown(tmp_path, RAMP, WindowCenter=2000, WindowWidth=1).ravel().tolist() == (RAMP >= 2000).ravel().tolist()


def test_the_first_of_several_windows_is_used_and_another_can_be_chosen(tmp_path: Path) -> None:
    path = dicom(tmp_path / "x.dcm", RAMP, WindowCenter=[2000, 500], WindowWidth=[1000, 100])
    first, second = read_image(path), read_image(path, window=1)
    assert FIRST_WINDOW in first.warnings
    assert FIRST_WINDOW not in second.warnings
    expected = highdicom.pixels.apply_voi_window(RAMP, 500, 100)
    np.testing.assert_allclose(second.pixels[..., 0], expected, atol=1e-6)
    with pytest.raises(BadInput, match="has no window 3"):
        read_image(path, window=2)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    found = shown(tmp_path, RAMP, RescaleSlope=0.5, RescaleIntercept=-1024, WindowCenter=-100, WindowWidth=900)
    expected = highdicom.pixels.apply_voi_window(RAMP * 0.5 - 1024, -100, 900)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_lut_is_applied_as_highdicom_applies_it(tmp_path: Path, bits: int, order: str) -> None:
    table = (np.linspace(0, 1, 3000) ** 2 * (2**bits - 1)).astype(np.uint16)
    lut = item(LUTDescriptor=[3000, 500, bits], LUTData=table.astype(f"{order}u2").tobytes())
    syntax = uid.ExplicitVRBigEndian if order == ">" else uid.ExplicitVRLittleEndian
    found = shown(tmp_path, RAMP, VOILUTSequence=[lut], WindowCenter=1, WindowWidth=2, syntax=syntax)
    expected = highdicom.pixels.apply_lut(RAMP, table / table.max(), 500)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_voi_lut_of_short_integers_starts_at_a_negative_value(tmp_path: Path) -> None:
    samples = RAMP.astype(np.int16) - 2000
    lut = item(LUTData=list(range(400)))
    lut.add_new("LUTDescriptor", "SS", [400, -200, 16])
    lut["LUTData"].VR = "US"
    found = shown(tmp_path, samples, VOILUTSequence=[lut])
    np.testing.assert_allclose(found, np.clip((samples + 200.0) / 399, 0, 1), atol=1e-6)


def test_a_look_up_table_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    lut = item(LUTDescriptor=[3000, 0, 16], LUTData=bytes(100))
    with pytest.raises(BadInput, match="50 of 3000 entries"):
        shown(tmp_path, RAMP, VOILUTSequence=[lut])


def test_a_modality_lut_is_applied_before_the_window(tmp_path: Path) -> None:
    table = np.arange(4000, dtype=np.uint16)[::-1]
    lut = item(LUTDescriptor=[4000, 0, 16], LUTData=table.tobytes(), ModalityLUTType="US")
    found = shown(tmp_path, RAMP, ModalityLUTSequence=[lut], WindowCenter=2000, WindowWidth=4000)
    np.testing.assert_allclose(found, highdicom.pixels.apply_voi_window(table[RAMP], 2000, 4000), atol=1e-6)


@given(hnp.arrays(np.uint16, (6, 9), elements=st.integers(0, 4095)), st.booleans(), st.sampled_from([12, 16]))
@settings(max_examples=40)
def test_an_inverted_monochrome1_is_the_same_image_as_its_twin(
    tmp_path_factory: pytest.TempPathFactory, samples: np.ndarray, with_window: bool, bits: int
) -> None:
    folder = tmp_path_factory.mktemp("twins")
    white = 2**bits - 1
    window = {"WindowCenter": 1000, "WindowWidth": 1500} if with_window else {}
    mirrored = {"WindowCenter": white + 1 - 1000, "WindowWidth": 1500} if with_window else {}
    plain = shown(folder, samples, BitsStored=bits, HighBit=bits - 1, **window)
    inverse = {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}
    twin = shown(folder, white - samples, BitsStored=bits, HighBit=bits - 1, **inverse, **mirrored)
    if (samples == samples[0, 0]).all():
        assert not plain.any()
        assert not twin.any()
    else:
        np.testing.assert_allclose(twin, plain, atol=1e-5)


def test_an_eight_bit_monochrome1_is_inverted_after_the_full_range(tmp_path: Path) -> None:
    samples = np.arange(40, dtype=np.uint8).reshape(5, 8)
    plain = shown(tmp_path, samples)
    twin = shown(tmp_path, 255 - samples, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(plain, samples / 255, atol=1e-6)
    np.testing.assert_allclose(twin, plain, atol=1e-6)


def test_a_sixteen_bit_twin_is_the_same_image(tmp_path: Path) -> None:
    samples = np.arange(40, dtype=np.uint8).reshape(5, 8) * 3
    plain = shown(tmp_path, samples)
    np.testing.assert_allclose(shown(tmp_path, samples.astype(np.uint16) * 257), plain, atol=1e-6)
    windowed = shown(tmp_path, samples, WindowCenter=60, WindowWidth=100)
    wide = {"WindowCenter": 60 * 257 - 128, "WindowWidth": 99 * 257 + 1}
    np.testing.assert_allclose(shown(tmp_path, samples.astype(np.uint16) * 257, **wide), windowed, atol=1e-5)


def test_a_dicom_and_a_png_of_the_same_eight_bits_are_the_same_image(tmp_path: Path) -> None:
    samples = np.arange(40, dtype=np.uint8).reshape(5, 8)
    Image.fromarray(samples).save(tmp_path / "x.png")
    assert read_image(dicom(tmp_path / "x.dcm", samples)).digest == read_image(tmp_path / "x.png").digest


def test_signed_samples_keep_their_sign(tmp_path: Path) -> None:
    samples = (RAMP.astype(np.int32) - 2000).astype(np.int16)
    found = shown(tmp_path, samples, WindowCenter=0, WindowWidth=4000)
    np.testing.assert_allclose(found, highdicom.pixels.apply_voi_window(samples, 0, 4000), atol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_rubbish_above_twelve_stored_bits_is_not_shown(tmp_path: Path, signed: bool) -> None:
    true = RAMP.astype(np.int16) - (2000 if signed else 0)
    rubbish = ((true.astype(np.int32) & 0x0FFF) | 0x5000).astype(np.int16 if signed else np.uint16)
    window = {"WindowCenter": 0 if signed else 2000, "WindowWidth": 4000}
    found = shown(tmp_path, rubbish, BitsStored=12, HighBit=11, **window)
    expected = highdicom.pixels.apply_voi_window(true, window["WindowCenter"], 4000)
    np.testing.assert_allclose(found, expected, atol=1e-6)


LEVELS = (np.indices((64, 48)).sum(axis=0) * 37).astype(np.uint16)
"""Of 12 bits."""
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2000, "WindowWidth": 4000}


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("coded", [None, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_left_justified_samples_show_what_their_right_justified_twin_shows(
    tmp_path: Path, signed: bool, coded: str | None
) -> None:
    levels = LEVELS.astype(np.int16) - 2048 if signed else LEVELS
    centre = {"WindowCenter": -48} if signed else {}
    twin = dicom(tmp_path / "twin.dcm", levels, **TWELVE_BITS | centre)
    left = dicom(tmp_path / "left.dcm", levels << 4, **TWELVE_BITS | centre | {"BitsStored": 16, "HighBit": 15})
    dataset = dcmread(left)
    if coded:
        dataset.compress(coded)
    dataset.BitsStored = 12
    dataset.save_as(left)
    assert read_image(left).digest == read_image(twin).digest


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("coded", [None, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless])
def test_overlay_bits_above_the_pixel_are_not_shown(tmp_path: Path, signed: bool, coded: str | None) -> None:
    levels = LEVELS.astype(np.int16) - 2048 if signed else LEVELS
    twin = dicom(tmp_path / "twin.dcm", levels, **TWELVE_BITS)
    overlaid = ((levels & 0xFFF) | (np.eye(64, 48, dtype=levels.dtype) << 12)).astype(levels.dtype)
    dataset = dcmread(dicom(tmp_path / "over.dcm", overlaid, **TWELVE_BITS | {"BitsStored": 16, "HighBit": 15}))
    if coded:
        dataset.compress(coded)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(tmp_path / "over.dcm")
    assert read_image(tmp_path / "over.dcm").digest == read_image(twin).digest


def test_a_high_bit_that_contradicts_the_samples_is_refused(tmp_path: Path) -> None:
    for name, said in (("high", {"BitsStored": 12, "HighBit": 15}), ("low", {"BitsStored": 16, "HighBit": 9})):
        with pytest.raises(BadInput, match="High Bit and Bits Stored contradict its samples"):
            read_image(dicom(tmp_path / f"{name}.dcm", LEVELS, **TWELVE_BITS | said))


def test_a_high_bit_that_leaves_one_reading_does_not_stop_a_file(tmp_path: Path) -> None:
    twin = read_image(dicom(tmp_path / "twin.dcm", LEVELS, **TWELVE_BITS))
    for said in ({"HighBit": None}, {"BitsStored": 16, "HighBit": 11}, {"HighBit": 16}):
        assert read_image(dicom(tmp_path / "x.dcm", LEVELS, **TWELVE_BITS | said)).digest == twin.digest


def test_an_overlay_below_left_justified_pixels_is_no_contradiction(tmp_path: Path) -> None:
    twin = read_image(dicom(tmp_path / "twin.dcm", LEVELS, **TWELVE_BITS))
    path = dicom(tmp_path / "x.dcm", (LEVELS << 4) | np.eye(64, 48, dtype=np.uint16), **TWELVE_BITS | {"HighBit": 15})
    dataset = dcmread(path)
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 0)
    dataset.save_as(path)
    assert read_image(path).digest == twin.digest


def test_without_a_window_percentiles_are_used_and_said(tmp_path: Path) -> None:
    image = read_image(dicom(tmp_path / "x.dcm", RAMP, BitsStored=12, HighBit=11))
    np.testing.assert_allclose(image.pixels, image_from_array(RAMP.astype(np.int32)).pixels, atol=1e-6)
    assert NO_WINDOW in image.warnings


def test_padding_does_not_count_for_percentiles(tmp_path: Path) -> None:
    samples = RAMP.astype(np.int16)
    padded = samples.copy()
    padded[:, -1] = -2000
    expected = image_from_array(samples[:, :-1]).pixels[..., 0]
    found = shown(tmp_path, padded, PixelPaddingValue=-2000)
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-6)
    assert not found[:, -1].any()
    between = shown(tmp_path, padded, PixelPaddingValue=-3000, PixelPaddingRangeLimit=-1900)
    np.testing.assert_allclose(between, found, atol=1e-6)


def test_padding_of_a_ct_does_not_count_for_percentiles_even_where_it_is_not_declared(tmp_path: Path) -> None:
    hounsfield = (RAMP.astype(np.int32) % 2000 - 1024).astype(np.int16)
    padded = hounsfield.copy()
    padded[:, -1] = -3024
    expected = image_from_array(hounsfield[:, :-1]).pixels[..., 0]
    found = shown(tmp_path, padded, Modality="CT")
    np.testing.assert_allclose(found[:, :-1], expected, atol=1e-6)
    assert not found[:, -1].any()
    other = shown(tmp_path, padded, Modality="MR")
    np.testing.assert_allclose(other, image_from_array(padded).pixels[..., 0], atol=1e-6)


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": 60000, "WindowWidth": 10},
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "CUBIC"},
    ],
)
def test_a_window_that_shows_nothing_gives_way_to_percentiles(tmp_path: Path, attributes: dict[str, Any]) -> None:
    image = read_image(dicom(tmp_path / "x.dcm", RAMP, **attributes))
    assert WINDOW_UNUSABLE in image.warnings
    np.testing.assert_allclose(image.pixels, image_from_array(RAMP.astype(np.int32)).pixels, atol=1e-6)


def test_a_named_window_needs_a_ct_in_hounsfield_units(tmp_path: Path) -> None:
    ct = {"Modality": "CT", "RescaleSlope": 1, "RescaleIntercept": -1024}
    found = shown(tmp_path, RAMP, window="lung", WindowCenter=9, WindowWidth=9, **ct)
    np.testing.assert_allclose(found, np.clip((RAMP - 1024.0 + 1350) / 1500, 0, 1), atol=1e-6)
    for wrong in ({"Modality": "MR"}, {**ct, "RescaleType": "US"}):
        with pytest.raises(BadInput, match="no CT"):
            shown(tmp_path, RAMP, window="lung", **wrong)


def test_a_window_of_the_caller_replaces_that_of_the_file(tmp_path: Path) -> None:
    found = shown(tmp_path, RAMP, window=(2000.0, 1000.0), WindowCenter=9, WindowWidth=9)
    np.testing.assert_allclose(found, np.clip((RAMP - 1500.0) / 1000, 0, 1), atol=1e-6)


def test_a_constant_image_is_black(tmp_path: Path) -> None:
    assert not shown(tmp_path, np.full((5, 8), 77, np.uint16)).any()
    assert not shown(tmp_path, np.full((5, 8), 77, np.uint8), PhotometricInterpretation="MONOCHROME1").any()


def test_a_rescale_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = dicom(tmp_path / "x.dcm", RAMP, RescaleSlope=1.25, RescaleIntercept=0)
    path.write_bytes(path.read_bytes().replace(b"1.25", b"DOE "))
    with pytest.raises(BadInput, match="RescaleSlope is not a number") as caught:
        read_image(path)
    assert "DOE" not in str(caught.value)


# ---- colour ----------------------------------------------------------------------------------------------------------


def test_planar_and_interleaved_colours_are_the_same(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)
    plain = read_image(dicom(tmp_path / "x.dcm", colours))
    planes = colours.transpose(2, 0, 1).tobytes()
    planar = read_image(dicom(tmp_path / "y.dcm", colours, PlanarConfiguration=1, PixelData=planes))
    assert planar.digest == plain.digest
    np.testing.assert_allclose(plain.pixels, colours / 255, atol=1e-6)


def test_ybr_full_is_turned_to_rgb(tmp_path: Path) -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[..., 1:] = 128
    colours[:2, :, 0] = 200
    image = read_image(dicom(tmp_path / "x.dcm", colours, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(image.pixels[0, 0], 200 / 255, atol=0.01)


@pytest.mark.parametrize("wide", [False, True])
def test_a_palette_is_turned_into_its_colours(tmp_path: Path, wide: bool) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (16, 3), np.uint8)
    colours[0] = 255
    factor, bits = (257, 16) if wide else (1, 8)
    tables = {
        f"{name}PaletteColorLookupTable{part}": value
        for channel, name in enumerate(("Red", "Green", "Blue"))
        for part, value in (
            ("Descriptor", [16, 100, bits]),
            ("Data", (colours[:, channel].astype(f"<u{bits // 8}") * factor).tobytes()),
        )
    }
    samples = np.arange(95, 135, dtype=np.uint8).reshape(5, 8)
    image = read_image(dicom(tmp_path / "x.dcm", samples, PhotometricInterpretation="PALETTE COLOR", **tables))
    expected = colours[np.clip(samples.astype(int) - 100, 0, 15)] / 255
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)


@pytest.mark.parametrize("space", ["HSV", "CMYK", "YBR_PARTIAL_420", "NONSENSE"])
def test_other_colour_spaces_are_refused(tmp_path: Path, space: str) -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(BadInput):
        read_image(dicom(tmp_path / "x.dcm", colours, PhotometricInterpretation=space))


# ---- transfer syntaxes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm"),
        *("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm"),
    ],
)
def test_lossless_syntaxes_give_the_same_image_bit_for_bit(name: str) -> None:
    assert read_image(bundled(name)).digest == read_image(bundled("MR_small.dcm")).digest


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        *(("SC_rgb_jpeg_gdcm.dcm", 1e-6), ("SC_rgb_gdcm_KY.dcm", 0.02), ("SC_rgb_dcmtk_+eb+cr.dcm", 0.02)),
        *(("SC_rgb_dcmtk_+eb+cy+n1.dcm", 0.02), ("SC_rgb_dcmtk_+eb+cy+np.dcm", 0.02), ("SC_rgb_jpeg_dcmtk.dcm", 0.02)),
        *(("SC_rgb_jls_lossy_line.dcm", 0.03), ("SC_rgb_jls_lossy_sample.dcm", 0.03)),
        *(("SC_rgb_rle_16bit.dcm", 1e-6), ("SC_rgb_rle_32bit.dcm", 1e-6), ("SC_ybr_full_422_uncompressed.dcm", 0.02)),
    ],
)
def test_colour_bars_are_the_same_in_every_syntax(name: str, tolerance: float) -> None:
    found, expected = (read_image(bundled(one)).pixels[5::10, 50] for one in (name, "SC_rgb_rle.dcm"))
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_twelve_bit_jpeg_extended_is_read_and_resembles_its_jpeg_2000_twin(name: str) -> None:
    lossy, twin = (read_image(bundled(one)).pixels[..., 0] for one in (name, "JPEG2000.dcm"))
    assert lossy.shape == twin.shape == (1024, 256)
    assert np.corrcoef(lossy.ravel(), twin.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_lossless_jpeg_2000_gives_back_every_sample(tmp_path: Path, depth: type) -> None:
    openjpeg = pytest.importorskip("openjpeg")
    samples = np.arange(64 * 48, dtype=depth).reshape(64, 48)
    plain = dicom(tmp_path / "plain.dcm", samples, WindowCenter=100, WindowWidth=200)
    frame = openjpeg.encode(samples)
    coded = dicom(
        tmp_path / "coded.dcm",
        samples,
        syntax=uid.JPEG2000Lossless,
        PixelData=encapsulated([bytes(frame)]),
        WindowCenter=100,
        WindowWidth=200,
    )
    assert read_image(coded).digest == read_image(plain).digest


@pytest.mark.parametrize("syntax", [uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K])
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_htj2k_gives_back_every_sample(tmp_path: Path, name: str, syntax: str) -> None:
    samples = picture(name)
    meant = {"BitsStored": 12, "HighBit": 11} if name == "grey12" else {}
    plain = dicom(tmp_path / "plain.dcm", samples, **meant)
    space = {"PhotometricInterpretation": "YBR_RCT"} if samples.ndim == 3 else {}
    frames = encapsulated([codestream(name)])
    coded = dicom(tmp_path / "coded.dcm", samples, syntax=syntax, PixelData=frames, **meant, **space)
    assert read_image(coded).digest == read_image(plain).digest


@pytest.mark.parametrize("name", ["lossygrey8", "lossyrgb8"])
def test_lossy_htj2k_is_its_picture_within_one_level(tmp_path: Path, name: str) -> None:
    samples = picture(name)
    space = {"PhotometricInterpretation": "YBR_ICT"} if samples.ndim == 3 else {}
    frames = encapsulated([codestream(name)])
    coded = dicom(tmp_path / "coded.dcm", samples, syntax=uid.HTJ2K, PixelData=frames, **space)
    expected = samples if samples.ndim == 3 else np.repeat(samples[..., None], 3, axis=2)
    np.testing.assert_allclose(read_image(coded).pixels * 255, expected, atol=1.01)


def test_every_open_syntax_has_a_decoder_in_this_installation() -> None:
    found = {syntax.uid.name: syntax.decoder for syntax in transfer_syntaxes()}
    assert all(found.values()), found
    assert len(found) == 16
    for words in ("RLE", "JPEG Baseline", "JPEG Extended", "JPEG Lossless", "JPEG-LS", "JPEG 2000", "High-Throughput"):
        assert any(words in name for name in found)


def test_the_gpl_decoder_is_asked_only_where_gdcm_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lossless = next(syntax for syntax in transfer_syntaxes() if syntax.uid == uid.JPEGLosslessSV1)
    assert lossless.decoder == "gdcm, in a process of its own"
    monkeypatch.setattr(gdcm_child, "is_available", lambda syntax: False)
    monkeypatch.setattr(JPEGLosslessSV1Decoder, "_available", {"pylibjpeg": None})
    lossless = next(syntax for syntax in transfer_syntaxes() if syntax.uid == uid.JPEGLosslessSV1)
    assert lossless.decoder == "pylibjpeg-libjpeg"


def test_wide_samples_in_big_endian_words_are_refused_because_decoders_differ(tmp_path: Path) -> None:
    samples = np.arange(40, dtype=np.uint32).reshape(5, 8) * 100_000
    assert read_image(dicom(tmp_path / "little.dcm", samples)).size == (5, 8)
    with pytest.raises(BadInput, match="32-bit samples in big-endian words are read in two ways"):
        read_image(dicom(tmp_path / "big.dcm", samples, syntax=uid.ExplicitVRBigEndian))


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.HEVCMP51, "1.2.3.4.5"])
def test_films_and_private_syntaxes_are_refused_by_name(tmp_path: Path, syntax: str) -> None:
    path = dicom(tmp_path / "x.dcm", RAMP, syntax=uid.RLELossless, PixelData=encapsulated([b"xxxx" * 99]))
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    with pytest.raises(BadInput, match="is not decoded here"):
        read_image(path)


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_a_data_set_without_preamble_and_meta_is_read(tmp_path: Path, little: bool, implicit: bool) -> None:
    if implicit and not little:
        return
    syntax = uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian
    dataset = dicom_dataset(RAMP, syntax=syntax, WindowCenter=2000, WindowWidth=1000)
    del dataset.file_meta
    dataset.save_as(tmp_path / "bare", implicit_vr=implicit, little_endian=little)
    whole = dicom(tmp_path / "x.dcm", RAMP, WindowCenter=2000, WindowWidth=1000)
    assert read_image(tmp_path / "bare").digest == read_image(whole).digest


def test_a_compressed_frame_of_another_size_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    stream = BytesIO()
    Image.fromarray(np.zeros((3000, 2000), np.uint8)).save(stream, "JPEG")
    path = dicom(
        tmp_path / "x.dcm",
        np.zeros((30, 20), np.uint8),
        syntax=uid.JPEGBaseline8Bit,
        PixelData=encapsulated([stream.getvalue()]),
    )
    with pytest.raises(BadInput, match="its compressed frame is 2000 x 3000 x 1, its header says 20 x 30 x 1"):
        read_image(path)


def test_a_deflated_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dicom_dataset(np.zeros((2000, 2000), np.uint16), syntax=uid.DeflatedExplicitVRLittleEndian)
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert (tmp_path / "x.dcm").stat().st_size < 50_000
    assert count_images(tmp_path / "x.dcm") == 1
    monkeypatch.setattr("medclipsam.io.dicom.decoders.MAX_INFLATED_BYTES", 7_000_000)
    with pytest.raises(BadInput, match="unpacks to more than"):
        read_image(tmp_path / "x.dcm")


# ---- frames ----------------------------------------------------------------------------------------------------------


def test_frames_are_chosen_by_number_and_have_their_own_names(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]])
    path = dicom(tmp_path / "x.dcm", frames, NumberOfFrames=3, WindowCenter=2000, WindowWidth=4000)
    images = list(read_images(path))
    assert len({image.name for image in images}) == count_images(path) == 3
    for index, image in enumerate(images):
        expected = highdicom.pixels.apply_voi_window(frames[index], 2000, 4000)
        np.testing.assert_allclose(image.pixels[..., 0], expected, atol=1e-6)
        assert image.digest == read_image(path, frame=index).digest
        assert image.origin.index == index
    with pytest.raises(BadInput, match="holds 3 frames; choose one by frame"):
        read_image(path)
    with pytest.raises(BadInput, match="choose one by frame"):
        read_image(path, slice_index=0)


def test_each_frame_of_an_enhanced_object_has_its_own_rescale_window_and_spacing(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP])
    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])],
        FrameVOILUTSequence=[item(WindowCenter=2000, WindowWidth=4000)],
    )
    per_frame = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=0)]) for slope in (1, 2)
    ]
    path = dicom(
        tmp_path / "x.dcm",
        frames,
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=per_frame,
    )
    for slope, image in zip((1, 2), read_images(path), strict=True):
        expected = highdicom.pixels.apply_voi_window(RAMP * slope, 2000, 4000)
        np.testing.assert_allclose(image.pixels[..., 0], expected, atol=1e-6)
        assert image.spacing_mm == (0.5, 0.25)


def test_floating_pixels_are_read_and_must_be_finite(tmp_path: Path) -> None:
    values = np.linspace(-1, 5, 40, dtype=np.float32).reshape(5, 8)
    attributes = {"PixelData": None, "BitsStored": None, "HighBit": None, "PixelRepresentation": None}
    path = dicom(tmp_path / "x.dcm", values, FloatPixelData=values.tobytes(), BitsAllocated=32, **attributes)
    np.testing.assert_allclose(read_image(path).pixels, image_from_array(values).pixels, atol=1e-6)
    values[2, 2] = np.nan
    path = dicom(tmp_path / "x.dcm", values, FloatPixelData=values.tobytes(), BitsAllocated=32, **attributes)
    with pytest.raises(BadInput, match="NaN"):
        read_image(path)


# ---- spacing ---------------------------------------------------------------------------------------------------------


def region(**changes: Any) -> Any:
    known = {
        "RegionSpatialFormat": 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.02,
        "PhysicalDeltaY": 0.03,
    }
    return item(**(known | changes))


@pytest.mark.parametrize(
    ("attributes", "spacing", "warning"),
    [
        ({}, None, None),
        ({"PixelSpacing": [0.5, 0.25]}, (0.5, 0.25), None),
        ({"PixelSpacing": [0, 0.25]}, None, UNUSABLE),
        ({"PixelSpacing": [-1, -1]}, None, UNUSABLE),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), AT_DETECTOR),
        ({"ImagerPixelSpacing": [0.2, 0.3], "EstimatedRadiographicMagnificationFactor": 1.5}, (2 / 15, 0.2), ESTIMATED),
        ({"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 0}, (0.2, 0.1), AT_DETECTOR),
        ({"NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), AT_DETECTOR),
        ({"PixelSpacing": [0.5, 0.25], "ImagerPixelSpacing": [0.2, 0.1]}, (0.5, 0.25), None),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), AT_DETECTOR),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.1, 0.2]}, (0.2, 0.1), None),
        ({"PixelSpacing": [0.2, 0.1], "NominalScannedPixelSpacing": [0.2, 0.1]}, (0.2, 0.1), AT_DETECTOR),
        (
            {
                "PixelSpacing": [0.2, 0.3],
                "ImagerPixelSpacing": [0.2, 0.3],
                "EstimatedRadiographicMagnificationFactor": 1.5,
            },
            (2 / 15, 0.2),
            ESTIMATED,
        ),
        (
            {
                "PixelSpacing": [0.2, 0.1],
                "ImagerPixelSpacing": [0.2, 0.1],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            (0.2, 0.1),
            None,
        ),
        ({"SequenceOfUltrasoundRegions": [region()]}, (0.3, 0.2), None),
        ({"SequenceOfUltrasoundRegions": [region(), region(PhysicalDeltaY=-0.03)]}, (0.3, 0.2), None),
        (
            {"SequenceOfUltrasoundRegions": [region(), region(RegionSpatialFormat=3, PhysicalDeltaX=9)]},
            (0.3, 0.2),
            None,
        ),
        ({"SequenceOfUltrasoundRegions": [region(), region(PhysicalDeltaX=0.05)]}, None, SEVERAL_SCALES),
        ({"SequenceOfUltrasoundRegions": [region(PhysicalUnitsXDirection=0)]}, None, None),
        ({"SequenceOfUltrasoundRegions": [region(PhysicalDeltaX=0.0)]}, None, UNUSABLE),
    ],
)
def test_spacing_is_what_the_file_says_and_never_a_guess(
    tmp_path: Path, attributes: dict[str, Any], spacing: tuple[float, float] | None, warning: str | None
) -> None:
    image = read_image(
        dicom(tmp_path / "x.dcm", RAMP, BurnedInAnnotation="NO", WindowCenter=2000, WindowWidth=4000, **attributes)
    )
    assert image.spacing_mm == (pytest.approx(spacing) if spacing else None)
    assert image.warnings == ((warning,) if warning else ())


def test_a_bundled_ultrasound_is_calibrated_by_its_region() -> None:
    image = read_image(bundled("examples_ybr_color.dcm"), frame=0)
    assert image.spacing_mm == pytest.approx((0.5105, 0.5105), abs=1e-4)
    assert read_image(bundled("examples_rgb_color.dcm")).spacing_mm is None


# ---- privacy ---------------------------------------------------------------------------------------------------------


def test_nothing_of_the_patient_is_in_names_warnings_or_representations(tmp_path: Path) -> None:
    path = dicom(tmp_path / "scan.dcm", RAMP, BurnedInAnnotation="YES")
    image = read_image(path)
    written = write_mask(image, image.pixels[..., 0] > 0.5, tmp_path / image.name)
    for planted in PLANTED:
        assert planted in dcmread(path).to_json()
        for said in (image.name, repr(image), str(image.origin), " ".join(image.warnings), written.name):
            assert planted not in said
        assert planted.encode() not in written.read_bytes()


def test_names_that_may_be_burned_in_are_warned_of(tmp_path: Path) -> None:
    for attributes, expected in (
        ({"Modality": "US"}, True),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, False),
        ({"Modality": "MR", "SOPClassUID": uid.MRImageStorage}, False),
        ({"Modality": "MR", "SOPClassUID": uid.MRImageStorage, "ImageType": "DERIVED\\SECONDARY\\SCREEN SAVE"}, True),
        ({"Modality": "MR", "SOPClassUID": uid.SecondaryCaptureImageStorage}, True),
        ({"Modality": "MR", "SOPClassUID": uid.SecondaryCaptureImageStorage, "BurnedInAnnotation": "NO"}, False),
        ({"Modality": "MR", "BurnedInAnnotation": "YES"}, True),
    ):
        image = read_image(dicom(tmp_path / "x.dcm", RAMP, WindowCenter=2000, WindowWidth=4000, **attributes))
        assert any("burned" in warning for warning in image.warnings) == expected


def test_segmentations_and_objects_without_a_picture_are_refused_by_kind(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a segmentation"):
        read_image(bundled("liver_1frame.dcm"))
    with pytest.raises(BadInput, match="RT Plan Storage holds no picture"):
        read_image(bundled("rtplan.dcm"))
    with pytest.raises(BadInput, match="holds no pixel data"):
        read_image(dicom(tmp_path / "x.dcm", RAMP, PixelData=b""))


def test_a_gzipped_dicom_is_refused_with_the_way_out() -> None:
    with pytest.raises(BadInput, match="unpack it first"):
        read_image(bundled("zipMR.gz"))


def test_deflated_data_are_read(tmp_path: Path) -> None:
    plain = read_image(dicom(tmp_path / "plain.dcm", RAMP, WindowCenter=2000, WindowWidth=4000))
    deflated = dicom(
        tmp_path / "x.dcm", RAMP, syntax=uid.DeflatedExplicitVRLittleEndian, WindowCenter=2000, WindowWidth=4000
    )
    assert read_image(deflated).digest == plain.digest
