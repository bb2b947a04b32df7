"""Any text is drawn in letters that the font has, and panels are fitted and joined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclipsam.drawing.painter import ELLIPSIS, GAP, INK, drawable, fitted, font, joined, lines, resized_mask


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("breast tumor", "breast tumor"),
        ("tumeur bénigne", "tumeur benigne"),
        ("5 mm² \u2013 left", "5 mm2 - left"),
        ("😀", "[grinning face]"),
        ("опухоль", "???????"),
        ("a\u200db", "ab"),
    ],
)
def test_letters_that_the_font_lacks_have_a_stand_in(text: str, drawn: str) -> None:
    assert drawable(text) == drawn


@given(st.text(max_size=300), st.integers(60, 600), st.integers(1, 4))
def test_lines_keep_to_their_width_and_number(text: str, width: int, most: int) -> None:
    wrapped = lines(text, size=16, width=width, most=most)
    assert len(wrapped) <= most
    assert all(font(16).getlength(line) <= width for line in wrapped)


@given(st.lists(st.sampled_from(["left", "lung", "a", "lobulated"]), min_size=1, max_size=12))
def test_words_are_kept_whole_and_in_order_when_there_is_room(words: list[str]) -> None:
    wrapped = lines(" ".join(words), size=16, width=120, most=99)
    assert " ".join(wrapped).split() == words


def test_only_a_text_that_is_cut_ends_in_an_ellipsis() -> None:
    assert lines("left lung", size=16, width=200, most=1) == ["left lung"]
    cut = lines("left lung and right lung and heart", size=16, width=120, most=1)
    assert cut == ["left lung and" + ELLIPSIS]


def test_a_text_with_an_ellipsis_of_its_own_is_not_taken_for_cut() -> None:
    assert lines("left... right", size=16, width=60, most=9) == ["left...", "right"]


def test_an_empty_text_gives_no_line() -> None:
    assert lines("", size=16, width=100, most=2) == []


def test_a_picture_keeps_its_aspect_and_never_loses_a_side() -> None:
    assert fitted((100, 50), 384) == (384, 192)
    assert fitted((1, 5000), 384) == (1, 384)


def test_one_pixel_of_a_mask_shows_in_a_reduced_picture_and_half_of_one_decides_in_an_enlarged_one() -> None:
    mask = np.zeros((400, 400), bool)
    mask[201, 7] = True
    assert resized_mask(mask, (40, 40)).sum() == 1
    assert np.argwhere(resized_mask(np.array([[True, False]]), (1, 8)))[:, 1].tolist() == [0, 1, 2, 3]


def test_panels_are_joined_beside_or_below_each_other_with_a_gap() -> None:
    panels = [np.full((2, 3, 3), 255, np.uint8), np.full((2, 3, 3), 9, np.uint8)]
    assert joined(panels).shape == (2, 6 + GAP, 3)
    assert joined(panels, below=True).shape == (4 + GAP, 3, 3)
    assert joined(panels)[0, 3].tolist() == list(INK)
    assert joined(panels[:1]).shape == (2, 3, 3)
