"""Does the protocol measure as the released code does, and does the paper's table add up?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import Measuring, evaluate_folders
from medclipsam.evaluate.paper import PAPER, TASKS, over_all, task_of
from medclipsam.evaluate.protocol import Standing, as_in_the_paper, beside_the_paper, remarks, standing, to_record

RADIUS = 40


def disk(radius: float, shift: int = 0) -> np.ndarray:
    """(200, 240) uint8: 255 inside a disk."""
    rows, columns = np.mgrid[:200, :240]
    return (((rows - 100) ** 2 + (columns - 100 - shift) ** 2 <= radius**2) * 255).astype(np.uint8)


def save(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def measured(found: Path, truth: Path) -> Standing:
    return standing(evaluate_folders(found, truth, as_in_the_paper(Measuring())), truth)


@pytest.mark.parametrize(
    ("method", "printed"),
    [
        ("SaLIP, zero-shot", (57.94, 10.49, 60.94, 10.65)),
        ("MedCLIP-SAMv2, zero-shot", (77.61, 6.82, 81.56, 7.00)),
        ("MedCLIP-SAMv2, weakly supervised", (82.11, 8.49, 87.33, 8.46)),
    ],
)
def test_all_is_what_the_paper_prints(method: str, printed: tuple[float, ...]) -> None:
    whole = over_all(PAPER[method])
    assert whole is not None
    assert (whole.dsc.mean, whole.dsc.std, whole.nsd.mean, whole.nsd.std) == pytest.approx(printed, abs=0.01)


def test_without_all_four_tasks_there_is_no_all() -> None:
    assert over_all({"Breast US": PAPER["MedCLIP-SAMv2, zero-shot"]["Breast US"]}) is None


@pytest.mark.parametrize(
    ("folder", "task"),
    [
        ("breast_tumors/test_masks", "Breast US"),
        ("data/brain_tumors", "Brain MRI"),
        ("lung_Xray", "Lung X-ray"),
        ("chest X-Ray/masks", "Lung X-ray"),
        ("lung_CT", "Lung CT"),
        ("ct", "Lung CT"),
        ("brain/ct", "Lung CT"),
        ("predictions", None),
        ("project/fractures", None),
        ("brain_ct", None),
        (".", None),
    ],
)
def test_a_folder_names_its_task_by_whole_words(folder: str, task: str | None) -> None:
    found = task_of(folder)
    assert (found.name if found else None) == task


def test_a_task_is_mean_and_deviation_over_its_images_in_percent(tmp_path: Path) -> None:
    for name, shift in (("a", 0), ("b", 200)):
        save(tmp_path / "truth" / "breast" / f"{name}.png", disk(RADIUS))
        save(tmp_path / "found" / "breast" / f"{name}.png", disk(RADIUS, shift) if shift < 100 else 0 * disk(1))
    result = measured(tmp_path / "found", tmp_path / "truth").row["Breast US"]
    assert (str(result.dsc), str(result.nsd)) == ("50.00 ± 50.00", "50.00 ± 50.00")


def test_the_nsd_is_that_of_the_slab(tmp_path: Path) -> None:
    """Spec 8.1: a disk of radius 40 moved by 4 pixels has a DSC of .937 and an NSD of .980 (true NSD: .384)."""
    save(tmp_path / "truth" / "brain_tumors" / "a.png", disk(RADIUS))
    save(tmp_path / "found" / "brain_tumors" / "a.png", disk(RADIUS, 4))
    result = measured(tmp_path / "found", tmp_path / "truth").row["Brain MRI"]
    assert (round(result.dsc.mean, 1), round(result.nsd.mean, 1)) == (93.7, 98.0)


def test_values_up_to_200_are_background_and_sizes_are_brought_together(tmp_path: Path) -> None:
    grey = disk(RADIUS)
    grey[:20] = 200
    save(tmp_path / "truth" / "ct" / "a.png", disk(RADIUS))
    save(tmp_path / "found" / "ct" / "a.png", grey.repeat(2, 0).repeat(2, 1))
    save(tmp_path / "truth" / "ct" / "b.jpg", disk(RADIUS), quality=30)
    save(tmp_path / "found" / "ct" / "b.jpg", 0 * disk(1), quality=30)
    save(tmp_path / "truth" / "ct" / "one bit.png", disk(RADIUS) > 0)
    save(tmp_path / "found" / "ct" / "one bit.png", disk(RADIUS))
    run = evaluate_folders(tmp_path / "found", tmp_path / "truth", as_in_the_paper(Measuring()))
    assert {case.name: round(case.scores.dice, 3) for case in run.cases if case.scores} == {
        "ct/a": 1.0,
        "ct/b": 0.0,
        "ct/one bit": 1.0,
    }


def test_a_mask_of_0_and_1_is_told_and_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    save(tmp_path / "truth" / "ct" / "a.png", disk(RADIUS))
    save(tmp_path / "found" / "ct" / "a.png", disk(RADIUS) // 255)
    (case,) = evaluate_folders(tmp_path / "found", tmp_path / "truth", as_in_the_paper(Measuring())).cases
    assert "no value above 200, but 1; save masks as 0 and 255" in case.problem


def test_the_folder_of_references_itself_may_name_the_task(tmp_path: Path) -> None:
    truth = tmp_path / "data" / "lung_CT" / "test_masks"
    save(truth / "a.png", disk(RADIUS))
    assert measured(truth, truth).images == {"Lung CT": 1}


def test_the_table_says_where_the_images_are_not_the_papers(tmp_path: Path) -> None:
    for folder in ("breast_tumors", "brain_tumors", "lung_Xray", "lung_CT", "polyps"):
        save(tmp_path / "t" / folder / "a.png", disk(RADIUS))
    found = measured(tmp_path / "t", tmp_path / "t")
    assert (found.left_out, found.other_sets) == (1, tuple(task.name for task in TASKS))
    columns, *rows = beside_the_paper({"ours": found})
    assert columns == ["method", "Breast US", "Brain MRI", "Lung X-ray", "Lung CT", "All"]
    assert rows[2] == [
        "MedCLIP-SAMv2, zero-shot",
        "77.76 ± 9.52 / 81.11 ± 9.89",
        "76.52 ± 7.06 / 82.23 ± 7.13",
        "75.79 ± 3.44 / 80.88 ± 3.52",
        "80.38 ± 5.81 / 82.03 ± 5.94",
        "77.61 ± 6.82 / 81.56 ± 7.01",
    ]
    assert rows[-2] == ["ours", *["100.00 ± 0.00 / 100.00 ± 0.00"] * 5]
    assert rows[-1][1:5] == ["1 / 113", "1 / 600", "1 / 957", "1 / 1,800"]
    told = " ".join(remarks({"ours": found}))
    assert "ours: Breast US, Brain MRI, Lung X-ray, Lung CT has other images" in told
    assert "1 cases are in no task" in told
    assert to_record({"ours": found})["rows"]["ours"]["All"]["dsc"] == {"mean": 100.0, "std": 0.0}


def test_what_the_paper_did_not_measure_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "polyps" / "a.png", disk(RADIUS))
    with pytest.raises(BadInput, match="no folder names a task of the paper"):
        measured(tmp_path / "polyps", tmp_path / "polyps")
    for other in (Measuring(tolerance=1.0), Measuring(unit="mm")):
        with pytest.raises(BadInput, match="measures with 2 px"):
            as_in_the_paper(other)
