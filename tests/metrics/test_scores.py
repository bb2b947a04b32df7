from __future__ import annotations

import math

import numpy as np
import pytest
from drawn_masks import mask_pairs
from hypothesis import given

from medclipsam.metrics import METRICS, assd, dice, hd95, iou, nsd, nsd_slab, score

EMPTY = np.zeros((4, 5), bool)
SOME = ~EMPTY


@given(mask_pairs())
def test_one_call_gives_what_each_metric_gives(pair) -> None:
    scores = score(*pair, tolerance=1.5, spacing=(1.0, 0.5))
    expected = (
        dice(*pair),
        iou(*pair),
        nsd(*pair, tolerance=1.5, spacing=(1.0, 0.5)),
        nsd_slab(*pair),
        hd95(*pair, spacing=(1.0, 0.5)),
        assd(*pair, spacing=(1.0, 0.5)),
    )
    assert tuple(getattr(scores, metric) for metric in METRICS) == expected
    assert not any(math.isnan(value) for value in expected)
    assert (scores.predicted_px, scores.reference_px) == (pair[0].sum(), pair[1].sum())


@pytest.mark.parametrize(
    ("predicted", "reference", "outcome"),
    [
        (SOME, SOME, "compared"),
        (EMPTY, SOME, "missed"),
        (SOME, EMPTY, "false alarm"),
        (EMPTY, EMPTY, "both empty"),
    ],
)
def test_the_outcome_names_the_row_of_the_policy(predicted, reference, outcome: str) -> None:
    assert score(predicted, reference).outcome == outcome


def test_a_volume_has_all_scores_but_the_papers_slab() -> None:
    scores = score(np.ones((3, 4, 5), bool), np.ones((3, 4, 5), bool))
    assert (scores.dice, scores.nsd, scores.hd95, scores.nsd_slab) == (1, 1, 0, None)
