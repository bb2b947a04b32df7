from __future__ import annotations

import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from mask_folders import folder
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import Measuring, compare_runs, evaluate_folders, parse_label, read_groups
from medclipsam.evaluate.placement import AS_STORED
from medclipsam.evaluate.reading import resized
from medclipsam.metrics import score

EMPTY = np.zeros((8, 12), bool)
BLOCK = EMPTY.copy()
BLOCK[2:6, 3:7] = True
MOVED = np.roll(BLOCK, 3, axis=1)


def nifti(path: Path, mask: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(mask.T.astype(np.uint8), affine), path)


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return folder(tmp_path / "truth", good=BLOCK, lost=BLOCK, ghost=EMPTY, calm=EMPTY)


def test_each_case_has_its_scores_and_each_outcome_is_counted(tmp_path: Path, truth: Path) -> None:
    run = evaluate_folders(folder(tmp_path / "p", good=MOVED, lost=EMPTY, ghost=BLOCK, calm=EMPTY), truth)
    assert {case.name: case.outcome for case in run.cases} == {
        "calm": "both empty",
        "ghost": "false alarm",
        "good": "compared",
        "lost": "missed",
    }
    assert run.cases[2].scores == score(MOVED, BLOCK)
    assert run.counts == {"compared": 1, "missed": 1, "false alarm": 1, "both empty": 1, "refused": 0}


def test_means_are_over_all_cases_the_missed_ones_too(tmp_path: Path, truth: Path) -> None:
    run = evaluate_folders(folder(tmp_path / "p", good=BLOCK, lost=EMPTY, ghost=BLOCK, calm=EMPTY), truth)
    summaries = run.summaries()
    assert summaries["dice"].mean == 0.5
    assert (summaries["hd95"].mean, summaries["hd95"].n_infinite, summaries["hd95"].finite_mean) == (math.inf, 2, 0)


def test_missing_more_never_looks_better(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", a=BLOCK, b=BLOCK)
    poor = evaluate_folders(folder(tmp_path / "poor", a=MOVED, b=MOVED), truth).summaries()
    none = evaluate_folders(folder(tmp_path / "none", a=BLOCK, b=EMPTY), truth).summaries()
    assert none["hd95"].mean > poor["hd95"].mean


def test_an_absent_prediction_is_an_orphan_or_on_request_a_miss(tmp_path: Path, truth: Path) -> None:
    found = folder(tmp_path / "p", good=BLOCK, stranger=BLOCK)
    run = evaluate_folders(found, truth)
    assert (run.only_predicted, run.only_reference) == (("stranger",), ("calm", "ghost", "lost"))
    assert run.summaries()["dice"].n == 1
    strict = evaluate_folders(found, truth, Measuring(missing_is_empty=True))
    assert strict.only_reference == ()
    assert strict.counts == {"compared": 1, "missed": 1, "false alarm": 0, "both empty": 2, "refused": 0}


def test_a_broken_file_and_another_size_are_refused_by_name_and_stop_nothing(tmp_path: Path, truth: Path) -> None:
    found = folder(tmp_path / "p", good=BLOCK, lost=np.ones((3, 3), bool), ghost=EMPTY)
    (found / "ghost.png").write_bytes(b"broken")
    cases = {case.name: case for case in evaluate_folders(found, truth).cases}
    assert cases["good"].scores.dice == 1
    assert "differ in size" in cases["lost"].problem
    assert "of no format" in cases["ghost"].problem
    assert cases["lost"].scores is cases["ghost"].scores is None


def test_on_request_a_prediction_of_another_size_is_resized_by_nearest_neighbour(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", a=BLOCK)
    found = folder(tmp_path / "p", a=BLOCK[::2, 1::2])
    run = evaluate_folders(found, truth, Measuring(resize="centres"))
    assert run.cases[0].scores == score(BLOCK[::2, 1::2].repeat(2, 0).repeat(2, 1), BLOCK)


def disk(side: int, radius: float) -> np.ndarray:
    """A disk as it is sampled at the centres of `side` x `side` pixels of an image of 256 x 256."""
    y, x = (np.mgrid[:side, :side] + 0.5) * 256 / side - 128
    return y**2 + x**2 < radius**2


@pytest.mark.parametrize("radius", [4, 8, 20])
def test_the_same_disk_on_more_pixels_is_the_same_disk(tmp_path: Path, radius: float) -> None:
    truth = folder(tmp_path / "t", a=disk(256, radius))
    found = folder(tmp_path / "p", a=disk(768, radius))
    by_centres = evaluate_folders(found, truth, Measuring(resize="centres")).cases[0].scores
    by_corners = evaluate_folders(found, truth, Measuring(resize="corners")).cases[0].scores
    assert by_centres.dice == 1
    assert by_corners.dice < 1


@pytest.mark.parametrize(("old", "new"), [((7, 5), (3, 11)), ((65, 47), (62, 50)), ((5, 9), (20, 3)), ((3, 3), (1, 1))])
def test_a_mask_is_resized_as_pillow_does_by_nearest_neighbour(old: tuple[int, int], new: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(old) < 0.5
    moved = resized(mask, new)
    size = new[::-1]
    assert np.array_equal(moved, np.asarray(Image.fromarray(mask.astype(np.uint8)).resize(size, Image.NEAREST)) > 0)


def test_a_file_that_changed_is_measured_anew(tmp_path: Path) -> None:
    truth, found = folder(tmp_path / "t", a=BLOCK), folder(tmp_path / "p", a=EMPTY)
    assert evaluate_folders(found, truth).cases[0].scores.dice == 0
    folder(tmp_path / "p", a=BLOCK)
    assert evaluate_folders(found, truth).cases[0].scores.dice == 1


@pytest.mark.parametrize(("values", "label"), [((255, 255), None), ((1, 255), None), ((3, 3), "3")])
def test_the_masks_of_one_image_are_measured_as_one(tmp_path: Path, values: tuple[int, int], label: str | None) -> None:
    (tmp_path / "t").mkdir()
    is_left = np.arange(BLOCK.shape[1]) < 5
    for name, part, value in (("a_mask", BLOCK & is_left, values[0]), ("a_mask_1", BLOCK & ~is_left, values[1])):
        Image.fromarray((part * value).astype(np.uint8)).save(tmp_path / "t" / f"{name}.png")
    measuring = Measuring(label=parse_label(label) if label else None)
    (case,) = evaluate_folders(folder(tmp_path / "p", a=BLOCK), tmp_path / "t", measuring).cases
    assert (case.problem, case.scores and case.scores.dice) == ("", 1.0)


def test_subfolders_are_groups(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", x__1=BLOCK, x__2=BLOCK, y__1=BLOCK, top=BLOCK)
    run = evaluate_folders(folder(tmp_path / "p", x__1=BLOCK, x__2=EMPTY, y__1=BLOCK, top=EMPTY), truth)
    assert run.groups == ("", "x", "y")
    assert [run.summaries(group)["dice"].mean for group in run.groups] == [0, 0.5, 1]


def test_a_table_may_name_the_groups(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", x__1=BLOCK, x__2=BLOCK, x__3=BLOCK)
    table = tmp_path / "sites.csv"
    table.write_text("file,site\nx/1.png,Vienna\nx/2.nii.gz,Graz\n")
    run = evaluate_folders(truth, truth, groups=read_groups(table, "site"))
    assert {case.name: case.group for case in run.cases} == {"x/1": "Vienna", "x/2": "Graz", "x/3": ""}


def test_distances_in_mm_use_the_given_spacing(tmp_path: Path) -> None:
    truth, found = folder(tmp_path / "t", a=BLOCK), folder(tmp_path / "p", a=MOVED)
    run = evaluate_folders(found, truth, Measuring(tolerance=1.5, unit="mm", spacing_mm=(9.0, 0.5)))
    assert run.cases[0].scores == score(MOVED, BLOCK, 1.5, (9.0, 0.5))
    assert run.cases[0].scores.nsd == 1


def test_distances_in_mm_take_the_spacing_from_the_file_or_refuse(tmp_path: Path) -> None:
    affine = np.diag([0.5, 9.0, 1.0, 1.0])
    nifti(tmp_path / "t" / "a.nii.gz", BLOCK, affine)
    nifti(tmp_path / "p" / "a.nii.gz", MOVED, affine)
    folder(tmp_path / "t", b=BLOCK)
    folder(tmp_path / "p", b=BLOCK)
    first, second = evaluate_folders(tmp_path / "p", tmp_path / "t", Measuring(tolerance=1.5, unit="mm")).cases
    assert first.scores == score(MOVED, BLOCK, 1.5, (9.0, 0.5))
    assert "how large a pixel is" in second.problem


def test_nifti_masks_in_different_places_are_refused(tmp_path: Path) -> None:
    nifti(tmp_path / "t" / "a.nii.gz", BLOCK, np.eye(4))
    nifti(tmp_path / "p" / "a.nii.gz", BLOCK, np.diag([-1.0, 1, 1, 1]))
    (case,) = evaluate_folders(tmp_path / "p", tmp_path / "t").cases
    assert "different places" in case.problem


def test_volumes_and_images_stand_in_one_run(tmp_path: Path) -> None:
    nifti(tmp_path / "t" / "volume.nii.gz", np.stack([BLOCK, MOVED, EMPTY]), np.eye(4))
    folder(tmp_path / "t", image=BLOCK)
    summaries = evaluate_folders(tmp_path / "t", tmp_path / "t").summaries()
    assert (summaries["dice"].n, summaries["nsd"].mean, summaries["nsd_slab"].n) == (2, 1, 1)


def test_names_that_do_not_match_are_told_with_an_example_of_each(tmp_path: Path, truth: Path) -> None:
    with pytest.raises(BadInput, match="'other' is predicted, 'calm' a reference"):
        evaluate_folders(folder(tmp_path / "p", other=BLOCK), truth)


@pytest.mark.parametrize("wrong", [{"tolerance": -1.0}, {"tolerance": math.nan}, {"spacing_mm": (1.0, 1.0)}])
def test_senseless_settings_are_refused(wrong) -> None:
    with pytest.raises(BadInput):
        Measuring(**wrong)


def test_two_runs_are_compared_over_the_cases_that_both_measured(tmp_path: Path) -> None:
    names = [f"case{index}" for index in range(6)]
    truth = folder(tmp_path / "t", **dict.fromkeys(names, BLOCK))
    worse = evaluate_folders(folder(tmp_path / "a", **dict.fromkeys(names, MOVED)), truth)
    better = evaluate_folders(folder(tmp_path / "b", **dict.fromkeys(names[1:], BLOCK)), truth)
    found = compare_runs(worse, better)
    assert (found["dice"].n, found["hd95"].n) == (5, 5)
    assert found["dice"].mean_difference == pytest.approx(1 - score(MOVED, BLOCK).dice)
    assert found["hd95"].mean_difference == pytest.approx(-3)


def test_runs_that_share_nothing_or_measure_differently_are_not_compared(tmp_path: Path) -> None:
    truth = folder(tmp_path / "t", a=BLOCK, b=BLOCK)
    first = evaluate_folders(folder(tmp_path / "p", a=BLOCK), truth)
    second = evaluate_folders(folder(tmp_path / "q", b=BLOCK), truth)
    with pytest.raises(BadInput, match="share no case"):
        compare_runs(first, second)
    with pytest.raises(BadInput, match="different tolerances"):
        compare_runs(first, evaluate_folders(truth, truth, Measuring(tolerance=1.0)))


def test_progress_is_told_case_by_case(tmp_path: Path, truth: Path) -> None:
    told = []
    evaluate_folders(truth, truth, tell=lambda *state: told.append(state))
    assert told == [("measuring", done, 4) for done in range(4)]


def test_real_references_agree_with_themselves_and_not_with_a_moved_copy(tmp_path: Path, shared_data: Path) -> None:
    masks = sorted((shared_data / "brain_mri_brisc" / "masks").glob("*.png"))[:5]
    for path in masks:
        with Image.open(path) as image:
            moved = np.roll(np.asarray(image.convert("L")) > 0, 2, axis=1)
        folder(tmp_path / "moved", **{path.stem: moved})
    same = evaluate_folders(masks[0].parent, masks[0].parent)
    assert {case.scores.dice for case in same.cases} == {1.0}
    shifted = evaluate_folders(tmp_path / "moved", masks[0].parent)
    assert all(0 < case.scores.dice < 1 and case.scores.hd95 <= 2 for case in shifted.cases)


@pytest.mark.parametrize(
    ("unit", "sform_mm", "pixdim", "distance_mm"),
    [("micron", (2.0, 2.0, 3.0), None, 6.0), ("meter", (2.0, 2.0, 3.0), None, 6.0), ("mm", (2.0, 2.0, 3.0), 1.0, 6.0)],
)
def test_distances_in_mm_are_those_of_the_affine_and_its_unit(
    tmp_path: Path, unit: str, sform_mm: tuple[float, ...], pixdim: float | None, distance_mm: float
) -> None:
    factor = {"micron": 1000.0, "meter": 0.001, "mm": 1.0}[unit]
    for name, start in (("p", 4), ("t", 2)):
        voxels = np.zeros((20, 20, 12), np.uint8)
        voxels[5:10, 5:10, start : start + 6] = 1
        affine = np.diag([*(step * factor for step in sform_mm), 1.0])
        image = nib.Nifti1Image(voxels, affine)
        image.header.set_xyzt_units(unit)
        if pixdim:
            image.header["pixdim"][1:4] = pixdim
        (tmp_path / name).mkdir()
        nib.save(image, tmp_path / name / "a.nii.gz")
    (case,) = evaluate_folders(tmp_path / "p", tmp_path / "t", Measuring(tolerance=1.0, unit="mm")).cases
    assert case.scores is not None
    assert case.scores.hd95 == pytest.approx(distance_mm, rel=1e-5)


def test_a_prediction_in_another_storage_order_scores_as_in_the_same(tmp_path: Path) -> None:
    voxels = (np.random.default_rng(0).random((9, 8, 7)) < 0.3).astype(np.uint8)
    truth = nib.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0]))
    worse = nib.Nifti1Image(np.where(np.arange(7) < 3, voxels, 0).astype(np.uint8), truth.affine)
    turned = worse.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    found = []
    for name, image in (("as stored", worse), ("turned", turned)):
        predictions, references = tmp_path / name / "p", tmp_path / name / "t"
        predictions.mkdir(parents=True)
        references.mkdir()
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), predictions / "a.nii.gz")
        nib.save(truth, references / "a.nii.gz")
        (case,) = evaluate_folders(predictions, references, Measuring(tolerance=1.0, unit="mm")).cases
        found.append(case.scores)
    assert found[0] == found[1]
    assert 0 < found[0].dice < 1


def test_a_mask_of_another_format_at_the_same_place_is_compared_and_one_elsewhere_refused(tmp_path: Path) -> None:
    block = np.stack([BLOCK, BLOCK, EMPTY])
    nifti(tmp_path / "t" / "a.nii.gz", block, np.diag([-1.0, -1.0, 3.0, 1.0]))
    nifti(tmp_path / "t" / "b.nii.gz", block, np.diag([-1.0, -1.0, 3.0, 1.0]))
    (tmp_path / "p").mkdir()
    image = sitk.GetImageFromArray(block.astype(np.uint8))
    image.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(image, str(tmp_path / "p" / "a.nrrd"))
    image.SetOrigin((5.0, 0.0, 0.0))
    sitk.WriteImage(image, str(tmp_path / "p" / "b.mha"))
    same, elsewhere = evaluate_folders(tmp_path / "p", tmp_path / "t").cases
    assert same.scores is not None
    assert same.scores.dice == 1
    assert "different places" in elsewhere.problem


def test_masks_of_which_one_has_no_orientation_are_compared_with_a_note(tmp_path: Path) -> None:
    voxels = (np.random.default_rng(0).random((9, 8, 7)) < 0.3).astype(np.uint8)
    for name, affine in (("p", None), ("t", np.eye(4))):
        (tmp_path / name).mkdir()
        for case in ("a", "b"):
            nib.save(nib.Nifti1Image(voxels, affine), tmp_path / name / f"{case}.nii.gz")
    run = evaluate_folders(tmp_path / "p", tmp_path / "t")
    assert [case.scores.dice for case in run.cases] == [1, 1]
    assert run.notes == (f"2 cases: {AS_STORED}",)
