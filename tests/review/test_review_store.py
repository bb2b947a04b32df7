"""Decisions on pseudo-labels: at once on the disk, none lost between windows, and taken by what comes after."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from bright import bright_square
from label_folders import drawn, labelled
from PIL import Image
from typed import typed

from medclipsam.errors import BadInput
from medclipsam.export.choice import Rules
from medclipsam.export.labelled import read_labelled
from medclipsam.refine.pseudolabels import read_pseudolabels
from medclipsam.review.decisions import REVIEW, Overtaken
from medclipsam.review.queue import Wanted, chosen
from medclipsam.review.reviewed import reviewed
from medclipsam.review.store import ReviewStore
from medclipsam.runs import read_manifest


def of_scan(store: ReviewStore, file: str) -> Any:
    """The item of a scan."""
    return next(item for item in store.items() if item.record.file == file)


def test_the_least_sure_come_first_and_what_was_not_found_last(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path, "tumor", "unicorn")
    items = ReviewStore(labels).items()
    sure = [item.record.confidence for item in items]
    assert sure[:4] == sorted(value for value in sure if value is not None)
    assert sure[4:] == [None] * 4
    assert len({item.id for item in items}) == 8


def test_filters_choose_and_progress_counts_what_they_leave(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path, "tumor", "unicorn")
    store = ReviewStore(labels)
    first, second = store.items()[:2]
    store.decide(first, "accepted")
    store.decide(second, "rejected")
    items = store.items()
    some, decided, total = chosen(items, Wanted(prompt="tumor", state="waiting"))
    assert (len(some), decided, total) == (2, 2, 4)
    assert [item.record.prompt for item in chosen(items, Wanted(verdict="not found"))[0]] == ["unicorn"] * 4
    least = items[2].record.confidence
    assert chosen(items, Wanted(least=least))[0] == items[2:4]
    assert chosen(items, Wanted(state="rejected"))[0] == [items[1]]


def test_a_decision_is_there_for_another_process_and_undo_brings_the_one_before_back(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path)
    store, other = ReviewStore(labels), ReviewStore(labels)
    accepted = store.decide(store.items()[0], "accepted")
    assert other.items()[0].state == "accepted"
    rejected = other.decide(other.items()[0], "rejected")
    assert store.items()[0].state == "rejected"
    assert store.undo(rejected.decision.id) == accepted.id
    assert store.items()[0].decision == accepted.decision
    assert store.undo(rejected.decision.id) is None
    store.undo(accepted.decision.id)
    assert other.items()[0].state == "waiting"


def test_a_window_that_did_not_see_the_other_one_s_decision_is_told(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path)
    store = ReviewStore(labels)
    seen = store.items()[0]
    store.decide(seen, "accepted")
    with pytest.raises(Overtaken, match="is accepted: another window"):
        store.decide(seen, "rejected")
    assert store.items()[0].state == "accepted"


DECIDE_HALF = """
import sys; from pathlib import Path; from medclipsam.review.store import ReviewStore
store = ReviewStore(Path(sys.argv[1]))
for item in store.items()[int(sys.argv[3])::2]:
    store.decide(item, sys.argv[2])
"""


def test_two_processes_and_many_threads_lose_no_decision(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path, count=12)
    processes = [
        subprocess.Popen([sys.executable, "-c", DECIDE_HALF, labels, state, str(start)])
        for start, state in enumerate(("accepted", "rejected"))
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert [item.state for item in ReviewStore(labels).items()] == ["accepted", "rejected"] * 6
    store = ReviewStore(labels)
    threads = [threading.Thread(target=store.decide, args=(item, "accepted")) for item in store.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {item.state for item in store.items()} == {"accepted"}
    assert len((labels / REVIEW).read_bytes().splitlines()) == 24


def test_a_torn_line_costs_that_decision_and_no_other(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path)
    store = ReviewStore(labels)
    for item in store.items()[:2]:
        store.decide(item, "accepted")
    path = labels / REVIEW
    path.write_bytes(path.read_bytes()[:-20])
    assert [item.state for item in store.items()] == ["accepted", "waiting", "waiting", "waiting"]
    store.decide(store.items()[2], "rejected")
    assert [item.state for item in store.items()] == ["accepted", "waiting", "rejected", "waiting"]
    assert all(json.loads(line)["schema"] == 1 for line in path.read_bytes().splitlines())


def test_foreign_lines_and_paths_out_of_the_folder_are_no_decisions(tmp_path: Path) -> None:
    labels, _ = labelled(tmp_path)
    store = ReviewStore(labels)
    store.decide(store.items()[0], "accepted")
    line = json.loads((labels / REVIEW).read_text())
    bad = [{**line, "id": "1", "masks": {"../x.png": "0"}}, {**line, "state": "loved"}, {"schema": 9}, [], {"id": 3}]
    with (labels / REVIEW).open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in bad)
    assert [item.state for item in store.items()] == ["accepted", "waiting", "waiting", "waiting"]


def test_a_decision_on_masks_that_were_made_again_otherwise_does_not_count(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path)
    store = ReviewStore(labels)
    store.decide(store.items()[0], "accepted")
    labelled(tmp_path)
    assert store.items()[0].state == "accepted"
    file = store.items()[0].record.file
    Image.fromarray(bright_square(40, 60, top=30, left=40, side=5)).save(scans / file)
    labelled(tmp_path)
    assert of_scan(store, file).state == "waiting"


def test_a_corrected_mask_lies_beside_and_the_run_s_own_stays(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path)
    store = ReviewStore(labels, scans)
    item = store.items()[0]
    (name,) = [name for name in item.record.outputs if name.startswith("masks/")]
    before = (labels / name).read_bytes()
    done = store.decide(item, "corrected", {0: drawn(top=20)})
    (written,) = done.decision.masks
    assert (labels / name).read_bytes() == before
    np.testing.assert_array_equal(np.asarray(Image.open(labels / written)), drawn(top=20) * np.uint8(255))
    np.testing.assert_array_equal(store.image_and_mask(store.item(item.id), 0)[1], drawn(top=20))
    store.undo(done.decision.id)
    np.testing.assert_array_equal(
        store.image_and_mask(store.item(item.id), 0)[1], np.asarray(Image.open(labels / name)) > 0
    )
    labelled(tmp_path)
    assert (labels / written).is_file()


def volume_scans(folder: Path) -> None:
    """A turned volume of 5 slices with a bright block in slices 1 to 3."""
    folder.mkdir()
    voxels = np.full((5, 20, 30), 10, np.float32)
    voxels[1:4, 4:9, 8:14] = 200
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 0.7, 3.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(folder / "v.nii.gz"))


@pytest.mark.parametrize("formats", [("auto",), ("png",), ("nrrd", "npy")])
def test_a_corrected_slice_of_a_volume_leaves_the_others_and_the_grid(tmp_path: Path, formats: Any) -> None:
    volume_scans(tmp_path / "scans")
    labels, scans = labelled(tmp_path, formats=formats)
    store = ReviewStore(labels, scans)
    (item,) = store.items()
    before = [store.image_and_mask(item, index)[1] for index in range(5)]
    assert [bool(mask.any()) for mask in before] == [False, True, True, True, False]
    edit = np.zeros_like(before[0])
    edit[2:5, 1:4] = True
    store.decide(item, "corrected", {4: edit})
    item = store.items()[0]
    for index, mask in enumerate([*before[:4], edit]):
        np.testing.assert_array_equal(store.image_and_mask(item, index)[1], mask)
    for name in item.decision.masks:
        if name.endswith((".nii.gz", ".nrrd")):
            own = next(each for each in item.record.outputs if each.endswith(name.rpartition("v")[2]))
            found, original = sitk.ReadImage(str(labels / name)), sitk.ReadImage(str(labels / own))
            assert found.GetDirection() == original.GetDirection()
            assert (found.GetOrigin(), found.GetSpacing()) == (original.GetOrigin(), original.GetSpacing())
            changed = sitk.GetArrayFromImage(found) != sitk.GetArrayFromImage(original)
            assert changed.sum() == edit.sum()


def test_accepting_a_doubtful_mask_makes_it_one_to_learn_from(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path, min_confidence=1.0)
    with pytest.raises(BadInput):
        read_pseudolabels(labels, scans)
    store = ReviewStore(labels)
    item = store.items()[0]
    store.decide(item, "accepted")
    material = read_pseudolabels(labels, scans, reviewed=True)
    (file,) = material.files
    assert file.case.name == item.record.case
    (path,) = file.labels.values()
    (judged,) = [name for name in item.record.outputs if name.startswith("doubtful/")]
    assert path.read_bytes() == (labels / judged).read_bytes()


def test_a_volume_of_believed_and_doubtful_slices_is_accepted_whole(tmp_path: Path) -> None:
    volume_scans(tmp_path / "scans")
    labels, scans = labelled(tmp_path)
    confidences = [picture.confidence for picture in ReviewStore(labels).items()[0].record.pictures]
    shutil.rmtree(labels)
    least = max(value for value in confidences if value is not None)
    voxels = sitk.ReadImage(str(scans / "v.nii.gz"))
    array = sitk.GetArrayFromImage(voxels)
    array[2, 12:18, 18:25] = 120
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(voxels)
    sitk.WriteImage(changed, str(scans / "v.nii.gz"))
    labelled(tmp_path, min_confidence=least)
    store = ReviewStore(labels, scans)
    (item,) = store.items()
    kinds = {name.partition("/")[0] for name in item.record.outputs}
    assert {"masks", "doubtful"} <= kinds
    before = [store.image_and_mask(item, index)[1] for index in range(5)]
    with pytest.raises(BadInput, match="--images"):
        ReviewStore(labels).decide(item, "accepted")
    store.decide(item, "accepted")
    (item,) = store.items()
    for index, mask in enumerate(before):
        np.testing.assert_array_equal(store.image_and_mask(item, index)[1], mask)
    (record,) = reviewed(labels, read_manifest(labels / "manifest.jsonl").values())
    assert {picture.status for picture in record.pictures} == {"done", "not found"}


@pytest.fixture
def decided(tmp_path: Path) -> tuple[Path, Path]:
    """Four scans: one accepted, one rejected, one corrected, one waiting."""
    labels, scans = labelled(tmp_path)
    store = ReviewStore(labels, scans)
    store.decide(of_scan(store, "case_0.png"), "accepted")
    store.decide(of_scan(store, "case_1.png"), "rejected")
    store.decide(of_scan(store, "case_2.png"), "corrected", {0: drawn(top=20)})
    return labels, scans


def test_refine_learns_from_accepted_and_corrected_masks_alone(decided: tuple[Path, Path]) -> None:
    material = read_pseudolabels(*decided, reviewed=True)
    by_scan = {file.case.file: next(iter(file.labels.values())) for file in material.files}
    assert set(by_scan) == {"case_0.png", "case_2.png"}
    np.testing.assert_array_equal(np.asarray(Image.open(by_scan["case_2.png"])) > 0, drawn(top=20))
    assert len(read_pseudolabels(*decided).files) == 4


def test_refine_takes_a_corrected_mask_in_place_of_labels_with_ignored_pixels(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path, ignore_band=0.1)
    store = ReviewStore(labels, scans)
    store.decide(of_scan(store, "case_0.png"), "accepted")
    store.decide(of_scan(store, "case_2.png"), "corrected", {0: drawn(top=20)})
    paths = {
        file.case.file: next(iter(file.labels.values()))
        for file in read_pseudolabels(labels, scans, reviewed=True).files
    }
    assert paths["case_0.png"].relative_to(labels).parts[0] == "labels"
    assert paths["case_2.png"].relative_to(labels).parts[0] == "reviewed"


def test_a_mask_that_a_person_emptied_is_not_found_and_one_that_was_drawn_is(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path, "unicorn", "tumor")
    store = ReviewStore(labels, scans)
    emptied = next(item for item in store.items() if item.record.prompt == "tumor")
    filled = next(item for item in store.items() if item.record.prompt == "unicorn")
    store.decide(emptied, "corrected", {0: np.zeros((40, 60), bool)})
    store.decide(filled, "corrected", {0: drawn(top=3)})
    records = reviewed(labels, read_manifest(labels / "manifest.jsonl").values())
    assert {(record.prompt, record.status) for record in records} == {("tumor", "not found"), ("unicorn", "done")}
    assert [file.case.name for file in read_pseudolabels(labels, scans, "unicorn", absent=False, reviewed=True).files]


def test_export_gives_reviewed_masks_alone(decided: tuple[Path, Path], tmp_path: Path) -> None:
    labels, scans = decided
    found = read_labelled(labels, scans, rules=Rules(reviewed=True))
    assert sorted(scan.file for scan in found.scans) == ["case_0.png", "case_2.png"]
    ran = typed(
        "export",
        labels,
        "--to",
        "nnunet",
        "--images",
        scans,
        "-o",
        tmp_path / "Dataset001_x",
        "--reviewed",
        "--own-names",
    )
    assert ran.exit_code == 0, ran.output
    exported = np.asarray(Image.open(tmp_path / "Dataset001_x" / "labelsTr" / "case_2.png"))
    np.testing.assert_array_equal(exported > 0, drawn(top=20))


def test_evaluate_measures_reviewed_masks_alone(decided: tuple[Path, Path], tmp_path: Path) -> None:
    labels, _ = decided
    truth = tmp_path / "truth"
    truth.mkdir()
    for number in range(4):
        Image.fromarray(drawn(top=20) * np.uint8(255)).save(truth / f"case_{number}.png")
    ran = typed("evaluate", labels, truth, "--reviewed", "--json", tmp_path / "m.json")
    assert ran.exit_code == 0, ran.output
    cases = {case["case"]: case["dice"] for case in json.loads((tmp_path / "m.json").read_text())["cases"]}
    assert cases == {"case_0": 0.0, "case_2": 1.0}
    refused = typed("evaluate", truth, truth, "--reviewed")
    assert (refused.exit_code, "--reviewed chooses" in refused.stderr) == (2, True)


def test_a_folder_that_nobody_looked_at_gives_nothing_with_reviewed(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path)
    with pytest.raises(BadInput, match="was accepted or corrected"):
        read_pseudolabels(labels, scans, reviewed=True)
    ran = typed("refine", labels, "--images", scans, "--reviewed", "-o", tmp_path / "run")
    assert ran.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_scans_that_are_not_open_or_changed_are_said_so(tmp_path: Path) -> None:
    labels, scans = labelled(tmp_path)
    with pytest.raises(BadInput, match="--images"):
        ReviewStore(labels).image_and_mask(ReviewStore(labels).items()[0], 0)
    store = ReviewStore(labels, scans)
    item = store.items()[0]
    with pytest.raises(BadInput, match="no image 1 of 1"):
        store.image_and_mask(item, 1)
    with pytest.raises(BadInput, match="a mask of"):
        store.decide(item, "corrected", {0: np.zeros((4, 4), bool)})
    assert store.items()[0].state == "waiting"
    Image.fromarray(bright_square(40, 60, top=30, left=40, side=5)).save(scans / item.record.file)
    with pytest.raises(BadInput, match="changed since"):
        ReviewStore(labels, scans).image_and_mask(item, 0)
