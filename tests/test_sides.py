"""A text that tells the left of a pair from the right is recognised, and names and places are not."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import pytest

from medclipsam.errors import BadInput
from medclipsam.sides import named_side, one_side, said_side
from medclipsam.training.embedded.corpus import Corpus

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("left lung", "left lung"),
        ("Right Kidney", "right kidney"),
        ("LEFT_LUNG", "left lung"),
        ("kidney_left", "kidney left"),
        ("adrenal gland right", "gland right"),
        ("kidney, left", "left"),
        ("the lung on the left", "on left"),
        ("kidney on the right side", "on right side"),
        ("tumor in the left breast", "in left breast"),
        ("left-sided pleural effusion", "left sided"),
        ("upper left lung", "upper left lung"),
        ("right upper lobe", "right upper"),
        ("left lateral ventricle", "left lateral"),
        ("left hippocampus", "left hippocampus"),
        ("left lung and right kidney", "left lung"),
        ("lungs | left lung", "left lung"),
        ("left ventricle | left lung", "left lung"),
        ("rt kidney", "rt kidney"),
        ("R kidney", "right kidney"),
        ("lung (L)", "lung left"),
        ("left side lung", "left side"),
        ("lung, left upper lobe", "left upper"),
    ],
)
def test_the_side_of_a_pair_is_named(text: str, named: str) -> None:
    assert named_side(text) == named


@pytest.mark.parametrize(
    ("text", "side", "structure"),
    [
        ("left lung", "left", "lung"),
        ("the Right Kidney on CT", "right", "Kidney on CT"),
        ("LEFT_LUNG", "left", "LUNG"),
        ("kidney_left", "left", "kidney"),
        ("adrenal gland right", "right", "adrenal gland"),
        ("kidney, left", "left", "kidney"),
        ("the lung on the left", "left", "the lung"),
        ("kidney on the right side", "right", "kidney"),
        ("left hippocampus", "left", "hippocampus"),
        ("rt kidney", "right", "kidney"),
        ("R kidney", "right", "kidney"),
        ("lung (L)", "left", "lung"),
        ("left lung | left lungs", "left", "lung | lungs"),
    ],
)
def test_a_side_beside_a_structure_is_taken_from_it(text: str, side: str, structure: str) -> None:
    asked = one_side(text)
    assert asked is not None and (asked.side, asked.structure) == (side, structure)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "tumor in the left breast",
            "upper left lung",
            "right upper lobe",
            "left lateral ventricle",
            "left hepatic lobe",
        ),
        *("left lung and right kidney", "lungs | left lung", "left lung | right lung", "lung, left upper lobe"),
        *("left-sided pleural effusion", "left ventricle | left lung"),
    ],
)
def test_a_side_that_no_middle_of_the_body_divides_is_refused_unless_a_person_points(text: str) -> None:
    with pytest.raises(BadInput, match="cannot tell the side"):
        one_side(text)
    assert one_side(text, pointed=True) is None


@pytest.mark.parametrize(
    "text",
    [
        *("lungs", "both lungs", "bilateral lungs", "left and right lung", "right lung and left lung"),
        *("the right and the left lung in cross-section", "lungs on both sides"),
        *("left ventricle", "right ventricle", "left ventricular myocardium", "Left_Ventricle", "heart_atrium_left"),
        *(
            "left atrium",
            "right heart",
            "left heart ventricle",
            "left upper heart chamber",
            "muscle of the left ventricle",
        ),
        *("left main coronary artery", "left anterior descending artery", "right coronary artery"),
        *(
            "tumor at the top left",
            "glioma in the left region of the brain",
            "polyp in the bottom right, but healthy mucosa",
        ),
        *(
            "tumors at the top right, top left, in the breast ultrasound image",
            "left over",
            "leftover",
            "copyright",
            "l",
            "CD8 r",
        ),
    ],
)
def test_names_places_and_both_sides_pass(text: str) -> None:
    assert named_side(text) is None and one_side(text) is None


def test_the_words_that_the_embedded_model_learned_pass() -> None:
    words = [word for concept in Corpus.read().concepts for word in (*concept.words, *concept.held_out)]
    assert [word for word in words if named_side(word)] == ["right liver lobe"]
    benchmark = tomllib.loads((ROOT / "benchmarks" / "wordings.toml").read_text("utf-8"))
    assert [word for word in _strings(benchmark) if named_side(word)] == []


def test_captions_that_tell_a_place_in_the_picture_pass(shared_data: Path) -> None:
    with (shared_data / "prompts_medclipseg.csv").open(encoding="utf-8") as file:
        captions = [row[-1] for row in csv.reader(file)]
    assert len(captions) > 1000
    assert [caption for caption in captions if named_side(caption)] == []


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(text for each in value.values() for text in _strings(each))]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("LV endocardium", "left"),
        ("ventricle on the right side", "right"),
        ("atrium dextrum", "right"),
        ("left and right ventricle", None),
        ("a bright lesion", None),
        ("lavage", None),
        ("la aorta", None),
        ("LA cavity", "left"),
        ("cavum ventriculi dextri", "right"),
    ],
)
def test_the_side_that_a_text_says_anywhere(text: str, side: str | None) -> None:
    assert said_side(text) == side
