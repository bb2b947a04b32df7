"""Does a folder of pseudo-labels find its references by the names of the scans, and refuse to guess?"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter, bright_square
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import Measuring, evaluate_folders
from medclipsam.runs import LabelRequest, label_folder, read_manifest

SQUARE = bright_square(40, 60, top=5, left=20, side=10)


def picture(path: Path, pixels: np.ndarray = SQUARE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def truth(folder: Path, *names: str) -> Path:
    """The true mask of the bright square, under each name."""
    for name in names:
        picture(folder / name, ((SQUARE > 128) * 255).astype(np.uint8))
    return folder


def label(folder: Path, *scans: str, prompts: tuple[str, ...] = ("tumor",), **asked: object) -> Path:
    """Label scans of one bright square each with the bright method."""
    for scan in scans:
        picture(folder / "scans" / scan)
    request = LabelRequest(source=folder / "scans", output=folder / "labels", prompts=prompts, **asked)
    label_folder(request, BrightSegmenter, lambda *_: None)
    return folder / "labels"


def dices(labels: Path, references: Path, **how: object) -> dict[str, float]:
    run = evaluate_folders(labels, references, Measuring(**how))
    return {case.name: case.scores.dice for case in run.cases if case.scores}


def test_a_mask_is_measured_against_the_reference_that_is_called_like_its_scan(tmp_path: Path) -> None:
    labels = label(tmp_path, "a.png", "u/Bild 2 (ü).jpg")
    references = truth(tmp_path / "truth", "a.png", "v/Bild 2 (ü).tif", "waiting.png")
    run = evaluate_folders(labels, references)
    assert {case.name: case.scores.dice for case in run.cases} == {"a": 1.0, "v/Bild 2 (ü)": pytest.approx(1, abs=0.1)}
    assert run.only_reference == ("waiting",)


def test_scans_of_one_name_find_their_references_by_their_folders(tmp_path: Path) -> None:
    labels = label(tmp_path, "u/1.png", "v/1.JPG")
    picture(tmp_path / "truth" / "v" / "1.png", np.zeros((40, 60), np.uint8))
    assert dices(labels, truth(tmp_path / "truth", "u/1.png")) == {"u/1": 1.0, "v/1": 0.0}


def test_a_scan_that_has_no_reference_does_not_take_that_of_its_namesake(tmp_path: Path) -> None:
    run = evaluate_folders(label(tmp_path, "u/1.png", "v/1.png"), truth(tmp_path / "truth", "v/1.png"))
    assert [case.name for case in run.cases] == ["v/1"]
    assert len(run.only_predicted) == 1


@pytest.mark.parametrize(
    ("scans", "references"),
    [
        (("u/1.png", "v/1.png"), ("1.png",)),
        (("1.png",), ("x/1.png", "y/1.png")),
        (("a b.png", "a-b.png"), ("A/a b.png",)),
    ],
)
def test_where_the_names_fit_several_files_nothing_is_guessed(tmp_path: Path, scans, references) -> None:
    with pytest.raises(BadInput, match="could belong to") as refused:
        evaluate_folders(label(tmp_path, *scans), truth(tmp_path / "truth", *references))
    assert "\n" not in str(refused.value)


def test_the_groups_say_what_became_of_each_case(tmp_path: Path) -> None:
    picture(tmp_path / "scans" / "dark.png", bright_square(40, 60, top=5, left=20, side=0))
    references = truth(tmp_path / "truth", "a.png", "dark.png")
    sure = evaluate_folders(label(tmp_path, "a.png"), references)
    assert {case.name: (case.group, case.outcome) for case in sure.cases} == {
        "a": ("done", "compared"),
        "dark": ("not found", "missed"),
    }
    doubted = evaluate_folders(label(tmp_path, min_confidence=1.0), references)
    assert {case.name: (case.group, case.outcome) for case in doubted.cases} == {
        "a": ("doubtful", "compared"),
        "dark": ("not found", "missed"),
    }


def test_of_several_prompts_one_is_chosen(tmp_path: Path) -> None:
    labels, references = label(tmp_path, "a.png", prompts=("tumor", "unicorn")), truth(tmp_path / "truth", "a.png")
    with pytest.raises(BadInput, match="masks for 'tumor', 'unicorn'"):
        evaluate_folders(labels, references)
    assert dices(labels, references, prompt="tumor") == {"a": 1.0}
    assert dices(labels, references, prompt="unicorn") == {"a": 0.0}
    with pytest.raises(BadInput, match="no masks for 'liver'"):
        evaluate_folders(labels, references, Measuring(prompt="liver"))


def test_scans_with_a_prompt_of_their_own_each_need_no_choice(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("file,prompt\na.png,tumor\nb.png,lump\n")
    labels = label(tmp_path, "a.png", "b.png", prompts=(), table=tmp_path / "prompts.csv")
    assert dices(labels, truth(tmp_path / "truth", "a_mask.png", "b_mask.png"), reference_suffix="_mask") == {
        "a": 1.0,
        "b": 1.0,
    }


def test_a_broken_scan_has_no_mask_and_its_reference_waits(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "broken.png").write_bytes(b"broken")
    references = truth(tmp_path / "truth", "a.png", "broken.png")
    run = evaluate_folders(label(tmp_path, "a.png"), references)
    assert [case.name for case in run.cases] == ["a"]
    assert run.only_reference == ("broken",)


def test_of_a_volume_in_two_parts_the_one_that_is_believed_is_measured(tmp_path: Path) -> None:
    voxels = np.zeros((60, 40, 2), np.uint8)
    voxels[20:30, 5:15] = 200, 160
    for folder, values in (("scans", voxels), ("truth", (voxels == 200).astype(np.uint8))):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / folder / "v.nii.gz")
    (record,) = read_manifest(label(tmp_path) / "manifest.jsonl").values()
    bright, dim = (picture.confidence for picture in record.pictures)
    labels = label(tmp_path, min_confidence=(bright + dim) / 2)
    assert {path.parts[-3] for path in labels.rglob("*.nii.gz")} == {"masks", "doubtful"}
    assert dices(labels, tmp_path / "truth") == {"v": 1.0}


def test_shards_that_are_not_joined_are_told(tmp_path: Path) -> None:
    labels = label(tmp_path, "a.png")
    (labels / "manifest.jsonl").rename(labels / "manifest.1-of-2.jsonl")
    with pytest.raises(BadInput, match="shards of it are not done"):
        evaluate_folders(labels, truth(tmp_path / "truth", "a.png"))


@pytest.mark.parametrize(("suffix", "orphan"), [("", "a_0001"), ("_0000", "a_0001"), ("_0001", "a_0000")])
def test_of_nnunets_channels_the_first_is_meant_unless_the_suffix_chooses(
    tmp_path: Path, suffix: str, orphan: str
) -> None:
    labels = label(tmp_path, "sub/a_0000.png", "sub/a_0001.png", "b_0000.png")
    references = truth(tmp_path / "truth", "a.png", "b.png")
    run = evaluate_folders(labels, references, Measuring(predicted_suffix=suffix))
    both = {"a": 1.0} if suffix == "_0001" else {"a": 1.0, "b": 1.0}
    assert {case.name: case.scores.dice for case in run.cases} == both
    assert f"sub/{orphan}.png" in run.only_predicted


def test_a_reference_that_is_called_like_the_channel_is_taken_first(tmp_path: Path) -> None:
    labels = label(tmp_path, "a_0000.png")
    assert dices(labels, truth(tmp_path / "truth", "a_0000.png", "a.png")) == {"a_0000": 1.0}
