"""Damaged and hostile files: an image or one line, never a crash, a flood of memory or a word on the terminal."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_files import PLANTED, dicom, dicom_dataset, encapsulated
from mutated_files import SAMPLES, mutated
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file

from medclipsam.errors import BadInput
from medclipsam.io import count_images, is_readable, read_image, read_images
from medclipsam.io.dicom.gdcm_child import DECODER_DEPENDENCIES, is_available


def refusal(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        list(read_images(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["dcm", "nii", "nii.gz", "png", "jpg", "tif", "bmp", "npy", "txt"])
@pytest.mark.parametrize("content", [b"", b"x", b"hello\n" * 99, bytes(4096), b"\x1f\x8b rubbish", b"\xff" * 999])
def test_what_is_no_image_is_refused_whatever_its_extension(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(content)
    assert refusal(path)
    if suffix != "dcm":
        assert not is_readable(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    assert "there is no file" in refusal(tmp_path / "missing.png")
    assert "holds no files" in refusal(tmp_path)
    assert not is_readable(tmp_path)
    assert not is_readable(tmp_path / "missing.png")


@pytest.mark.parametrize(("content", "words"), [(b"PK\x03\x04", "zip"), (b"GIF89a", "GIF"), (b"NRRD0009", "NRRD")])
def test_known_formats_that_are_not_read_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content + bytes(500))
    assert words in refusal(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_one_pixel_wide_images_are_refused_in_every_format(tmp_path: Path, size: tuple[int, int]) -> None:
    array = np.zeros(size, np.uint8)
    Image.fromarray(array).save(tmp_path / "x.png")
    np.save(tmp_path / "x.npy", array)
    nib.save(nib.Nifti1Image(array[..., None], np.eye(4)), tmp_path / "x.nii")
    dicom(tmp_path / "x.dcm", array)
    for suffix in ("png", "npy", "nii", "dcm"):
        assert "too small" in refusal(tmp_path / f"x.{suffix}")


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_a_dicom_without_rows_or_columns_is_refused(tmp_path: Path, keyword: str) -> None:
    assert "hold no image" in refusal(dicom(tmp_path / "x.dcm", SAMPLES, **{keyword: 0}))
    assert "holds no picture" in refusal(dicom(tmp_path / "x.dcm", SAMPLES, **{keyword: None}))


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000, uid.RLELossless])
def test_huge_sizes_are_refused_from_the_header(tmp_path: Path, syntax: str) -> None:
    coded = {} if syntax == uid.ExplicitVRLittleEndian else {"PixelData": encapsulated([b"0" * 90])}
    path = dicom(tmp_path / "x.dcm", SAMPLES, syntax=syntax, **coded, Rows=65535, Columns=65535)
    assert "65535 x 65535 pixels are more than the limit" in refusal(path)
    path = dicom(tmp_path / "x.dcm", SAMPLES, syntax=syntax, **coded, NumberOfFrames=2**31 - 1)
    with pytest.raises(BadInput):
        count_images(path)


def test_more_encapsulated_frames_than_the_file_can_hold_are_refused(tmp_path: Path) -> None:
    path = dicom(
        tmp_path / "x.dcm", SAMPLES, syntax=uid.RLELossless, PixelData=encapsulated([b"0" * 90]), NumberOfFrames=9999
    )
    assert "it is cut off" in refusal(path)


@pytest.mark.parametrize("value", ["1A", "-3", "9" * 12])
def test_a_number_of_frames_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    path = dicom(tmp_path / "x.dcm", SAMPLES, NumberOfFrames="123456789012")
    raw = path.read_bytes().replace(b"123456789012", value.encode().ljust(12))
    path.write_bytes(raw)
    assert refusal(path)


@pytest.mark.parametrize("depth", [50, 300, 1500])
def test_deeply_nested_sequences_end_in_an_image_or_one_line(tmp_path: Path, depth: int) -> None:
    dataset = dicom_dataset(SAMPLES, WindowCenter=2000, WindowWidth=3000)
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    raw = (tmp_path / "x.dcm").read_bytes()
    pixels = raw.index(b"\xe0\x7f\x10\x00")
    opening = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    start = raw.index(b"\x28\x00\x02\x00US")
    (tmp_path / "x.dcm").write_bytes(raw[:start] + opening * depth + closing * depth + raw[start:])
    assert pixels > start
    try:
        assert read_image(tmp_path / "x.dcm").size == (6, 8)
    except BadInput as error:
        assert "nested too deeply" in str(error)


def test_values_of_the_patient_do_not_appear_in_refusals(tmp_path: Path) -> None:
    path = dicom(tmp_path / "x.dcm", SAMPLES, RescaleSlope=1.5, RescaleIntercept=0, SOPClassUID="1.2.3.4711")
    raw = path.read_bytes()
    for old, new in ((b"1.5 ", b"DOE^"), (b"MONOCHROME2 ", b"DOE^JANE^XXX")):
        path.write_bytes(raw.replace(old, new))
        said = refusal(path)
        assert "DOE" not in said
        for planted in PLANTED:
            assert planted not in said


def test_a_dicom_cut_anywhere_ends_in_one_line(tmp_path: Path) -> None:
    raw = dicom(tmp_path / "whole.dcm", SAMPLES).read_bytes()
    for length in range(0, len(raw) - 2, 7):
        (tmp_path / "x.dcm").write_bytes(raw[:length])
        assert refusal(tmp_path / "x.dcm")


def test_a_frame_on_which_gdcm_ends_its_process_is_refused_and_the_next_file_is_read(tmp_path: Path) -> None:
    if not is_available(uid.JPEGLosslessSV1):
        pytest.skip("gdcm is not installed")
    assert len(DECODER_DEPENDENCIES) == 3
    good = Path(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False)))
    raw = good.read_bytes()
    tables = raw.index(b"\xff\xc4", raw.index(b"\xff\xd8\xff"))
    for offset in range(2, 40, 3):
        broken = bytearray(raw)
        broken[tables + offset] ^= 0xFF
        (tmp_path / "x.dcm").write_bytes(broken)
        try:
            read_image(tmp_path / "x.dcm")
        except BadInput as error:
            assert "DICOM image" in str(error)
    assert read_image(good).size == (100, 100)


def survivors(folder: Path, count: int, seed: int) -> tuple[int, int]:
    """(images, refusals) of mutated files read in this very process; every other end of reading fails the test."""
    read = 0
    for _, path in mutated(folder / "scans", count, seed):
        try:
            for image, _ in zip(read_images(path), range(2), strict=False):
                assert np.isfinite(image.pixels).all()
            read += 1
        except BadInput as error:
            assert "\n" not in str(error)
            assert len(str(error)) < 300
    return read, count - read


def test_mutated_files_end_in_an_image_or_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    read, refused = survivors(tmp_path, count=300, seed=0)
    assert min(read, refused) > 50
    output = capfd.readouterr()
    assert output.out == output.err == ""


@pytest.mark.slow
def test_thousands_of_mutated_files_end_in_an_image_or_one_line(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read, refused = survivors(tmp_path, count=3000, seed=1)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    record_property("mutated files", f"{read} images, {refused} refusals, peak memory grew by {grown:.0f} MiB")
    assert min(read, refused) > 500
    assert grown < 500


def test_a_gzip_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    stream = BytesIO()
    header = nib.Nifti1Header()
    header.set_data_shape((1200, 1200, 1400))
    header.set_data_dtype(np.uint8)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    header.write_to(stream)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(stream.getvalue() + bytes(4)))
    assert "it is cut off" in refusal(tmp_path / "x.nii.gz")
