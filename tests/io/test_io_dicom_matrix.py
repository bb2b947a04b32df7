"""Every file of pydicom and pydicom-data: decoded as independent decoders do, or refused by name.

Here by pydicom with decoders that this package does not choose; by dcmtk's and gdcm's own programs where marked slow.
"""

from __future__ import annotations

import shutil
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import transfer_syntaxes
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import UID

from medclipsam.errors import BadInput
from medclipsam.io import read_images
from medclipsam.types import MedImage

FILES: dict[str, Path] = transfer_syntaxes.test_files()
every_file = pytest.mark.parametrize("path", FILES.values(), ids=FILES)
SMALLEST_CORRELATION = 0.999
NOT_COMPARABLE = {"JPGExtended.dcm", "JPEG-lossy.dcm"}
"""12-bit JPEG Extended, which pydicom does not read without a GPL decoder; test_io_dicom has its twin."""


@cache
def read_or_refused(path: Path) -> list[MedImage] | BadInput:
    try:
        return list(read_images(path))
    except BadInput as error:
        return error


def independent(path: Path) -> np.ndarray | None:
    """All frames by pydicom alone, with a decoder that this package does not choose where there is one; else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            syntax = UID(dataset.file_meta.setdefault("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian).value)
            others = [name for name in get_decoder(syntax).available_plugins if name in ("gdcm", "pylibjpeg")]
            preferred = "pylibjpeg" if syntax == pydicom.uid.RLELossless else "gdcm"
            frames = pixel_array(dataset, decoding_plugin=preferred if preferred in others else "")
    except Exception:
        return None
    several = int(dataset.get("NumberOfFrames") or 1) > 1
    return frames if several else frames[None]


@every_file
def test_each_file_decodes_or_is_refused_in_one_line(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = read_or_refused(path)
    output = capfd.readouterr()
    assert output.out == output.err == ""
    if isinstance(found, BadInput):
        assert "\n" not in str(found)
        assert len(str(found)) < 300
    else:
        assert found


@every_file
def test_what_decodes_shows_what_an_independent_decoder_gives(path: Path) -> None:
    found, expected = read_or_refused(path), independent(path)
    if isinstance(found, BadInput):
        if expected is None or any(words in str(found) for words in ("is a segmentation", "read in two ways")):
            return
        pytest.fail(f"pydicom reads it, but: {found}")
    if path.name in NOT_COMPARABLE:
        return
    assert expected is not None
    assert len(found) == len(expected)
    for image in found:
        stored = expected[image.origin.index]
        assert image.size == stored.shape[:2]
        photometric = image.origin.header.PhotometricInterpretation
        if photometric != "PALETTE COLOR":
            pixels = 1 - image.pixels if photometric == "MONOCHROME1" else image.pixels
            _same_up_to_a_window(pixels, stored.astype(np.float64))


def _same_up_to_a_window(pixels: np.ndarray, stored: np.ndarray) -> None:
    """Where the picture is not cut off, it is a rising straight line of the stored samples."""
    shown = pixels if stored.ndim == 3 else pixels[..., 0]
    inside = (shown > 0) & (shown < 1)
    if inside.sum() > 10 and stored[inside].std() > 0:
        assert np.corrcoef(shown[inside], stored[inside])[0, 1] > SMALLEST_CORRELATION
    if (~inside).any() and inside.any():
        assert stored[shown == 0].max(initial=-np.inf) <= stored[inside].max()
        assert stored[shown == 1].min(initial=np.inf) >= stored[inside].min()


def test_enough_of_the_bundled_files_decode() -> None:
    decoded = [path for path in FILES.values() if not isinstance(read_or_refused(path), BadInput)]
    assert len(decoded) >= (160 if len(FILES) > 210 else 100)


@pytest.mark.slow
@every_file
def test_what_decodes_is_what_dcmtk_or_gdcm_read_and_what_they_show(path: Path) -> None:
    if not all(map(shutil.which, transfer_syntaxes.PROGRAMS)):
        pytest.skip("Debian's dcmtk, libgdcm-tools and openjph-tools are not installed")
    verdict = transfer_syntaxes.judge(path)
    assert verdict.difference == ""
    if verdict.refusal:
        assert any(words in verdict.refusal for words in transfer_syntaxes.REASONS)
    else:
        assert verdict.judges
