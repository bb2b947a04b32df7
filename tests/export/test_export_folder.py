"""An export appears whole or not at all, names no patient, and takes no mask that it should not."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from export_scans import Exporting, Labelling, write_volume
from PIL import Image
from typed import typed

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.export.choice import Rules
from medclipsam.io.atomic import new_folder

LAYOUTS = ("coco", "yolo", "labelme", "labelstudio", "nnunet", "slicer", "bids")


@contextmanager
def no_file_of(size: int) -> Iterator[None]:
    """Files of this many bytes cannot be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_that_cannot_be_written_leaves_nothing_of_the_export(
    labelled: Labelling, exported: Exporting, layout: str
) -> None:
    labelled("tumor")
    folder, _ = exported(layout)
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    before = sorted(folder.parent.rglob("*"))
    with no_file_of(largest), pytest.raises(CannotWrite, match="File too large"):
        exported(layout)
    assert sorted(folder.parent.rglob("*")) == before


def test_a_folder_that_holds_files_is_refused_and_an_empty_one_is_filled(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    labelled("tumor")
    scans.with_name("coco").mkdir()
    folder, _ = exported("coco")
    with pytest.raises(BadInput, match="is not an empty folder"):
        exported("yolo", name="coco")
    assert {path.name for path in folder.iterdir()} == {"annotations.json", "images"}


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="is the current folder"), new_folder(Path()):
        pass


def test_a_folder_appears_at_the_end_with_those_above_it_or_they_go_too(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a" / "b") as stage:
        (stage / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "c" / "d"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_of_scans_reach_neither_names_nor_texts_unless_they_are_wanted(
    labelled: Labelling, exported: Exporting, layout: str
) -> None:
    labelled("tumor")
    folder, _ = exported(layout)
    for path in folder.rglob("*"):
        assert "doe" not in path.relative_to(folder).as_posix().lower()
        if path.suffix in (".json", ".txt", ".yaml", ".csv", ".tsv", ".xml"):
            assert "doe" not in path.read_text().lower()
    own, _ = exported(layout, name="own", own_names=True)
    assert any("DOE" in path.name for path in own.rglob("*"))


def test_a_scan_of_which_one_prompt_is_doubtful_is_left_out_unless_doubtful_ones_are_wanted(
    labelled: Labelling, exported: Exporting
) -> None:
    labels = labelled("tumor", "liver")
    manifest = labels / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    (record,) = [line for line in lines if line["file"] == "a.png" and line["prompt"] == "tumor"]
    (labels / "doubtful" / "tumor").mkdir(parents=True)
    shutil.move(labels / "masks" / "tumor" / "a.png", labels / "doubtful" / "tumor" / "a.png")
    record |= {"status": "doubtful", "outputs": {"doubtful/tumor/a.png": record["outputs"]["masks/tumor/a.png"]}}
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    _, tally = exported("coco", name="sure")
    assert tally.counts == {
        "images": 2,
        "annotations": 4,
        "masks left out (another prompt of the scan was left out)": 1,
        "masks left out (doubtful)": 1,
    }
    folder, tally = exported("coco", name="all", rules=Rules(doubtful=True))
    assert tally.counts == {"images": 3, "annotations": 6}
    assert (folder / "images").is_dir()
    _, tally = exported("coco", name="liver", prompts=["liver"])
    assert tally.counts == {"images": 3, "annotations": 3}


def test_masks_and_scans_that_changed_or_are_gone_are_left_out_and_counted(
    scans: Path, labelled: Labelling, exported: Exporting
) -> None:
    mask = next((labelled("tumor") / "masks" / "tumor").glob("a*.png"))
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(mask)
    (scans / "b.jpg").unlink()
    write_volume(scans / "v.nii.gz")
    labelled("tumor")
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(mask)
    write_volume(scans / "v.nii.gz", first=5)
    _, tally = exported("coco")
    assert tally.counts == {
        "images": 1,
        "annotations": 1,
        "masks left out (the mask changed since it was written)": 1,
        "masks left out (the scan changed since it was labelled)": 1,
    }
    with pytest.raises(BadInput, match="no prompt 'spleen'"):
        exported("coco", name="x", prompts=["spleen"])


def test_a_mask_of_a_file_that_is_no_picture_says_how_to_label_again(labelled: Labelling, exported: Exporting) -> None:
    labels = labelled("tumor")
    text = (labels / "manifest.jsonl").read_text().replace('masks/tumor/a.png"', 'masks/tumor/a.dcm"')
    (labels / "manifest.jsonl").write_text(text)
    _, tally = exported("coco")
    assert tally.counts["masks left out (no mask that can be read again: label with --format auto or png)"] == 1


def test_images_in_which_nothing_was_found_are_left_out_where_that_is_wanted(
    labelled: Labelling, exported: Exporting
) -> None:
    labelled("unicorn")
    folder, tally = exported("yolo")
    assert tally.counts == {"images": 3, "objects": 0}
    assert {path.read_text() for path in (folder / "labels").rglob("*.txt")} == {""}
    with pytest.raises(BadInput, match="nothing is left to export"):
        exported("coco", skip_absent=True)


def test_the_command_says_what_it_wrote_and_left_out(scans: Path, labelled: Labelling, tmp_path: Path) -> None:
    options = ["export", labelled("tumor"), "--images", scans, "--to"]
    ran = typed(*options, "coco", "-o", tmp_path / "coco", "--json", "--shapes", "polygons", "--copy-images")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout) == {"images": 3, "annotations": 3, "notes": []}
    again = typed(*options, "coco", "-o", tmp_path / "coco")
    assert again.exit_code == 2
    assert "is not an empty folder" in again.stderr
    told = typed(*options, "yolo", "-o", tmp_path / "yolo")
    assert "3 images, 6 objects" in told.stdout
    assert "note: YOLO has no holes" in told.stdout
    assert typed(*options, "coco", "-o", tmp_path / "x", "--link", "--in-place").exit_code == 2
