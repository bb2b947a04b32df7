"""From a pseudolabel folder to a data set: what is learned from, what is left out and why, and labels never blended."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from refine_runs import SMALL, silent
from typed import typed

from medclipsam.backbones.squares import frame_for, labels_to_square, to_square
from medclipsam.errors import BadInput
from medclipsam.refine.dataset import export_dataset, read_dataset, read_labels
from medclipsam.refine.folds import grouped_folds
from medclipsam.refine.nnunet import repeats_of
from medclipsam.refine.pseudolabels import Groups, confidence_of, read_pseudolabels
from medclipsam.refine.run import refine
from medclipsam.refine.task import RefineUNet
from medclipsam.runs import LabelRequest, label_folder, read_manifest
from medclipsam.runs.manifest import Picture, Record


@given(arrays(np.uint8, st.tuples(st.integers(2, 50), st.integers(2, 50)), elements=st.sampled_from([0, 1, 2])))
def test_no_label_is_made_up_on_the_way_into_the_square(labels):
    for fit in ("squash", "letterbox"):
        square = labels_to_square(labels, frame_for(labels.shape, 32, fit))
        assert set(np.unique(square)) <= set(np.unique(labels)) | {0}


def test_a_label_lies_where_its_pixels_lie():
    scan = np.zeros((40, 80, 3), np.float32)
    scan[10:20, 40:70] = 1
    for fit in ("squash", "letterbox"):
        frame = frame_for((40, 80), 32, fit)
        square = to_square(scan, frame)[..., 0] > 127
        assert np.array_equal(square, labels_to_square((scan[..., 0] > 0).astype(np.uint8), frame) == 1)


def test_a_letterboxed_label_is_background_beside_the_scan():
    square = labels_to_square(np.ones((10, 40), np.uint8), frame_for((10, 40), 32, "letterbox"))
    assert square[:8].all()
    assert not square[8:].any()


def test_every_readable_scan_is_copied_with_its_label(data):
    assert len(data.groups) == 12
    for name in data.groups:
        assert data.square(name).shape == (32, 32, 3)
        assert data.labels(name).shape == (32, 32)
    assert json.loads((data.folder / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "foreground": 1,
        "ignore": 2,
    }


def test_the_labels_are_those_of_the_bright_discs(data, scans):
    for name in data.groups:
        scan = np.asarray(Image.open(scans / f"{name[:4]}.png"))
        bright = labels_to_square((scan > 127).astype(np.uint8), frame_for(scan.shape, 32, "squash"))
        assert np.array_equal(data.labels(name), bright)
        assert bright.any() != name.startswith("p3-2")


def test_what_was_not_used_is_listed_with_its_reason(data):
    with (data.root / "skipped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["row"].rpartition("-")[0], row["reason"]) for row in rows] == [("broken", "refused")]
    assert data.skipped == 1


def test_a_second_export_of_the_same_is_not_written_again(material, data):
    before = (data.root / "examples.json").stat().st_mtime_ns
    assert export_dataset(material, SMALL, data.root, silent) == data
    assert (data.root / "examples.json").stat().st_mtime_ns == before


def test_another_geometry_is_another_data_set(material, data, tmp_path):
    shutil.copytree(data.root, tmp_path / "dataset")
    again = export_dataset(material, SMALL.changed(side=64), tmp_path / "dataset", silent)
    assert again.digest != data.digest
    assert again.square(next(iter(again.groups))).shape == (64, 64, 3)


def test_empty_masks_can_be_left_out(labels, scans):
    material = read_pseudolabels(labels, scans, absent=False)
    assert [file.case.name[:4] for file in material.files].count("p3-2") == 0
    assert "not found" in {skipped.reason for skipped in material.skipped}


def test_a_scan_that_changed_since_is_not_learned_from(labels, scans, tmp_path):
    shutil.copytree(scans, tmp_path / "scans")
    Image.new("L", (60, 40), 9).save(tmp_path / "scans" / "p0-0.png")
    Image.fromarray(np.eye(40, 60, dtype=np.uint8) * 99).save(tmp_path / "scans" / "p0-1.png")
    data = export_dataset(read_pseudolabels(labels, tmp_path / "scans"), SMALL, tmp_path / "data", silent)
    assert len(data.groups) == 10
    reasons = (tmp_path / "data" / "skipped.csv").read_text()
    assert "every pixel has the same value" in reasons
    assert "changed since it was labelled" in reasons


def test_a_label_that_changed_since_is_not_learned_from(labels, scans, tmp_path):
    shutil.copytree(labels, tmp_path / "labels")
    changed = next((tmp_path / "labels" / "labels" / "breast-tumor").glob("p0-0*.png"))
    Image.new("L", (60, 40)).save(changed)
    material = read_pseudolabels(tmp_path / "labels", scans)
    assert len(material.files) == 11
    assert "the label changed since it was written" in {skipped.reason for skipped in material.skipped}


def test_doubtful_masks_are_not_learned_from(scans, tmp_path):
    request = LabelRequest(source=scans, output=tmp_path / "out", prompts=("disc",), min_confidence=1.0)
    label_folder(request, BrightSegmenter, silent)
    material = read_pseudolabels(tmp_path / "out", scans)
    assert [file.case.name[:4] for file in material.files] == ["p3-2"]
    assert {skipped.reason for skipped in material.skipped} == {"doubtful", "refused"}
    with pytest.raises(BadInput, match=r"to learn from: nothing was found in 1 scan, 11 doubtful, 1 refused; label"):
        refine(material, tmp_path / "run", SMALL)


@pytest.mark.parametrize("backend", ["unet", "nnunet"])
def test_labels_in_which_nothing_was_found_are_refused_before_anything_is_planned(scans, tmp_path, backend):
    request = LabelRequest(source=scans, output=tmp_path / "out", prompts=("unicorn",), ignore_band=0.1)
    label_folder(request, BrightSegmenter, silent)
    refused = typed(
        "refine", tmp_path / "out", "--images", scans, "--backend", backend, "-o", tmp_path / "run", "--json"
    )
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "no mask of 'unicorn' to learn from: nothing was found in 12 scans, 1 refused" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_labels_that_lose_all_they_show_on_the_way_are_refused_and_leave_no_run(tmp_path):
    """Of a line of one pixel nothing is left in a square of 32 pixels."""
    (tmp_path / "in").mkdir()
    pixels = np.full((400, 400), 20, np.uint8)
    pixels[3, :] = 200
    Image.fromarray(pixels).save(tmp_path / "in" / "line.png")
    label_folder(
        LabelRequest(source=tmp_path / "in", output=tmp_path / "out", prompts=("line",)), BrightSegmenter, silent
    )
    with pytest.raises(BadInput, match="none of 1 labels of 'line' shows anything; label scans"):
        refine(read_pseudolabels(tmp_path / "out", tmp_path / "in"), tmp_path / "run", SMALL, device="cpu")
    assert not (tmp_path / "run").exists()


def test_pages_of_a_tiff_are_pictures_of_their_own(tmp_path):
    pages = [Image.fromarray(np.uint8(np.tri(40, 60, k) * 200 + 20)) for k in (3, -9)]
    (tmp_path / "in").mkdir()
    pages[0].save(tmp_path / "in" / "two.tif", save_all=True, append_images=pages[1:])
    request = LabelRequest(source=tmp_path / "in", output=tmp_path / "out", prompts=("wedge",))
    label_folder(request, BrightSegmenter, silent)
    data = export_dataset(read_pseudolabels(tmp_path / "out", tmp_path / "in"), SMALL, tmp_path / "data", silent)
    assert [name[-6:] for name in sorted(data.groups)] == ["-p0000", "-p0001"]
    first, second = sorted(data.groups)
    assert (data.labels(first) == 1).sum() > (data.labels(second) == 1).sum() > 0
    assert len(set(data.groups.values())) == 1


def test_the_prompt_must_be_chosen_where_there_are_several(scans, tmp_path):
    request = LabelRequest(source=scans, output=tmp_path / "out", prompts=("disc", "unicorn"))
    label_folder(request, BrightSegmenter, silent)
    with pytest.raises(BadInput, match="2 prompts; choose one by --prompt: 'disc', 'unicorn'"):
        read_pseudolabels(tmp_path / "out", scans)
    assert read_pseudolabels(tmp_path / "out", scans, "unicorn").prompt == "unicorn"
    with pytest.raises(BadInput, match="no prompt 'lungs'"):
        read_pseudolabels(tmp_path / "out", scans, "lungs")


def test_a_folder_that_is_none_is_refused(scans, tmp_path):
    with pytest.raises(BadInput, match="output folder of medclipsam pseudolabel"):
        read_pseudolabels(tmp_path, scans)
    with pytest.raises(BadInput, match="cannot be read"):
        read_dataset(tmp_path)


def test_a_fold_never_splits_a_patient(labels, scans, patients, tmp_path):
    material = read_pseudolabels(labels, scans, groups=Groups(path=patients))
    data = export_dataset(material, SMALL, tmp_path / "data", silent)
    fold = data.fold(SMALL.changed(fold=1, folds=4))
    assert sorted((*fold["train"], *fold["val"])) == sorted(data.groups)
    assert len(fold["val"]) == 3
    assert {data.groups[name] for name in fold["val"]}.isdisjoint(data.groups[name] for name in fold["train"])


def test_a_table_of_groups_from_windows_names_the_same_scans(labels, scans, patients, tmp_path):
    known = read_pseudolabels(labels, scans, groups=Groups(path=patients))
    rows = patients.read_text().replace("file,", "File;").replace(".png,", ".PNG;").replace("/", "\\")
    (tmp_path / "windows.csv").write_bytes(rows.encode("utf-16"))
    material = read_pseudolabels(labels, scans, groups=Groups(path=tmp_path / "windows.csv"))
    assert [file.group for file in material.files] == [file.group for file in known.files]


def test_a_scan_without_a_group_is_refused(labels, scans, tmp_path):
    (tmp_path / "groups.csv").write_text("file,group\np0-0.png,a\n")
    with pytest.raises(BadInput, match="no row for"):
        read_pseudolabels(labels, scans, groups=Groups(path=tmp_path / "groups.csv"))


@given(st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), st.sampled_from("ABCDEF"), min_size=6), st.data())
def test_folds_part_the_pictures_and_keep_groups_whole(groups, data):
    count = data.draw(st.integers(2, 6))
    if len(set(groups.values())) < count:
        with pytest.raises(BadInput, match="groups do not make"):
            grouped_folds(groups, count, seed=0)
        return
    folds = grouped_folds(groups, count, seed=data.draw(st.integers(0, 3)))
    assert sorted(name for fold in folds for name in fold["val"]) == sorted(groups)
    for fold in folds:
        assert fold["val"]
        assert sorted((*fold["train"], *fold["val"])) == sorted(groups)
        assert {groups[name] for name in fold["val"]}.isdisjoint(groups[name] for name in fold["train"])


def test_labels_are_read_as_a_viewer_shows_them(tmp_path):
    inside = np.array([[False, True, True], [True, False, False]])
    white_first = Image.fromarray((~inside).astype(np.uint8), "P")
    white_first.putpalette([255, 255, 255, 0, 0, 0])
    white_first.save(tmp_path / "palette.png")
    Image.fromarray(inside).save(tmp_path / "bit.png")
    Image.fromarray(inside.astype(np.uint16) * 65535).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([inside.astype(np.uint8) * 255] * 3)).save(tmp_path / "colour.png")
    for name in ("palette", "bit", "deep", "colour"):
        np.testing.assert_array_equal(read_labels(tmp_path / f"{name}.png"), inside)
    three = np.array([[0, 1, 2]], np.uint8)
    Image.fromarray(three).save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.png"), three)


def test_a_picture_that_is_no_label_is_refused_in_one_line(tmp_path):
    Image.fromarray(np.array([[0, 7, 255]], np.uint8)).save(tmp_path / "other.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for name, says in (("other", "other values"), ("broken", "of no format")):
        with pytest.raises(BadInput, match=says):
            read_labels(tmp_path / f"{name}.png")


def test_the_label_of_a_volume_lies_on_its_slice_as_it_was_shown(tmp_path):
    """Stored towards right and front, shown towards left and back: label and picture are turned alike."""
    voxels = np.full((40, 60, 2), 40, np.int16)
    voxels[3:13, 5:20] = 200
    (tmp_path / "scans").mkdir()
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "scans" / "v.nii.gz")
    asked = {"prompts": ("tumor",), "output": tmp_path / "labels"}
    label_folder(LabelRequest(source=tmp_path / "scans", formats=("png",), **asked), BrightSegmenter, silent)
    data = export_dataset(read_pseudolabels(tmp_path / "labels", tmp_path / "scans"), SMALL, tmp_path / "data", silent)
    assert len(data.groups) == 2
    for name in data.groups:
        bright = data.square(name)[..., 0] > 128
        assert bright[bright.shape[0] // 2 :, bright.shape[1] // 2 :].any()
        assert np.mean(bright != (data.labels(name) == 1)) < 0.02


def test_a_picture_knows_the_confidence_in_its_label_and_counts_by_it(data, labels):
    records = read_manifest(labels / "manifest.jsonl").values()
    written = {record.case: record.confidence for record in records if record.confidence is not None}
    assert len(written) == 11
    assert data.confidence == written
    empty = next(name for name in data.groups if name.startswith("p3-2"))
    sure = next(iter(written))
    assert replace(data, confidence={sure: 0.6}).weights([sure, empty]) == [0.6, 1.0]
    assert replace(data, confidence={sure: 0.0}).weights([sure]) == [0.05]


def test_a_mask_that_a_person_made_has_no_confidence_of_the_models():
    outputs = {"reviewed/disc/a.png": "0", "masks/disc/a-s0001.png": "1", "masks/disc/a-s0002.png": "2"}
    called = {f"picture {number}": name for number, name in enumerate(outputs)}
    several = [
        Picture(
            index=index, status="done", presence=1, confidence=sure, sam_scores=(), box=None, area_px=9, area_mm2=None
        )
        for index, sure in ((0, 0.9), (1, 0.4), (2, None))
    ]
    record = Record(case="a", prompt="disc", status="done", config_sha256="", confidence=0.7, pictures=tuple(several))
    assert confidence_of(record, called) == {"picture 1": 0.4}
    assert confidence_of(replace(record, pictures=()), {"picture": "masks/disc/a.png"}) == {"picture": 0.7}


def test_nnunet_draws_a_picture_the_more_often_the_surer_its_label(data):
    first, second, *others = sorted(data.groups)
    repeats = repeats_of(replace(data, confidence={first: 0.0, second: 0.5}))
    assert (repeats[first], repeats[second]) == (1, 10)
    assert {repeats[name] for name in others} == {20}


def test_the_small_network_draws_by_confidence_where_it_is_asked_to(data):
    names = sorted(data.groups)
    assert RefineUNet(data, SMALL).weights is None
    assert RefineUNet(data, SMALL.changed(by_confidence=True)).weights == data.weights(names)
