"""Neighbours: what two of them say together outweighs one slice, and a probability leans on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from stacks import answered, drawn, stack

from medclipsam.errors import BadInput
from medclipsam.types import Hints, MedImage, Segmentation
from medclipsam.volume.neighbours import Answered, with_neighbours
from medclipsam.volume.rules import RULES, VolumeRule

AGREE, SHARE = VolumeRule(agree=True), VolumeRule(share=0.5)


def never(image: MedImage, prompt: str, hints: Hints) -> Segmentation:
    pytest.fail(f"{image.name} was asked again")


def heard(rows: list[str], rule: VolumeRule, places: Sequence[float] | None = None) -> list[str]:
    places_mm = list(range(len(rows))) if places is None else places
    return drawn(with_neighbours(stack(rows), places_mm, rule, never))


def test_a_slice_that_stands_alone_is_dropped() -> None:
    assert heard(["---", ".xx", "---", "---"], AGREE) == ["...", "...", "...", "..."]


def test_a_mask_that_meets_none_beside_it_is_dropped() -> None:
    assert heard([".xx", ".xx", "x..", ".xx"], AGREE) == [".xx", ".xx", "...", "..."]


def test_what_two_slices_show_stays_also_at_the_ends() -> None:
    rows = [".xx", ".xx", "---", "---", ".xx", "xx."]
    assert heard(rows, AGREE) == [".xx", ".xx", "...", "...", ".xx", "xx."]


def test_a_slice_between_two_that_do_not_meet_is_not_asked_again() -> None:
    assert heard(["x..", "x..", "---", "..x", "..x"], AGREE) == ["x..", "x..", "...", "..x", "..x"]


def test_a_dropped_slice_has_the_answer_not_found() -> None:
    dropped = list(with_neighbours(stack(["---", ".xx", "---"]), [0, 1, 2], AGREE, never))[1].results[0]
    assert (dropped.found, dropped.area_px, dropped.box, dropped.scores) == (False, 0, None, ())
    assert dropped.reason == "neighbours"
    assert dropped.presence == pytest.approx(0.9)


def test_a_slice_that_lacks_between_two_is_asked_with_the_box_of_both() -> None:
    asked: list[tuple[str, str, tuple[float, ...]]] = []

    def ask(image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        asked.append((image.name, prompt, hints.boxes[0].edges))
        return answered(1, [0.1, 0.9, 0.1, 0.1]).results[0]

    settled = list(with_neighbours(stack([".xx.", "----", "xx.."]), [0, 1, 2], AGREE, ask))
    assert asked == [("s1", "liver", (0, 0, 3, 1))]
    assert drawn(settled) == [".xx.", ".x..", "xx.."]
    assert settled[1].results[0].presence == pytest.approx(0.1)


def test_a_share_fills_and_takes_away_what_both_sides_contradict() -> None:
    assert heard(["xx.", "x??", "xx."], SHARE)[1] == "xx."
    assert heard(["...", "x.x", "..x"], VolumeRule(share=0.6))[1] == "..x"


def test_shares_are_of_answers_before_any_was_changed() -> None:
    rows = ["x..", "...", "...", "..."]
    assert heard(rows, VolumeRule(share=0.6)) == ["...", "...", "...", "..."]


def test_a_mask_that_neighbours_take_away_is_not_found() -> None:
    settled = list(with_neighbours(stack(["..", "?x", ".."]), [0, 1, 2], VolumeRule(share=0.6), never))
    assert [each.results[0].found for each in settled] == [False, False, False]


def test_slices_beside_a_gap_are_no_neighbours() -> None:
    rows = ["---", "---", "---", ".xx", "---", "---", "---"]
    assert heard(rows, AGREE, [0, 1, 2, 4, 6, 7, 8])[3] == ".xx"
    assert heard(rows, AGREE, [0, 1, 2, 3, 4, 5, 6])[3] == "..."


def test_slices_of_unknown_places_are_left_alone() -> None:
    slices = stack(["---", ".xx", "---"])
    assert list(with_neighbours(slices, None, AGREE, never)) == slices


def test_places_may_count_down() -> None:
    assert heard(["---", ".xx", "---"], AGREE, [10, 5, 0]) == ["...", "...", "..."]


@pytest.mark.parametrize("rows", [[], [".x"], [".x", ".x"]])
def test_short_stacks_come_out_as_they_are(rows: list[str]) -> None:
    assert heard(rows, AGREE) == rows


def test_every_prompt_is_settled_for_itself() -> None:
    one, other = stack(["---", ".xx", "---"]), stack(["xxx", "xxx", "xxx"])
    both = [Answered(a.image, [*a.results, *b.results]) for a, b in zip(one, other, strict=True)]
    found = [[result.found for result in each.results] for each in with_neighbours(both, [0, 1, 2], AGREE, never)]
    assert found == [[False, True]] * 3


def test_slices_of_another_size_are_no_neighbours() -> None:
    slices = stack(["----", ".xx", "----"])
    assert drawn(with_neighbours(slices, [0, 1, 2], AGREE, never))[1] == ".xx"


def test_a_few_slices_are_held_back_and_no_more() -> None:
    taken: list[int] = []

    def coming() -> Iterator[Answered]:
        for number, each in enumerate(stack([".x"] * 50)):
            taken.append(number)
            yield each

    settled = with_neighbours(coming(), list(range(50)), RULES["smooth"], never)
    for number in range(46):
        next(settled)
        assert len(taken) == number + 4


def test_slice_by_slice_changes_nothing() -> None:
    slices = stack(["---", ".xx", "---"])
    assert list(with_neighbours(slices, [0, 1, 2], RULES["slices"], never)) == slices


def test_saliency_stays_what_the_text_saw() -> None:
    before = stack(["xx.", "x??", "xx."])
    after = list(with_neighbours(before, [0, 1, 2], SHARE, never))
    for one, other in zip(before, after, strict=True):
        assert np.array_equal(one.results[0].saliency, other.results[0].saliency)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(BadInput, match="share"):
        replace(AGREE, share=share)
