"""A picture whose greys are inverted is told from one whose greys are not, and answered as if they were not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import examples

import medclipsam
from medclipsam.config import PRESETS, ZeroShot
from medclipsam.methods.greys import NOTE, Greys, known_greys, positive, signs
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.types import MedImage


@pytest.fixture(scope="module")
def scan() -> MedImage:
    return medclipsam.read_image(examples.get_path("overlay"))


@pytest.fixture(scope="module")
def turned(scan: MedImage) -> MedImage:
    return replace(scan, pixels=1 - scan.pixels)


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    return medclipsam.load("embedded", device="cpu")


def test_a_scan_is_left_as_it_is_and_its_negative_is_inverted_back(scan: MedImage, turned: MedImage) -> None:
    assert positive(scan) is None
    back = positive(turned)
    assert back is not None
    assert np.allclose(back.pixels, scan.pixels)


def test_a_picture_looks_as_much_inverted_as_its_negative_does_not() -> None:
    pixels = np.random.default_rng(0).random((40, 60, 3), np.float32)
    pixels[:10] = 0
    assert known_greys().inversion(pixels) == pytest.approx(-known_greys().inversion(1 - pixels), abs=1e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_picture_without_contrast_has_signs_and_is_left_alone(level: float) -> None:
    flat = np.full((30, 20, 3), level, np.float32)
    assert np.isfinite(signs(flat)).all()
    assert positive(MedImage(pixels=flat, name="flat")) is None


def test_signs_hardly_depend_on_the_size_of_a_picture() -> None:
    rows, columns = np.mgrid[:1200, :900] / 1200
    pixels = np.repeat((np.hypot(rows - 0.5, columns - 0.4) < 0.3)[..., None], 3, axis=2).astype(np.float32)
    assert np.allclose(signs(pixels), signs(pixels[::2, ::2]), atol=0.05)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    known, path = known_greys(), tmp_path / "greys.safetensors"
    path.write_bytes(known.to_bytes())
    read = Greys.read(path)
    found = signs(np.random.default_rng(1).random((20, 20, 3), np.float32))
    assert (read.least, read.score(found)) == (known.least, known.score(found))


def test_a_negative_gets_the_mask_of_the_scan_and_a_note(
    segmenter: ZeroShotSegmenter, scan: MedImage, turned: MedImage
) -> None:
    answer, plain = segmenter.segment(turned, "liver"), segmenter.segment(scan, "liver")
    assert plain.found and NOTE not in plain.notes
    assert NOTE in answer.notes
    assert answer.presence == pytest.approx(plain.presence, abs=1e-4)
    assert (answer.mask != plain.mask).mean() < 1e-3


def test_slices_of_a_stack_are_inverted_back_too(segmenter: ZeroShotSegmenter, turned: MedImage) -> None:
    weighed = segmenter.weigh(turned, "liver")
    features = segmenter.features_of(turned)
    whole = segmenter.segment(turned, "liver")
    fresh = ZeroShotSegmenter(
        segmenter.config, segmenter._evidence, segmenter._sam, weights=dict(segmenter.info.weights)
    )
    fresh.recall(turned, features)
    drawn = fresh.draw(turned, "liver", weighed)
    assert NOTE in drawn.notes
    assert (drawn.mask == whole.mask).all()


def test_only_the_preset_that_may_inverts_greys_back() -> None:
    rights = {name for name, preset in PRESETS.items() if isinstance(preset, ZeroShot) and preset.rights_greys}
    assert rights == {"embedded"}
