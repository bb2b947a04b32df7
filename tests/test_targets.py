"""The table beside the weights says what was taught and how well it is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from medclipsam.backbones.taught import words_of_run
from medclipsam.errors import BadInput
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.vocabulary import promised, taught_by
from medclipsam.weights.targets import TARGETS, Figure, Target, known_targets, read_targets, targets_beside, to_text

LIVER = Target(target="liver", images=("liver ct lits",), home=Figure(dice=0.8, found=1.0, n=3))
POLYP = Target(target="polyp", images=(), home=None, elsewhere=Figure(dice=0.5, found=0.5, n=2))


def test_a_table_comes_back_by_name(tmp_path: Path) -> None:
    (tmp_path / TARGETS).write_text(to_text([POLYP, LIVER]))
    assert read_targets(tmp_path / TARGETS) == (LIVER, POLYP)
    assert targets_beside(tmp_path) == targets_beside(tmp_path / "compact.safetensors") == (LIVER, POLYP)
    assert (LIVER.dice, LIVER.dice_elsewhere, POLYP.dice, POLYP.dice_elsewhere) == (0.8, None, None, 0.5)


@pytest.mark.parametrize(
    "text", ["{", "{}x", '[{"target": "liver"}]', '[{"target": "a", "images": [], "home": {"n": 1}}]', "[3]"]
)
def test_another_file_of_that_name_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / TARGETS).write_text(text)
    with pytest.raises(BadInput, match=r"targets\.json is no table of targets"):
        targets_beside(tmp_path)


def test_the_table_of_the_package_names_what_its_weights_know() -> None:
    known = {each.target: each for each in known_targets()}
    assert {"lungs", "polyp", "left ventricle"} <= known.keys()
    assert all(each.images for each in known.values())
    assert 0.5 < (known["lungs"].dice or 0) <= 1


def test_a_run_that_says_what_it_learned_knows_its_words_and_no_others(tmp_path: Path) -> None:
    assert words_of_run(tmp_path) is None
    (tmp_path / TARGETS).write_text(to_text([LIVER]))
    words = words_of_run(tmp_path)
    assert words is not None
    row = next(place for place, word in enumerate(words._words) if word.wording == "liver")
    other = next(place for place, word in enumerate(words._words) if word.wording == "polyp")
    assert words.familiar("liver", words._vectors[row]).taught
    assert not words.familiar("polyp", words._vectors[other]).taught


def test_a_run_that_promises_nothing_was_never_taught_anything(tmp_path: Path) -> None:
    (tmp_path / TARGETS).write_text(to_text([]))
    words = words_of_run(tmp_path)
    assert words is not None
    row = next(place for place, word in enumerate(words._words) if word.wording == "liver")
    assert not words.familiar("liver", words._vectors[row]).taught


def test_targets_that_the_list_of_words_does_not_name_leave_open_what_is_known(tmp_path: Path) -> None:
    (tmp_path / TARGETS).write_text(to_text([LIVER, Target(target="flux capacitor", images=())]))
    assert words_of_run(tmp_path) is None


def test_only_what_validation_images_confirm_is_promised() -> None:
    dice = {"one: liver": 0.3, "other: liver": 0.8, "one: polyp": 0.4}
    spleen = Target(target="spleen", images=("one",))
    assert promised([LIVER, POLYP, spleen], dice, 0.5) == [LIVER]
    assert promised([LIVER, POLYP, spleen], {}, 0) == [LIVER, POLYP, spleen]


def test_what_images_teach_is_what_they_show() -> None:
    shown = LabelledImage(image="a", folder="liver_ct_lits", targets=("liver", "spleen"), missing=("spleen",))
    assert taught_by([shown]) == [Target(target="liver", images=("liver ct lits",))]
