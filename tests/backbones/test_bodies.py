"""An image of a part of the body that cannot show what is asked for is told from one that only does not show it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import examples

import medclipsam
from medclipsam.backbones.bodies import Bodies, cells_of, known_bodies, pooled
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.types import MedImage
from medclipsam.weights import find
from medclipsam.weights.targets import known_targets


def bright_head_dark_chest() -> Bodies:
    """A head is where the first channel is above 0.5 in the mean."""
    weights = np.zeros((257, 2), np.float32)
    weights[0] = 20, -20
    weights[256] = -10, 10
    return Bodies(
        names=("head", "chest"),
        possible={"lungs": frozenset({"chest"}), "brain tumor": frozenset({"head"})},
        encoder="0" * 64,
        mean=np.zeros(256, np.float32),
        axes=np.eye(256, 128, dtype=np.float32),
        centre=np.zeros(256, np.float32),
        scale=np.ones(256, np.float32),
        weights=weights,
    )


def features(level: float, beside: float = 0.0) -> np.ndarray:
    """An encoding whose first channel has one level in the upper half and another below."""
    grid = np.zeros((1, 256, 64, 64), np.float32)
    grid[0, 0, :32], grid[0, 0, 32:] = level, beside
    return grid


@pytest.mark.parametrize(
    ("level", "target", "instead"),
    [(1.0, "lungs", "head"), (1.0, "brain tumor", None), (0.0, "brain tumor", "chest"), (0.5, "lungs", None)],
)
def test_what_the_part_of_the_body_cannot_show_is_told(level: float, target: str, instead: str | None) -> None:
    bodies = bright_head_dark_chest()
    assert bodies.shown_instead(target, bodies.seen(features(level, level), (100, 100))) == instead


def test_of_a_target_that_nobody_taught_nothing_is_told() -> None:
    bodies = bright_head_dark_chest()
    assert bodies.shown_instead("kidney", {"head": 1.0, "chest": 0.0}) is None


def test_what_lies_behind_an_oblong_image_has_no_say() -> None:
    bodies = bright_head_dark_chest()
    assert cells_of(np.zeros((64, 64, 3), np.float32), (50, 100)).shape == (32, 64, 3)
    alone, with_padding = (bodies.seen(features(1.0, beside), (50, 100)) for beside in (1.0, -9.0))
    assert alone == with_padding
    assert alone["head"] > 0.99


def test_pooling_takes_mean_and_deviation() -> None:
    cells = np.array([[[1.0, 5.0], [3.0, 5.0]]], np.float32)
    assert pooled(cells).tolist() == [2, 5, 1, 0]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    bodies, path = bright_head_dark_chest(), tmp_path / "bodies.safetensors"
    path.write_bytes(bodies.to_bytes())
    read = Bodies.read(path)
    assert (list(read.names), read.possible, read.encoder) == (["head", "chest"], bodies.possible, bodies.encoder)
    assert read.seen(features(0.7, 0.6), (9, 9)) == pytest.approx(bodies.seen(features(0.7, 0.6), (9, 9)), abs=0.01)


def test_the_package_knows_the_parts_of_what_it_was_taught() -> None:
    bodies, corpus = known_bodies(), Corpus.read()
    assert bodies.encoder == find("lite-medsam").sha256
    assert set(bodies.names) <= {folder.body for folder in corpus.folders.values()}
    for each in known_targets():
        assert corpus.concept(each.target).visible_in <= bodies.possible[each.target], "run benchmarks/bodies.py"
    assert json.dumps(sorted(bodies.possible["brain tumor"])) == '["head"]'


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    return medclipsam.load("embedded", device="cpu")


def test_an_abdomen_cannot_show_an_optic_disc_and_may_show_a_lung(segmenter: ZeroShotSegmenter) -> None:
    scan = medclipsam.read_image(examples.get_path("overlay"))
    answer = segmenter.segment(scan, "optic disc")
    assert (answer.found, answer.reason, answer.mask.any()) == (False, "wrong_body", False)
    assert segmenter.segment(scan, "cochlea").reason == "never_taught"
    assert segmenter.segment(scan, "lungs").reason != "wrong_body"
    assert segmenter.segment(scan, "liver").reason is None
    assert segmenter.segment(scan, "optic disc", always=True).reason != "wrong_body"
    weighed = segmenter.weigh(scan, "optic disc")
    assert segmenter.draw(scan, "optic disc", weighed).reason == "wrong_body"


def test_of_another_encoder_nothing_is_told(segmenter: ZeroShotSegmenter) -> None:
    scan: MedImage = medclipsam.read_image(examples.get_path("overlay"))
    other = ZeroShotSegmenter(segmenter.config, segmenter._evidence, segmenter._sam, weights={"lite-medsam": "1" * 64})
    assert other.segment(replace(scan), "optic disc").reason == "absent"


def test_a_target_that_is_out_of_place_is_not_found_whatever_its_map_says(segmenter: ZeroShotSegmenter) -> None:
    scan = medclipsam.read_image(examples.get_path("overlay"))
    config = replace(segmenter.config, presence_threshold=0.0)
    own = {"lite-medsam": find("lite-medsam").sha256, "compact": find("compact").sha256}
    answers = [
        ZeroShotSegmenter(config, segmenter._evidence, segmenter._sam, weights=hashes).segment(scan, "optic disc")
        for hashes in (own, own | {"compact": "1" * 64})
    ]
    assert [answer.reason == "wrong_body" for answer in answers] == [True, False]
