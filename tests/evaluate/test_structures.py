"""Are label maps measured structure by structure, and never as one mask of all?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter, bright_square
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import Evaluation, Measuring, SeveralLabels, evaluate_folders, parse_label, read_label_names
from medclipsam.runs import LabelRequest, label_folder

RV, MYO, LV = 1, 2, 3
HEART = np.zeros((12, 16), np.uint8)
HEART[2:10, 1:5] = RV
HEART[2:10, 6:15] = MYO
HEART[4:8, 8:12] = LV
DATASET = {"labels": {"background": 0, "RV": 1, "myocardium": 2, "left ventricle": 3}}


def saved(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".png"):
        Image.fromarray(values.astype(np.uint8)).save(path)
    else:
        nib.save(nib.Nifti1Image(values.T[..., None].astype(np.uint8), np.diag([-1, -1, 8, 1.0])), path)
    return path.parent


def names(path: Path, content: Any = DATASET) -> Path:
    path.write_text(json.dumps(content))
    return path


def dices(run: Evaluation) -> dict[str, float]:
    return {case.name: case.scores.dice for case in run.cases if case.scores}


@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_a_reference_of_several_labels_needs_a_choice_and_each_label_is_measured_alone(
    tmp_path: Path, ending: str
) -> None:
    truth = saved(tmp_path / "truth" / f"a{ending}", HEART)
    found = saved(tmp_path / "found" / f"a{ending}", (HEART == LV) * 255)
    with pytest.raises(SeveralLabels, match="several labels: 1, 2, 3; choose one with --label N"):
        evaluate_folders(found, truth)
    assert dices(evaluate_folders(found, truth, Measuring(label=parse_label("3")))) == {"a": 1.0}
    assert dices(evaluate_folders(found, truth, Measuring(label=parse_label("1")))) == {"a": 0.0}


def test_one_file_of_several_labels_leaves_the_others_without_a_meaning(tmp_path: Path) -> None:
    saved(tmp_path / "truth" / "apex.png", (HEART == RV) * RV)
    truth = saved(tmp_path / "truth" / "base.png", HEART)
    for name in ("apex", "base"):
        found = saved(tmp_path / "found" / f"{name}.png", (HEART == LV) * 255)
    with pytest.raises(SeveralLabels, match=r"base\.png"):
        evaluate_folders(found, truth)
    run = evaluate_folders(found, truth, Measuring(label=parse_label("3")))
    assert {case.name: case.outcome for case in run.cases} == {"apex": "false alarm", "base": "compared"}


def test_two_maps_of_labels_are_compared_label_by_label(tmp_path: Path) -> None:
    truth = saved(tmp_path / "truth" / "a.nii.gz", HEART)
    found = saved(tmp_path / "found" / "a.nii.gz", np.where(HEART == MYO, 0, HEART))
    run = evaluate_folders(found, truth, Measuring(names=read_label_names(names(tmp_path / "dataset.json"))))
    assert dices(run) == {"a (RV)": 1.0, "a (left ventricle)": 1.0, "a (myocardium)": 0.0}
    assert run.groups == ("RV", "left ventricle", "myocardium")
    alone = Measuring(label=parse_label("left_ventricle", read_label_names(tmp_path / "dataset.json")))
    assert dices(evaluate_folders(found, truth, alone)) == {"a": 1.0}


def test_a_structure_that_a_map_of_labels_lacks_was_missed(tmp_path: Path) -> None:
    truth = saved(tmp_path / "truth" / "a.png", HEART)
    saved(tmp_path / "truth" / "b.png", HEART)
    saved(tmp_path / "found" / "a.png", (HEART == RV) * RV)
    found = saved(tmp_path / "found" / "b.png", HEART)
    run = evaluate_folders(found, truth, Measuring(label=parse_label("3")))
    assert {case.name: case.outcome for case in run.cases} == {"a": "missed", "b": "compared"}


def test_masks_of_one_structure_do_not_say_which_of_several_they_are(tmp_path: Path) -> None:
    truth = saved(tmp_path / "truth" / "a.png", HEART)
    found = saved(tmp_path / "found" / "a.png", (HEART == LV) * 255)
    with pytest.raises(BadInput, match="say by --label which: RV, myocardium, left ventricle"):
        evaluate_folders(found, truth, Measuring(names=read_label_names(names(tmp_path / "dataset.json"))))
    other = saved(tmp_path / "other" / "a.png", (HEART == LV) * 7)
    with pytest.raises(BadInput, match="holds label 7 alone, not 3"):
        evaluate_folders(other, truth, Measuring(label=parse_label("3")))


def test_a_label_that_no_reference_holds_is_refused(tmp_path: Path) -> None:
    truth = saved(tmp_path / "truth" / "a.png", HEART)
    found = saved(tmp_path / "found" / "a.png", (HEART == LV) * 255)
    with pytest.raises(BadInput, match="no reference holds label 4; they hold 1, 2, 3"):
        evaluate_folders(found, truth, Measuring(label=parse_label("4")))


def test_names_of_labels_that_no_reference_holds_are_refused(tmp_path: Path) -> None:
    truth = saved(tmp_path / "truth" / "a.png", HEART * 50)
    known = read_label_names(names(tmp_path / "labels.json", {"RV": 1, "LV": 3}))
    with pytest.raises(BadInput, match=r"no reference holds what labels\.json names RV, LV; they hold 50, 100, 150"):
        evaluate_folders(truth, truth, Measuring(names=known))


def test_a_region_is_its_labels_together_and_ignored_pixels_are_not_measured(tmp_path: Path) -> None:
    values = HEART.copy()
    values[10:] = 9
    truth = saved(tmp_path / "truth" / "a.png", values)
    found = saved(tmp_path / "found" / "a.png", ((HEART > RV) | (values == 9)) * 255)
    content = {"labels": {"background": 0, "heart wall and cavity": [2, 3], "RV": 1, "ignore": 9}}
    known = read_label_names(names(tmp_path / "dataset.json", content))
    measuring = Measuring(label=parse_label("heart wall and cavity", known), names=known)
    assert dices(evaluate_folders(found, truth, measuring)) == {"a": 1.0}


def test_each_prompt_of_a_run_is_compared_with_the_label_of_its_name(tmp_path: Path) -> None:
    square = bright_square(40, 60, top=5, left=20, side=10)
    saved(tmp_path / "scans" / "a.png", square)
    request = LabelRequest(
        source=tmp_path / "scans", output=tmp_path / "labels", prompts=("tumor", "unicorn", "left kidney")
    )
    label_folder(request, BrightSegmenter, lambda *_: None)
    values = np.where(square > 128, 2, 0)
    values[20:30, 20:30] = 5
    truth = saved(tmp_path / "truth" / "a.png", values)
    known = read_label_names(names(tmp_path / "labels.json", {"Tumor": 2, "unicorn": 5}))
    run = evaluate_folders(tmp_path / "labels", truth, Measuring(names=known))
    assert dices(run) == {"a (Tumor)": 1.0, "a (unicorn)": 0.0}
    assert run.notes == ("no label is called 'left kidney': not measured",)
    with pytest.raises(BadInput, match=r"no label is called 'left kidney'; labels.json names Tumor, unicorn"):
        evaluate_folders(tmp_path / "labels", truth, Measuring(names=known, prompt="left kidney"))


@pytest.mark.parametrize(
    "content",
    [
        {"labels": {"background": 0, "LV": 3, "RV": [1]}},
        {"labels": {"0": "background", "3": "LV", "1": "RV"}, "name": "ACDC"},
        {"LV": 3, "RV": "1"},
        {"3": "LV", "1": "RV"},
    ],
)
def test_every_form_of_names_says_the_same(tmp_path: Path, content: Any) -> None:
    known = read_label_names(names(tmp_path / "l.json", content))
    assert {each.name: each.labels for each in known.structures} == {"LV": (3,), "RV": (1,)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1], "does not name labels"),
        ({"labels": {"background": 0}}, "no label but the background"),
        ({"LV": 1.5}, "the entry of 'LV' is no label"),
        ({"LV": -1}, "the entry of 'LV' is no label"),
        ({"LV": True}, "the entry of 'LV' is no label"),
        ({"LV": []}, "the entry of 'LV' is no label"),
        ({"left_ventricle": 1, "Left Ventricle": 2}, "twice"),
    ],
)
def test_a_file_that_names_no_labels_is_refused(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(BadInput, match=told) as refused:
        read_label_names(names(tmp_path / "l.json", content))
    assert "\n" not in str(refused.value)


def test_a_colour_is_a_label(tmp_path: Path) -> None:
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[0], colours[1] = (255, 0, 0), (0, 128, 0)
    (tmp_path / "truth").mkdir()
    Image.fromarray(colours).save(tmp_path / "truth" / "a.png")
    found = saved(tmp_path / "found" / "a.png", (colours[..., 0] > 0) * 255)
    with pytest.raises(SeveralLabels, match="#008000, #ff0000"):
        evaluate_folders(found, tmp_path / "truth")
    assert dices(evaluate_folders(found, tmp_path / "truth", Measuring(label=parse_label("#FF0000")))) == {"a": 1.0}
