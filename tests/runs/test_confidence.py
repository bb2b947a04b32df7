"""The confidence is the number that its docstring promises, and doubtful pixels are ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright import BrightSegmenter
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.runs import LabelRequest
from medclipsam.runs import confidence as module
from medclipsam.runs.confidence import agreement, boundary_score, combined, confidence, judge
from medclipsam.runs.labels import training_labels
from medclipsam.runs.request import run_settings
from medclipsam.types import Segmentation

LEFT = np.array([[True, True, False, False]])
share = st.floats(0, 1)


def answer(inside: float = 0.8, outside: float = 0.2, **changed: Any) -> Segmentation:
    """The left half is the mask."""
    values = {
        "prompt": "x",
        "mask": LEFT,
        "probability": np.where(LEFT, 0.9, 0.1).astype(np.float32),
        "saliency": np.where(LEFT, inside, outside).astype(np.float32),
        "found": True,
        "presence": 0.75,
        "scores": (0.8, 1.0),
    }
    return Segmentation(**{**values, **changed})


@pytest.fixture(autouse=True)
def weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exponent that is easy to reckon with, whatever the last fit gave."""
    monkeypatch.setattr(module, "exponent", lambda: 2.0)


def test_it_is_the_soft_dice_of_evidence_and_mask_to_its_power() -> None:
    soft_dice = 2 * 1.6 / (1.6 + 0.4 + 2)
    assert agreement(answer().saliency, LEFT) == pytest.approx(soft_dice)
    assert confidence(answer()) == pytest.approx(soft_dice**2, abs=1e-4)


def test_neither_scores_nor_presence_take_part() -> None:
    assert confidence(answer(scores=(), presence=0.1)) == confidence(answer())


def test_nothing_found_has_no_confidence() -> None:
    nothing = answer(mask=np.zeros_like(LEFT), found=False)
    assert confidence(nothing) is None
    assert judge(None, 0.9) == "not found"


def test_a_mask_without_evidence_has_no_confidence_left() -> None:
    assert confidence(answer(inside=0.0)) == 0


def test_a_map_that_is_the_mask_agrees_wholly_and_one_that_is_elsewhere_not_at_all() -> None:
    assert agreement(LEFT.astype(np.float32), LEFT) == 1
    assert agreement((~LEFT).astype(np.float32), LEFT) == 0
    assert agreement(np.zeros((1, 4), np.float32), LEFT) == 0
    assert agreement(np.ones((1, 4), np.float32), np.zeros_like(LEFT)) == 0


def test_evidence_that_the_mask_leaves_out_and_mask_without_evidence_are_both_less_agreement() -> None:
    whole = agreement(answer(1.0, 0.0).saliency, LEFT)
    assert agreement(answer(1.0, 0.3).saliency, LEFT) < whole
    assert agreement(answer(0.7, 0.0).saliency, LEFT) < whole


@given(share, share)
def test_it_lies_between_0_and_1(inside: float, outside: float) -> None:
    sure = confidence(answer(inside, outside))
    assert sure is not None
    assert 0 <= sure <= 1
    assert sure == round(sure, 4)


@given(share, share, share)
def test_more_evidence_inside_is_never_less_confidence(outside: float, less: float, more: float) -> None:
    less, more = sorted((less, more))
    sure = [confidence(answer(inside, outside)) or 0.0 for inside in (less, more)]
    assert sure[0] <= sure[1]


def test_another_exponent_is_another_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = LabelRequest(source=tmp_path, output=tmp_path / "out", prompts=("x",))
    described = BrightSegmenter().info
    before = run_settings(request, described)["config_sha256"]
    assert run_settings(request, described)["config_sha256"] == before
    monkeypatch.setattr(module, "exponent", lambda: 2.5)
    assert run_settings(request, described)["config_sha256"] != before


def test_several_pictures_count_by_the_area_of_their_masks() -> None:
    assert combined([300, 100, 0], [0.9, 0.5, None]) == pytest.approx(0.8)
    assert combined([0, 0], [None, None]) is None


def test_as_much_as_is_asked_for_is_enough() -> None:
    assert [judge(sure, 0.6) for sure in (0.5999, 0.6)] == ["doubtful", "done"]


def test_pixels_near_one_half_are_ignored() -> None:
    mask = np.array([[True, True, False, False]])
    result = answer(mask=mask, probability=np.array([[0.9, 0.55, 0.45, 0.1]], np.float32))
    assert training_labels(result, 0.1).tolist() == [[1, 2, 2, 0]]
    assert training_labels(result, 0.0).tolist() == [[1, 1, 0, 0]]


def test_pixels_that_the_method_left_out_against_their_probability_are_ignored() -> None:
    result = answer(probability=np.array([[0.9, 0.9, 0.9, 0.1]], np.float32))
    assert training_labels(result, 0.1).tolist() == [[1, 1, 2, 0]]


def test_where_nothing_was_found_all_is_background_and_where_nothing_is_believed_all_is_ignored() -> None:
    nothing = answer(mask=np.zeros_like(LEFT), found=False, probability=np.full((1, 4), 0.5, np.float32))
    assert training_labels(nothing, 0.2).tolist() == [[0, 0, 0, 0]]
    assert training_labels(answer(), 0.2, doubtful=True).tolist() == [[2, 2, 2, 2]]


def test_the_boundary_score_is_entropy_for_each_pixel_of_the_rim() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    assert boundary_score(np.full((9, 9), 0.5, np.float32), mask) == pytest.approx(81 * 0.5 / 8)
    assert boundary_score(np.ones((9, 9), np.float32), np.zeros((9, 9), bool)) is None
    assert boundary_score(np.ones((9, 9), np.float32), np.ones((9, 9), bool)) is None
