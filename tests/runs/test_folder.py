"""Does a folder end with a true record for each case, whatever the files, the shards and the earlier runs?"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from bright import BrightSegmenter, bright_square
from dicom_files import dicom
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from run_folders import records_of, save_scan, silent, tree

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.io import read_image
from medclipsam.io.mask_files import SegOptions
from medclipsam.io.source import ReadOptions
from medclipsam.methods.contract import MethodInfo
from medclipsam.runs import LabelRequest, Shard, Summary, label_folder, read_manifest
from medclipsam.runs.confidence import confidence
from medclipsam.types import MedImage, Segmentation

Label = Callable[..., Summary]


def mask_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)) > 0


@pytest.fixture
def volume(scans: Path) -> Path:
    """Four slices, the square in slices 1 and 2 alone, smaller in 2, on an oblique affine."""
    shutil.rmtree(scans)
    scans.mkdir()
    voxels = np.zeros((30, 20, 4), np.float32)
    voxels[8:14, 4:9, 1] = voxels[8:10, 4:9, 2] = 1.0
    affine = np.array([[-0.8, 0, 0, 10], [0, 0.7, -0.2, -5], [0, 0.1, 3, 7], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(voxels, affine), scans / "v.nii.gz")
    return scans / "v.nii.gz"


class SureOfRow(BrightSegmenter):
    """All that speaks for a mask is low for images whose square is below row 15, and for pictures with a small one."""

    def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
        result = super().segment(image, text, **options)
        low = result.found and (np.argwhere(result.mask)[0][0] > 15 or result.area_px < 30)
        if result.found:
            saliency = np.full_like(result.saliency, 0.1) if low else result.mask.astype(np.float32)
            vars(result).update(scores=(0.1,) if low else (1.0,), saliency=saliency, presence=0.1 if low else 1.0)
        return result


def test_every_file_and_prompt_ends_in_a_record_and_a_broken_file_stops_nothing(label: Label, out: Path) -> None:
    summary = label("tumor", "unicorn")
    assert summary.counts == {"done": 2, "not found": 2, "refused": 2}
    assert (summary.total, summary.read, summary.kept, summary.joined) == (6, 4, 0, True)
    records = records_of(out)
    assert {name: record.status for name, record in records.items()} == {
        "a tumor": "done",
        "a unicorn": "not found",
        "b tumor": "done",
        "b unicorn": "not found",
        "broken tumor": "refused",
        "broken unicorn": "refused",
    }
    assert records["broken tumor"].reason == "cannot be read as a PNG, JPEG, TIFF or BMP file (UnidentifiedImageError)"
    assert records["broken tumor"].outputs == {}
    assert records["a unicorn"].reason == "below_threshold"
    assert records["a tumor"].reason is None


def test_the_record_says_what_came_out(label: Label, scans: Path, out: Path) -> None:
    label("tumor")
    record = records_of(out)["b"]
    assert (record.box, record.area_px, record.area_mm2) == ((20, 20, 29, 29), 100, None)
    assert record.sam_scores == (0.875,)
    assert record.presence == pytest.approx(200 / 255)
    (scan,) = scans.rglob("b.png")
    assert record.confidence == confidence(BrightSegmenter().segment(read_image(scan), "tumor"))
    assert record.pictures == ()
    assert set(record.outputs) == {f"masks/tumor/{record.case}.png", f"overlays/tumor/{record.case}.jpg"}
    assert np.array_equal(mask_of(out / f"masks/tumor/{record.case}.png"), bright_square(40, 60, 20, 20, 10) == 200)


def test_nothing_found_is_an_empty_mask_of_the_scans_size(label: Label, out: Path) -> None:
    label("unicorn")
    mask = mask_of(out / "masks" / "unicorn" / f"{records_of(out)['a'].case}.png")
    assert (mask.shape, mask.any()) == ((40, 60), False)


def test_the_models_are_loaded_once_and_each_image_is_asked_all_prompts_in_turn(label: Label, scans: Path) -> None:
    segmenter = BrightSegmenter()
    label("one", "two", segmenter=segmenter, always=True)
    assert [(text, always) for _, text, always in segmenter.asked] == [("one", True), ("two", True)] * 2


class Described(BrightSegmenter):
    """What it says of itself can be chosen."""

    def __init__(self, **described: Any) -> None:
        super().__init__()
        self.described = described

    @property
    def info(self) -> MethodInfo:
        return replace(super().info, **self.described)


class Together(Described):
    """It likes as many images at once as it can get, and remembers which thread prepared them."""

    def images_at_once(self, most: int) -> int:
        return most

    def prepare(self, images: Sequence[MedImage]) -> None:
        super().prepare(images)
        self.preparing_thread = threading.get_ident()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_images_are_prepared_some_at_a_time_where_that_is_faster(
    label: Label, scans: Path, out: Path, device: str
) -> None:
    for index in range(3):
        save_scan(scans / f"c{index}.png", top=index)
    one_by_one, together = Described(device=device), Together(device=device)
    label("tumor", segmenter=one_by_one)
    label("tumor", segmenter=together, batch_size=2, output=out.with_name("together"))
    assert one_by_one.prepared == []
    assert [[name.partition("-")[0] for name in names] for names in together.prepared] == [
        ["a"],
        ["c0", "c1"],
        ["c2", "b"],
    ]
    assert one_by_one.asked == together.asked
    assert tree(out) == tree(out.with_name("together"))


@pytest.mark.parametrize(("device", "ahead"), [("cpu", True), ("cuda", False)])
def test_on_a_cpu_the_next_images_are_prepared_while_those_before_are_asked(
    label: Label, device: str, ahead: bool
) -> None:
    threads = torch.get_num_threads()
    segmenter = Together(device=device)
    label("tumor", segmenter=segmenter)
    assert (segmenter.preparing_thread != threading.get_ident()) == ahead
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_images_that_cannot_be_prepared_together_are_taken_one_by_one(
    label: Label, caplog: pytest.LogCaptureFixture, device: str
) -> None:
    class Small(Together):
        def prepare(self, images: Sequence[MedImage]) -> None:
            raise MemoryError

    assert label("tumor", segmenter=Small(device=device)).counts == {"done": 2, "refused": 1}
    assert "could not be encoded together" in caplog.text


def test_the_folder_holds_nothing_but_what_is_promised(label: Label, out: Path) -> None:
    label("tumor")
    kinds = {name.partition("/")[0] for name in tree(out)}
    assert kinds == {"masks", "overlays", "manifest.jsonl", "run.json", "index.html", "measurements.csv"}


def test_the_settings_say_how_to_repeat_the_run(label: Label, out: Path) -> None:
    label("tumor", seed=4, min_confidence=0.25)
    settings = json.loads((out / "run.json").read_text())
    assert (settings["seed"], settings["min_confidence"], settings["preset"]) == (4, 0.25, {"name": "bright"})
    assert settings["weights"] == {"bright": "0" * 64}
    assert settings["config_sha256"] == records_of(out)["a"].config_sha256
    assert "Research use only" in settings["notice"]


def test_a_volume_is_one_case_with_a_mask_on_its_voxels(label: Label, volume: Path, out: Path) -> None:
    label("tumor")
    record = records_of(out)["v"]
    mask, source = nib.load(out / f"masks/tumor/{record.case}.nii.gz"), nib.load(volume)
    assert np.allclose(mask.affine, source.affine)
    assert np.array_equal(np.asarray(mask.dataobj) > 0, np.asarray(source.dataobj) > 0.5)
    assert [picture.status for picture in record.pictures] == ["not found", "done", "done", "not found"]
    assert [picture.area_px for picture in record.pictures] == [0, 30, 10, 0]
    assert (record.area_px, record.box) == (40, None)
    assert record.area_mm2 == pytest.approx(40 * 0.8 * np.hypot(0.7, 0.1), rel=1e-5)


def test_doubtful_slices_have_a_mask_of_their_own_and_are_ignored_whole(label: Label, volume: Path, out: Path) -> None:
    label("tumor", segmenter=SureOfRow(), min_confidence=0.6, ignore_band=0.1)
    (record,) = records_of(out).values()
    assert [picture.status for picture in record.pictures] == ["not found", "done", "doubtful", "not found"]
    assert record.status == "done"
    volumes = {
        kind: np.asarray(nib.load(out / kind / "tumor" / f"{record.case}.nii.gz").dataobj)
        for kind in ("masks", "doubtful", "labels")
    }
    assert [int(volumes["masks"][..., index].sum()) for index in range(4)] == [0, 30, 0, 0]
    assert [int(volumes["doubtful"][..., index].sum()) for index in range(4)] == [0, 0, 10, 0]
    assert [np.unique(volumes["labels"][..., index]).tolist() for index in range(4)] == [[0], [0, 1], [2], [0]]


def test_pages_have_masks_of_their_own(label: Label, scans: Path, out: Path) -> None:
    shutil.rmtree(scans)
    scans.mkdir()
    pages = [Image.fromarray(bright_square(20, 30, top, 5, 6)) for top in (2, 9)]
    pages[0].save(scans / "p.tif", save_all=True, append_images=pages[1:])
    label("tumor")
    (record,) = records_of(out).values()
    masks = [out / f"masks/tumor/{record.case}-p000{index}.png" for index in (0, 1)]
    assert [np.argwhere(mask_of(path))[0].tolist() for path in masks] == [[2, 5], [9, 5]]
    assert set(record.outputs) == {*(p.relative_to(out).as_posix() for p in masks), f"overlays/tumor/{record.case}.jpg"}


def test_a_file_that_breaks_half_way_is_refused_and_leaves_nothing(label: Label, scans: Path, out: Path) -> None:
    shutil.rmtree(scans)
    scans.mkdir()
    voxels = np.zeros((9, 9, 3), np.float32)
    voxels[2:5, 2:5] = 1
    voxels[0, 0, 2] = np.nan
    nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 3, 1])), scans / "v.nii")
    pages = [Image.fromarray(bright_square(20, 30, top, 5, 6)) for top in (2, 9)]
    pages[0].save(scans / "p.tif", save_all=True, append_images=pages[1:])
    content = bytearray((scans / "p.tif").read_bytes())
    (scans / "p.tif").write_bytes(content[:-30])
    label("tumor", formats=("png",))
    assert {record.status for record in records_of(out).values()} == {"refused"}
    assert set(tree(out)) == {"manifest.jsonl", "run.json", "index.html", "measurements.csv"}


def test_dicom_files_get_seg_where_it_is_wanted_and_others_what_they_get_else(
    label: Label, scans: Path, out: Path
) -> None:
    shutil.copy(str(get_testdata_file("CT_small.dcm")), scans / "ct.dcm")
    shutil.copy(str(get_testdata_file("SC_rgb_rle_2frame.dcm")), scans / "frames.dcm")
    dicom(scans / "scan.dcm", bright_square(40, 60, 5, 20, 10))
    label("tumor", formats=("seg",), ignore_band=0.1)
    records = records_of(out)
    masks = {
        name: [
            PurePosixPath(mask).name.removeprefix(record.case) for mask in record.outputs if mask.startswith("masks")
        ]
        for name, record in records.items()
    }
    assert masks["ct"] == [".dcm"]
    assert masks["frames"] == [".dcm"]
    assert masks["scan"] == masks["a"] == [".png"]
    assert any("no DICOM SEG" in warning for warning in records["scan"].warnings)
    seg = dcmread(out / f"masks/tumor/{records['ct'].case}.dcm")
    assert (int(seg.pixel_array.sum()), seg.SegmentSequence[0].SegmentLabel) == (records["ct"].area_px, "tumor")
    assert (out / f"labels/tumor/{records['ct'].case}.png").is_file()
    assert label("tumor", formats=("seg",), ignore_band=0.1).kept == len(records) - 1


def test_masks_below_the_confidence_lie_apart_and_have_no_labels(label: Label, out: Path) -> None:
    summary = label("tumor", segmenter=SureOfRow(), min_confidence=0.6, ignore_band=0.1)
    assert summary.counts == {"done": 1, "doubtful": 1, "refused": 1}
    cases = {name: record.case for name, record in records_of(out).items()}
    assert sorted(name for name in tree(out) if name.endswith(".png")) == [
        f"doubtful/tumor/{cases['b']}.png",
        f"labels/tumor/{cases['a']}.png",
        f"masks/tumor/{cases['a']}.png",
    ]
    assert mask_of(out / f"doubtful/tumor/{cases['b']}.png").sum() == 100


def test_labels_are_0_and_1_and_2(label: Label, out: Path) -> None:
    label("tumor", ignore_band=0.25 + 1e-6)
    labels = np.asarray(Image.open(out / "labels" / "tumor" / f"{records_of(out)['a'].case}.png"))
    assert (labels.dtype, np.unique(labels).tolist()) == (np.uint8, [2])
    label("tumor", ignore_band=0.25)
    labels = np.asarray(Image.open(out / "labels" / "tumor" / f"{records_of(out)['a'].case}.png"))
    assert np.array_equal(labels, mask_of(out / "masks" / "tumor" / f"{records_of(out)['a'].case}.png"))


def test_a_second_run_does_nothing_but_try_the_refused_again(label: Label, out: Path) -> None:
    label("tumor")
    before, segmenter = tree(out), BrightSegmenter()
    summary = label("tumor", segmenter=segmenter)
    assert (segmenter.asked, summary.kept, summary.counts) == ([], 2, {"done": 2, "refused": 1})
    assert tree(out) == before


def asked_again(label: Label, *prompts: str, **changed: Any) -> set[str]:
    segmenter = changed.setdefault("segmenter", BrightSegmenter())
    label(*prompts, **changed)
    return {name.rpartition("-")[0] for name, _, _ in segmenter.asked}


def test_a_case_is_redone_when_its_mask_its_overlay_or_its_scan_changed(label: Label, scans: Path, out: Path) -> None:
    label("tumor")
    whole, case = tree(out), records_of(out)["a"].case
    (out / f"masks/tumor/{case}.png").write_bytes(b"tampered")
    assert asked_again(label, "tumor") == {"a"}
    (out / f"overlays/tumor/{case}.jpg").unlink()
    assert asked_again(label, "tumor") == {"a"}
    assert tree(out) == whole
    save_scan(scans / "a.png", top=9)
    assert asked_again(label, "tumor") == {"a"}
    assert records_of(out)["a"].box == (20, 9, 29, 18)
    shutil.move(scans / "u" / "b.png", scans / "broken.png")
    assert asked_again(label, "tumor") == {"broken"}


@pytest.mark.parametrize(
    "changed", [{"seed": 1}, {"always": True}, {"ignore_band": 0.1}, {"reading": ReadOptions(window=(0.5, 1.0))}]
)
def test_changed_settings_redo_every_case(label: Label, out: Path, changed: dict[str, Any]) -> None:
    label("tumor")
    assert asked_again(label, "tumor", **changed) == {"a", "b"}
    assert len({record.config_sha256 for record in records_of(out).values()}) == 1


def test_another_number_of_the_same_kind_of_device_redoes_nothing(label: Label) -> None:
    label("tumor", segmenter=Described(device="cuda:0"))
    assert asked_again(label, "tumor", segmenter=Described(device="cuda:3")) == set()
    assert asked_again(label, "tumor", segmenter=Described(device="cpu")) == {"a", "b"}


def test_another_precision_redoes_every_case_and_is_told(label: Label, out: Path) -> None:
    label("tumor", segmenter=Described(precision="fp32"))
    assert asked_again(label, "tumor", segmenter=Described(precision="bf16")) == {"a", "b"}
    assert json.loads((out / "run.json").read_text())["precision"] == "bf16"


def test_another_confidence_redoes_only_what_it_judges_anew(label: Label, out: Path) -> None:
    label("tumor", segmenter=SureOfRow())
    assert asked_again(label, "tumor", segmenter=SureOfRow(), min_confidence=0.6) == {"b"}
    fresh = out.with_name("fresh")
    label("tumor", segmenter=SureOfRow(), min_confidence=0.6, output=fresh)
    assert tree(out) == tree(fresh)


def test_another_prompt_takes_the_masks_of_the_old_one_away(label: Label, out: Path) -> None:
    label("tumor", "left lung", ignore_band=0.1)
    label("left lung", "heart")
    assert {name.split("/")[1] for name in tree(out) if "/" in name} == {"left-lung", "heart"}
    assert not (out / "labels").exists()
    assert len(read_manifest(out / "manifest.jsonl")) == 6


def test_a_scan_that_is_gone_takes_its_masks_along(label: Label, scans: Path, out: Path) -> None:
    label("tumor")
    (scans / "a.png").unlink()
    label("tumor")
    fresh = out.with_name("fresh")
    label("tumor", output=fresh)
    assert tree(out) == tree(fresh)


def test_a_scan_that_cannot_be_read_any_more_has_no_old_mask(label: Label, scans: Path, out: Path) -> None:
    label("tumor")
    (scans / "a.png").write_bytes(b"damaged")
    label("tumor")
    assert records_of(out)["a"].status == "refused"
    assert [name for name in tree(out) if "/a-" in name] == []


def test_while_a_case_is_redone_its_old_mask_is_gone(label: Label, out: Path) -> None:
    label("tumor")
    seen: list[bool] = []

    class Looking(BrightSegmenter):
        def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
            seen.append((out / "masks" / "tumor" / f"{image.name}.png").exists() or (out / "index.html").exists())
            return super().segment(image, text, **options)

    label("tumor", seed=1, segmenter=Looking())
    assert seen == [False, False]


def test_files_of_others_are_left_alone(label: Label, out: Path) -> None:
    others = ("notes.txt", "masks/tumor/mine.png", "masks/mine.png", "doubtful/x/a-00000000.png", "models/w.bin")
    for name in others:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(b"mine")
    label("tumor")
    label("heart")
    assert [name for name in others if (out / name).read_bytes() != b"mine"] == []


def test_results_within_the_folder_of_scans_are_not_labelled(label: Label, scans: Path) -> None:
    for _ in range(2):
        assert label("tumor", output=scans / "labels").total == 3


def test_shards_make_the_same_folder_as_one_run_in_any_order(label: Label, scans: Path, out: Path) -> None:
    for index in range(5):
        save_scan(scans / f"more{index}.png", top=index)
    sharded = out.with_name("sharded")
    label("tumor", "unicorn", ignore_band=0.1)
    summaries = [
        label("tumor", "unicorn", ignore_band=0.1, output=sharded, shard=Shard(index, 3)) for index in (3, 1, 2)
    ]
    assert [summary.joined for summary in summaries] == [False, False, True]
    assert sum(summary.total for summary in summaries) == 16
    assert tree(sharded) == tree(out)


def test_a_shard_goes_on_where_it_was_and_the_last_to_end_joins(label: Label, scans: Path, out: Path) -> None:
    for index in range(3):
        save_scan(scans / f"more{index}.png", top=index)
    first, second = Shard(1, 2), Shard(2, 2)
    label("tumor", shard=first)
    assert asked_again(label, "tumor", shard=first) == set()
    assert not (out / "manifest.jsonl").exists()
    others = asked_again(label, "tumor", shard=second)
    assert {"a", "b", "more0", "more1", "more2"} > others
    assert len(read_manifest(out / "manifest.jsonl")) == 6
    assert asked_again(label, "tumor", shard=first) == asked_again(label, "tumor") == set()


def test_a_whole_run_takes_over_what_shards_did(label: Label, scans: Path, out: Path) -> None:
    for name in "cdef":
        save_scan(scans / f"{name}.png", top=9)
    done = asked_again(label, "tumor", shard=Shard(1, 2))
    assert set("abcdef") > done > set()
    assert asked_again(label, "tumor") == set("abcdef") - done
    assert list(out.glob("manifest.*-of-*")) == []


def test_a_shard_without_files_is_no_error(label: Label, scans: Path, out: Path) -> None:
    shutil.rmtree(scans / "u")
    (scans / "broken.png").unlink()
    summaries = [label("tumor", shard=Shard(index, 4)) for index in (1, 2, 3, 4)]
    assert sorted(summary.total for summary in summaries) == [0, 0, 0, 1]
    assert len(read_manifest(out / "manifest.jsonl")) == 1


def test_a_file_without_a_prompt_and_a_row_without_a_file_are_records(label: Label, scans: Path, out: Path) -> None:
    table = scans / "prompts.csv"
    table.write_text("file,prompt\na.png,tumor\ngone.png,tumor\n")
    label(table=table)
    found = {(name.split()[0], record.prompt): record for name, record in records_of(out).items()}
    assert found["a", "tumor"].status == "done"
    assert found["gone", "tumor"].reason == "the file cannot be opened (No such file or directory)"
    assert found["b", None].reason == found["broken", None].reason == "the prompt table has no row for it"


def test_prompts_that_look_like_paths_or_like_each_other_stay_apart(label: Label, scans: Path, out: Path) -> None:
    before = set(scans.parent.rglob("*"))
    label("Tumor", "tumor", "../../x", "/etc/passwd", "😀")
    assert len({name.split("/")[1] for name in tree(out) if name.startswith("masks/")}) == 5
    assert all(path.is_relative_to(out) for path in set(scans.parent.rglob("*")) - before)


class Buggy(BrightSegmenter):
    """Fails on the first pictures it sees."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.left = failures

    def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
        self.left -= 1
        if self.left >= 0:
            raise ZeroDivisionError("a bug")
        return super().segment(image, text, **options)


def test_a_bug_in_one_case_is_its_record_and_its_traceback_is_kept(
    label: Label, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    summary = label("tumor", segmenter=Buggy(1))
    assert summary.counts == {"failed": 1, "done": 1, "refused": 1}
    assert records_of(out)["a"].reason == "ZeroDivisionError in the method"
    (logged,) = (entry for entry in caplog.records if entry.levelno == logging.ERROR)
    assert logged.exc_info and logged.exc_info[0] is ZeroDivisionError
    assert records_of(out)["a"].case in logged.getMessage()
    assert asked_again(label, "tumor") == {"a"}


@pytest.mark.parametrize(("formats", "told"), [(("auto",), 1), (("seg",), 0)])
def test_options_of_a_seg_that_no_scan_gets_are_told_once(
    label: Label, scans: Path, caplog: pytest.LogCaptureFixture, formats: tuple[Any, ...], told: int
) -> None:
    shutil.copyfile(str(get_testdata_file("CT_small.dcm")), scans / "ct.dcm")
    label("tumor", formats=formats, seg=SegOptions(all_slices=True))
    assert caplog.text.count("no DICOM SEG is written, so --seg-all-slices changed nothing") == told


def test_a_method_that_always_fails_ends_the_run(label: Label, out: Path) -> None:
    prompts = [f"organ {k}" for k in range(9)]
    with pytest.raises(ZeroDivisionError):
        label(*prompts, segmenter=Buggy(99))
    assert sum(record.status == "failed" for record in read_manifest(out / "manifest.jsonl").values()) == 4


def test_an_interrupted_run_goes_on_where_it_was(label: Label, out: Path) -> None:
    class Interrupted(BrightSegmenter):
        def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
            if image.name.startswith("b"):
                raise KeyboardInterrupt
            return super().segment(image, text, **options)

    with pytest.raises(KeyboardInterrupt):
        label("tumor", segmenter=Interrupted())
    assert asked_again(label, "tumor") == {"b"}


def test_a_prompt_that_the_method_refuses_is_refused(label: Label, out: Path) -> None:
    class Choosy(BrightSegmenter):
        def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
            if text == "heart":
                raise BadInput("the text names no tumor", "ask for one")
            return super().segment(image, text, **options)

    summary = label("heart", "tumor", segmenter=Choosy())
    assert summary.counts == {"refused": 4, "done": 2}
    assert records_of(out)["a heart"].reason == "the text names no tumor"


def test_a_full_disk_is_told_and_what_is_done_is_kept(label: Label, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, synced = os.fsync, []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CannotWrite, match=r"No space left on device.*run the same command again"):
            label("tumor")
    done = [record for record in read_manifest(out / "manifest.jsonl").values() if record.status == "done"]
    assert [record.case.rpartition("-")[0] for record in done] == ["a"]
    assert asked_again(label, "tumor") == {"b"}
    fresh = out.with_name("fresh")
    label("tumor", output=fresh)
    assert tree(out) == tree(fresh)


def test_a_folder_that_is_lost_on_the_way_is_told(label: Label, out: Path) -> None:
    class Losing(BrightSegmenter):
        def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
            shutil.rmtree(out)
            return super().segment(image, text, **options)

    with pytest.raises(CannotWrite, match=r"out.*run the same command again"):
        label("tumor", segmenter=Losing())


def test_what_cannot_be_used_is_refused_before_a_model_is_loaded(scans: Path, out: Path) -> None:
    def never() -> BrightSegmenter:
        pytest.fail("a model was loaded")

    (scans / "manifest.jsonl").write_text('{"somebody": "else"}\n')
    for output, said in ((scans / "a.png" / "out", "not a folder"), (scans / "u", "."), (out, ".")):
        request = LabelRequest(source=scans, output=output, prompts=() if said == "." else ("x",))
        with pytest.raises((BadInput, CannotWrite), match=said):
            label_folder(request, never, silent)
    with pytest.raises(BadInput, match="not that of a pseudolabel run"):
        label_folder(LabelRequest(source=scans / "u", output=scans, prompts=("x",)), never, silent)
    assert not out.exists()


@pytest.mark.parametrize(
    "changed", [{"min_confidence": 1.5}, {"min_confidence": float("nan")}, {"ignore_band": 0.6}, {"ignore_band": -1}]
)
def test_numbers_out_of_range_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="give a number"):
        LabelRequest(source=Path("in"), output=Path("out"), **changed)


def test_results_in_the_very_folder_of_the_scans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="among the scans"):
        LabelRequest(source=tmp_path, output=tmp_path / "x" / "..")


def test_progress_counts_cases(scans: Path, out: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    request = LabelRequest(source=scans, output=out, prompts=("tumor", "heart"))
    label_folder(request, BrightSegmenter, lambda *told: heard.append(told))
    assert heard == [
        ("looking for images", 0, 0),
        ("loading models", 0, 0),
        *(("labelling", done, 6) for done in (0, 2, 4, 6)),
        ("joining the results", 0, 0),
    ]


def test_no_word_of_the_patient_and_no_folder_gets_out(label: Label, scans: Path, out: Path) -> None:
    import pydicom

    planted = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    planted.PatientName, planted.PatientID, planted.StudyDate = "Plantedname^Ada", "PLANTED77", "19010203"
    (scans / "Foldername, Ada").mkdir()
    planted.save_as(scans / "Foldername, Ada" / "IM1.dcm")
    (scans / "Foldername, Ada" / "IM2.dcm").write_bytes(b"broken")
    (scans / "Foldername, Ada" / "IM3.zip.png").write_bytes(b"PK\x03\x04")
    (scans / "Foldername, Ada" / "IM4.png").write_bytes(b"")
    label("tumor")
    told = " ".join(path.as_posix().removeprefix(out.as_posix()) for path in out.rglob("*"))
    told += "".join(path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file())
    assert [word for word in ("Plantedname", "PLANTED77", "19010203", "Foldername", str(scans)) if word in told] == []
    assert records_of(out)["IM1"].status in {"done", "not found"}
    assert records_of(out)["IM4"].reason == "is empty"


def test_the_same_bits_come_out_of_a_folder_that_was_moved(label: Label, scans: Path, out: Path) -> None:
    label("tumor")
    moved = scans.with_name("moved")
    scans.rename(moved)
    assert asked_again(label, "tumor", source=moved) == set()


def test_what_a_killed_run_left_without_a_record_goes_when_nobody_asks_for_it_any_more(label: Label, out: Path) -> None:
    label("heart")
    whole = tree(out)
    label("tumor", "heart")
    case = records_of(out)["a heart"].case
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for line in lines:
        if line["case"] == case and line["prompt"] == "tumor":
            line.update(status="begun", outputs={})
    (out / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert (out / "masks" / "tumor" / f"{case}.png").exists()
    (out / "masks" / "tumor" / ".x.partial-1234.png").write_bytes(b"torn")
    label("heart")
    assert tree(out) == whole
    assert not (out / "masks" / "tumor").exists()


@pytest.mark.slow
def test_three_hundred_mixed_files_of_which_a_tenth_are_broken_all_end_in_a_record(
    label: Label, scans: Path, out: Path
) -> None:
    shutil.rmtree(scans)
    dicom_bytes = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    for index in range(300):
        path = scans / f"{index % 7}" / f"scan{index:03d}{('.png', '.jpg', '.dcm', '.nii.gz')[index % 4]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = bright_square(40, 60, top=index % 30, left=index % 50, side=10)
        if path.suffix == ".dcm":
            path.write_bytes(dicom_bytes)
        elif path.suffix == ".gz":
            nib.save(nib.Nifti1Image(pixels.T[..., None], np.eye(4)), path)
        else:
            Image.fromarray(pixels).save(path)
        if index % 10 == 3:
            path.write_bytes(path.read_bytes()[: 50 * (index % 3)])
    summary = label("tumor")
    assert (summary.total, summary.counts["refused"], summary.read) == (300, 30, 270)
    records = read_manifest(out / "manifest.jsonl").values()
    named = {name for record in records for name in record.outputs}
    assert named == {name for name in tree(out) if "/" in name}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell a process its memory")
def test_memory_is_flat_over_a_thousand_images(label: Label, scans: Path) -> None:
    """One image of 256 x 256 pixels is 0.75 MiB once read: of 700, any that were held would show."""
    for index in range(997):
        Image.fromarray(bright_square(256, 256, top=index % 200, left=30, side=40)).save(scans / f"more{index}.png")
    resident_mib: list[float] = []

    class Watched(BrightSegmenter):
        def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
            return super().segment(image, text, **options)

    assert label("tumor", segmenter=Watched()).read == 999
    assert resident_mib[-1] - resident_mib[300] < 32
