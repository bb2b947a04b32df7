"""Where presence begins: a folder with many hard images does not decide for all."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from medclipsam.backbones.compact import Presence
from medclipsam.training.embedded.calibration import LOST, LOST_OF_ALL, Judged, _presence_threshold
from medclipsam.training.embedded.heads import fit_presence


def judged(group: str, *scores: float, present: bool = True) -> list[Judged]:
    return [
        Judged(
            group=group,
            image="",
            present=present,
            missing=False,
            presence=score,
            evidence=torch.tensor([score, score + 0.1, 0.5 * score]),
            logits=None,
            truth=None,
        )
        for score in scores
    ]


def test_a_large_group_of_weak_answers_counts_as_one_group() -> None:
    easy = [case for name in range(99) for case in judged(str(name), 5.0)]
    hard = judged("hard", *(0.01 * step for step in range(500)))
    assert _presence_threshold([*easy, *hard], 0.0) == 5.0


def test_no_more_is_lost_than_is_allowed() -> None:
    cases = judged("one", *(float(step) for step in range(200)))
    threshold = _presence_threshold(cases, 0.0)
    assert sum(case.presence < threshold for case in cases) == 200 * LOST


def test_an_answer_that_would_show_another_place_may_be_lost() -> None:
    truth = torch.zeros(64, 64, dtype=torch.bool)
    truth[:8] = True
    there, elsewhere = torch.where(truth, 1.0, -1.0), torch.where(truth, -1.0, 1.0)
    told = [replace(case, logits=there, truth=truth) for name in range(97) for case in judged(f"told {name}", 4.0)]
    misled = [replace(case, logits=elsewhere, truth=truth) for name in "abc" for case in judged(name, 1.0)]
    assert _presence_threshold([*told, *misled], 0.0) == 4.0
    assert _presence_threshold(misled, 0.0) == 1.0
    assert _presence_threshold([*told, *misled, *misled], 0.0) == 4.0, "groups count alike"


def test_of_all_answers_few_are_lost_wherever_they_are() -> None:
    truth = torch.ones(64, 64, dtype=torch.bool)
    told = [replace(case, logits=torch.ones(64, 64), truth=truth) for case in judged("told", 400.0)]
    misled = [replace(case, logits=-torch.ones(64, 64), truth=truth) for case in judged("misled", *range(100))]
    assert _presence_threshold([*told, *misled], 0.0) == pytest.approx(200 * LOST_OF_ALL)


def test_the_presence_head_learns_how_much_evidence_is_enough() -> None:
    there = judged("there", *(20 + 0.1 * step for step in range(50)))
    elsewhere = judged("elsewhere", *(10 + 0.1 * step for step in range(50)), present=False)
    presence = Presence()
    fit_presence(presence, [*there, *elsewhere])
    found = [bool(presence(case.evidence) > 0) for case in (*there, *elsewhere)]
    assert found == [True] * 50 + [False] * 50
