"""Does the default preset, with its real weights, answer the same everywhere and without a network?"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import dicom
from PIL import Image
from pydicom import examples
from typed import typed

import medclipsam
from medclipsam.notice import RESEARCH_USE_ONLY

SCAN = str(examples.get_path("overlay"))
PROMPTS = ("liver", "kidney")


def forbidden(*arguments: Any, **options: Any) -> None:
    """In place of every connection."""
    raise AssertionError("a connection was opened")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one run in this process, with every connection forbidden."""
    out = tmp_path_factory.mktemp("first") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", forbidden)
        patch.setattr(socket, "create_connection", forbidden)
        patch.setattr(socket, "getaddrinfo", forbidden)
        arguments = ["segment", SCAN, "-p", PROMPTS[0], "-p", PROMPTS[1], "-o", str(out), "--device", "cpu"]
        result = typed(*arguments, "--format", "png", "--format", "seg")
    assert result.exit_code == 0, result.output
    return out


def test_the_report_names_the_weights_by_hash_and_holds_every_answer(first: Path) -> None:
    report = json.loads((first / "report.json").read_text())
    assert report["notice"] == RESEARCH_USE_ONLY
    assert (report["preset"]["name"], report["precision"]) == ("embedded", "fp32")
    assert report["weights"]
    assert all(len(digest) == 64 for digest in report["weights"].values())
    (image,) = report["images"]
    assert image["spacing_mm"] == pytest.approx([0.7231, 0.7231], abs=1e-4)
    for result in image["results"]:
        mask = np.asarray(Image.open(first / result["files"]["mask"])) > 0
        assert mask.shape == (300, 484)
        assert mask.sum() == result["area_px"]
        assert result["found"] == bool(mask.any())
        assert result["area_mm2"] == pytest.approx(result["area_px"] * 0.72314049586777**2)


def test_another_process_with_the_prompts_in_another_order_gives_the_same_bits(first: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "medclipsam", "segment", SCAN, "-o", str(tmp_path), "--device", "cpu"]
    command += ["-p", PROMPTS[1], "-p", PROMPTS[0], "--format", "png"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    masks = sorted(path.name for path in first.glob("*_mask.png"))
    assert len(masks) == 2
    assert sorted(path.name for path in tmp_path.glob("*_mask.png")) == masks
    assert [name for name in masks if (tmp_path / name).read_bytes() != (first / name).read_bytes()] == []


def test_the_same_picture_in_eight_or_sixteen_bits_and_inverted_gives_the_same_mask(tmp_path: Path) -> None:
    grey = np.rint(medclipsam.read_image(SCAN).pixels[..., 0] * 255).astype(np.uint8)
    wide = grey.astype(np.uint16) * 257
    twelve = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2040, "WindowWidth": 4080}
    twelve |= {"VOILUTFunction": "LINEAR_EXACT"}
    twins = [
        (grey, {}),
        (255 - grey, {"PhotometricInterpretation": "MONOCHROME1"}),
        (wide, {}),
        (65535 - wide, {"PhotometricInterpretation": "MONOCHROME1"}),
        (grey.astype(np.uint16) * 16, twelve),
        (4080 - grey.astype(np.uint16) * 16, {**twelve, "PhotometricInterpretation": "MONOCHROME1"}),
    ]
    images = [medclipsam.read_image(dicom(tmp_path / "scan.dcm", samples, **said)) for samples, said in twins]
    assert len({image.digest for image in images}) == 1
    segmenter = medclipsam.load("embedded", device="cpu")
    results = [segmenter.segment(image, PROMPTS[0]) for image in (images[0], images[3])]
    assert results[0].found
    np.testing.assert_array_equal(results[0].mask, results[1].mask)


def test_the_image_is_encoded_for_the_first_prompt_alone(first: Path) -> None:
    answers = json.loads((first / "report.json").read_text())["images"][0]["results"]
    encode = [answer["seconds"]["encode"] for answer in answers]
    assert encode[1] < encode[0] / 3
