"""Is every image of a folder a case, with its own prompts, and nothing else?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from run_folders import save_scan

from medclipsam.errors import BadInput
from medclipsam.runs import find_cases


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"broken")
    return folder


def places(folder: Path, **options: object) -> list[str]:
    cases = find_cases(folder, **{"prompts": ("x",), **options})
    return [case.path.relative_to(folder).as_posix() for case in cases]


def test_images_at_any_depth_are_cases_even_where_they_are_broken(tmp_path: Path) -> None:
    touched(tmp_path, "b.PNG", "a/deep/scan.dcm", "a/v.nii.gz", "c.npy")
    assert places(tmp_path) == ["a/deep/scan.dcm", "a/v.nii.gz", "b.PNG", "c.npy"]


def test_what_is_hidden_and_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", ".hidden.png", ".cache/b.png", "notes.txt", "table.csv", "no-suffix")
    assert places(tmp_path) == ["a.png"]


def picture(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


SHADES = np.arange(256).reshape(16, 16)
BLOCK = np.where((SHADES > 100) & (SHADES < 200), 255, 0)


def test_masks_among_the_images_that_they_belong_to_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b/x (1).png", "b/y.png", "b/y_gt.png", "lone.png"):
        picture(tmp_path / name, SHADES)
    for name in ("b/x (1)_mask.png", "b/x (1)_mask_1.png", "b/y_mask.jpg", "lonely_mask.png", "other/y_mask.png"):
        picture(tmp_path / name, BLOCK)
    picture(tmp_path / "b" / "y_seg.bmp", BLOCK * 0)
    touched(tmp_path, "b/x (1)_label.png")
    kept = ["b/x (1).png", "b/x (1)_label.png", "b/y.png", "b/y_gt.png", "lone.png", "lonely_mask.png"]
    assert places(tmp_path) == [*kept, "other/y_mask.png"]
    assert caplog.messages == [
        "left out as masks of the images beside them: 4 files, as x (1)_mask.png (--masks-too takes them)"
    ]
    assert len(places(tmp_path, masks_too=True)) == 11


def test_volumes_may_have_masks_beside_them_too(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(SHADES.astype(np.int16)[..., None], np.eye(4)), tmp_path / "v.nii.gz")
    nib.save(nib.Nifti1Image((SHADES // 64).astype(np.uint8)[..., None], np.eye(4)), tmp_path / "v_gt.nii.gz")
    assert places(tmp_path) == ["v.nii.gz"]


def test_a_mask_that_a_table_names_is_a_case(tmp_path: Path) -> None:
    picture(tmp_path / "x.png", SHADES)
    picture(tmp_path / "x_mask.png", BLOCK)
    (tmp_path / "t.csv").write_text("file,prompt\nx_mask.png,y\n")
    assert places(tmp_path, table=tmp_path / "t.csv") == ["x.png", "x_mask.png"]


def test_a_file_whose_name_says_nothing_is_known_by_its_content(tmp_path: Path) -> None:
    save_scan(tmp_path / "scan.png").rename(tmp_path / "IM0001")
    assert places(tmp_path) == ["IM0001"]


def test_a_header_and_its_voxels_are_one_case(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Pair(np.zeros((4, 4, 2), np.uint8), np.eye(4)), tmp_path / "v.hdr")
    assert {path.name for path in tmp_path.iterdir()} == {"v.hdr", "v.img"}
    assert places(tmp_path) == ["v.hdr"]


def test_the_results_are_not_among_the_scans(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "out/masks/x/a.png", "out2/b.png")
    assert places(tmp_path, passed_over=tmp_path / "out") == ["a.png", "out2/b.png"]


def test_names_tell_files_of_one_name_apart_and_do_not_change_when_the_folder_moves(tmp_path: Path) -> None:
    touched(tmp_path / "here", "u/a.png", "v/a.png")
    names = [case.name for case in find_cases(tmp_path / "here", ("x",))]
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert [case.name for case in find_cases(tmp_path / "there", ("x",))] == names
    assert len(set(names)) == 2
    assert all(name.startswith("a-") for name in names)


def test_names_say_nothing_of_the_folders(tmp_path: Path) -> None:
    touched(tmp_path, "Müller, Ada/IM 1.dcm")
    (case,) = find_cases(tmp_path, ("x",))
    assert case.name.rpartition("-")[0] == "IM-1"


def test_a_table_gives_each_file_its_prompts_by_path_or_by_a_name_that_only_one_has(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "u/b.png", "u/c.png", "v/c.png", "d.png")
    table = tmp_path / "prompts.json"
    table.write_text(json.dumps({"./a.png": "one", "b.png": ["two", "three"], "c.png": "nobody's", "gone.png": "four"}))
    cases = find_cases(tmp_path, table=table)
    assert {case.path.relative_to(tmp_path).as_posix(): case.prompts for case in cases} == {
        "a.png": ("one",),
        "c.png": ("nobody's",),
        "d.png": (),
        "gone.png": ("four",),
        "u/b.png": ("two", "three"),
        "u/c.png": (),
        "v/c.png": (),
    }


def test_common_prompts_are_for_files_that_the_table_does_not_name(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "b.png")
    table = tmp_path / "prompts.csv"
    table.write_text("file,prompt\na.png,own\n")
    assert [case.prompts for case in find_cases(tmp_path, ("common",), table)] == [("own",), ("common",)]


def test_a_table_can_be_the_source_with_prompts_of_its_own_or_without(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "u/b.png", "not-listed.png")
    table = tmp_path / "list.csv"
    table.write_text("file,prompt,age\na.png,one,3\nu/b.png,two,4\na.png,three,3\n")
    assert [case.prompts for case in find_cases(table)] == [("one", "three"), ("two",)]
    table.write_text("file\nu/b.png\na.png\n")
    assert [case.prompts for case in find_cases(table, ("all",))] == [("all",), ("all",)]
    assert [case.name for case in find_cases(table, ("all",))] == [
        case.name for case in find_cases(tmp_path, ("all",)) if "not-listed" not in case.name
    ]


def test_a_table_may_name_files_elsewhere(tmp_path: Path) -> None:
    elsewhere = touched(tmp_path / "elsewhere", "a.png") / "a.png"
    table = touched(tmp_path / "tables", "list.json") / "list.json"
    table.write_text(json.dumps({str(elsewhere): "one", "../elsewhere/a.png": "two"}))
    assert {case.path.resolve() for case in find_cases(table)} == {elsewhere}


def test_one_file_is_a_source(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "b.png")
    (case,) = find_cases(tmp_path / "a.png", ("x",))
    assert case == find_cases(tmp_path, ("x",))[0]


@pytest.mark.parametrize(
    ("source", "prompts", "said"),
    [
        ("missing", ("x",), "there is no"),
        ("empty", ("x",), "holds no images"),
        (".", (), "nothing says what to segment"),
        (".", ("",), "the prompt is empty"),
        ("bare.csv", ("x",), "no column file"),
        ("none.csv", ("x",), "names no files"),
    ],
)
def test_what_leads_to_no_case_is_refused(tmp_path: Path, source: str, prompts: tuple[str, ...], said: str) -> None:
    touched(tmp_path, "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare.csv").write_text("path\na.png\n")
    (tmp_path / "none.csv").write_text("file\n")
    with pytest.raises(BadInput, match=said):
        find_cases(tmp_path / source, prompts)
