"""Is the confidence the number that its docstring promises, and are doubtful pixels ignored?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.batch.confidence import combined, confidence, contrast, judge
from medclipsam.batch.labels import training_labels
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


def test_it_is_the_geometric_mean_of_contrast_sam_and_presence() -> None:
    assert contrast(answer().saliency, LEFT) == pytest.approx(0.6)
    assert confidence(answer()) == pytest.approx((0.6 * 0.9 * 0.75) ** (1 / 3), abs=1e-4)


def test_a_method_without_scores_is_judged_by_the_other_two() -> None:
    assert confidence(answer(scores=())) == pytest.approx((0.6 * 0.75) ** (1 / 2), abs=1e-4)


def test_nothing_found_has_no_confidence() -> None:
    nothing = answer(mask=np.zeros_like(LEFT), found=False)
    assert confidence(nothing) is None
    assert judge(None, 0.9) == "not found"


@pytest.mark.parametrize("changed", [{"presence": 0.0}, {"scores": (0.0,)}, {"scores": (-0.2,)}, {"inside": 0.1}])
def test_no_witness_makes_up_for_another(changed: dict[str, Any]) -> None:
    assert confidence(answer(**changed)) == 0


@pytest.mark.parametrize("mask", [np.ones((2, 2), bool), np.zeros((2, 2), bool)], ids=["everything", "empty"])
def test_without_an_inside_and_an_outside_there_is_no_contrast(mask: np.ndarray) -> None:
    assert contrast(np.ones((2, 2), np.float32), mask) == 0


def test_without_saliency_there_is_no_contrast() -> None:
    assert contrast(np.zeros((1, 4), np.float32), LEFT) == 0


@given(share, share, share, st.lists(st.floats(-0.5, 1.5), max_size=3))
def test_it_lies_between_0_and_1(inside: float, outside: float, presence: float, scores: list[float]) -> None:
    sure = confidence(answer(inside, outside, presence=presence, scores=tuple(scores)))
    assert sure is not None
    assert 0 <= sure <= 1
    assert sure == round(sure, 4)


@given(share, share, share)
def test_more_presence_is_never_less_confidence(inside: float, less: float, more: float) -> None:
    less, more = sorted((less, more))
    sure = [confidence(answer(inside, presence=presence)) or 0.0 for presence in (less, more)]
    assert sure[0] <= sure[1]


def test_a_faint_map_of_the_same_shape_has_the_same_contrast() -> None:
    assert contrast(answer(0.08, 0.02).saliency, LEFT) == pytest.approx(contrast(answer(0.8, 0.2).saliency, LEFT))


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
