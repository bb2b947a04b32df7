"""The files of a run are called what their scans are called, and never what another scan is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from run_folders import save_scan, tree

from medclipsam.runs import LabelRequest, Record, Summary, read_manifest
from medclipsam.runs.layout import _ENDING
from medclipsam.runs.manifest import is_output
from medclipsam.runs.stems import stems

Label = Callable[..., Summary]


def called(*files: str) -> dict[str, str]:
    """The stem of each file."""
    paths = [PurePosixPath(file) for file in files]
    names = {path: f"scan-{number:08x}" for number, path in enumerate(paths)}
    return {path.as_posix(): stem for path, (stem, _) in stems(paths, names).items()}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("siteA/benign_111.png",), ("siteA/benign_111",)),
        (("v.nii.gz", "w.v.1.dcm"), ("v", "w.v.1")),
        (("a.png", "a.jpg"), ("a-png", "a-jpg")),
        (("a.png", "u/a.jpg"), ("a", "u/a")),
        (("A.png", "a.png"), ("A-00000000", "a-00000001")),
        (("a.png", "a.jpg", "a-png.tif"), ("a-00000000", "a-jpg", "a-png")),
        (("v.nii.gz", "v-s0003.png"), ("v", "v-s0003-00000001")),
        (("liver_0000.nii.gz", "spleen_0000.nii.gz"), ("liver", "spleen")),
        (("x_0000.png", "x_0001.png", "y_0000.png", "y_0001.png"), ("x", "x_0001", "y", "y_0001")),
        (("IMG_0000.png", "other.png"), ("IMG_0000", "other")),
        (("IMG_0007.png",), ("IMG_0007",)),
        (("../elsewhere.png", "b\\c.png", "d\n.png", f"{'e' * 200}.png"), tuple(f"scan-0000000{n}" for n in range(4))),
    ],
)
def test_a_scan_gives_its_name_to_its_files(files: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert tuple(called(*files).values()) == expected


PARTS = st.text(st.sampled_from("abA01_-.s \u00e9"), min_size=1, max_size=6)


@given(st.lists(st.tuples(PARTS, st.sampled_from([".png", ".jpg", ".nii.gz", ""])), unique=True, max_size=8))
def test_no_two_scans_share_a_name_and_no_name_leads_elsewhere(names: list[tuple[str, str]]) -> None:
    files = [stem + suffix for stem, suffix in names if not set(stem) <= {".", " "}]
    given_stems = list(called(*dict.fromkeys(files)).values())
    assert len({stem.casefold() for stem in given_stems}) == len(given_stems)
    assert all(is_output(f"masks/tumor/{stem}.png") for stem in given_stems)
    for stem in given_stems:
        others = [other for other in given_stems if other != stem and f"{other}.png".startswith(stem)]
        assert not [other for other in others if _ENDING.fullmatch(f"{other}.png".removeprefix(stem))]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def records(out: Path) -> dict[str, Record]:
    return {record.spoken: record for record in read_manifest(out / "manifest.jsonl").values()}


def test_a_folder_of_results_mirrors_the_folder_of_scans(label: Label, scans: Path, out: Path) -> None:
    Image.open(scans / "a.png").save(scans / "u" / "b.bmp")
    label("breast tumor", safe_names=False)
    found = records(out)
    assert set(found) == {"a.png", "u/b.png", "u/b.bmp", "broken.png"}
    masks = sorted(path.relative_to(out / "masks").as_posix() for path in (out / "masks").rglob("*.png"))
    assert masks == ["breast-tumor/a.png", "breast-tumor/u/b-bmp.png", "breast-tumor/u/b-png.png"]
    assert found["u/b.png"].warnings == ("another scan has the same name, so the files of this one are called u/b-png",)
    assert found["a.png"].outputs.keys() == {"masks/breast-tumor/a.png", "overlays/breast-tumor/a.jpg"}


def test_a_scan_with_a_new_neighbour_of_its_name_is_done_again_under_its_new_name(
    label: Label, scans: Path, out: Path
) -> None:
    label("tumor", safe_names=False)
    Image.open(scans / "a.png").save(scans / "a.bmp")
    assert label("tumor", safe_names=False).kept == 1
    assert sorted(path.name for path in (out / "masks" / "tumor").glob("*.png")) == ["a-bmp.png", "a-png.png"]


def test_with_safe_names_nothing_tells_what_a_scan_was_called(label: Label, scans: Path, out: Path) -> None:
    save_scan(scans / "DOE_JANE" / "DOE_JANE.png")
    label("tumor", safe_names=True)
    assert not [name for name, content in tree(out).items() if "DOE" in name or b"DOE" in content]
    label("tumor", safe_names=False)
    assert (out / "masks" / "tumor" / "DOE_JANE" / "DOE_JANE.png").is_file()
    assert {path.name for path in (out / "masks" / "tumor").iterdir()} == {"a.png", "u", "DOE_JANE"}


def test_slices_as_pictures_carry_their_number(label: Label, scans: Path, out: Path) -> None:
    voxels = np.zeros((30, 20, 2), np.float32)
    voxels[8:14, 4:9] = 1.0
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), scans / "u" / "v.nii.gz")
    label("tumor", safe_names=False, formats=("png",))
    assert {path.name for path in (out / "masks" / "tumor" / "u").iterdir()} == {"b.png", "v-s0000.png", "v-s0001.png"}


def test_several_formats_lie_side_by_side(label: Label, out: Path) -> None:
    label("tumor", safe_names=False, formats=("png", "npy"))
    assert {path.name for path in (out / "masks" / "tumor").glob("a.*")} == {"a.png", "a.npy"}


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.png", "masks/../run.json", "masks/tumor/../../x.png", "/etc/passwd.png", "masks/a.png"),
        *("notes/t/a.png", "masks/tumor/a.exe", "masks/tumor//a.png", "masks/tumor/a\0.png"),
    ],
)
def test_a_record_names_nothing_outside_the_folders_of_a_run(name: str) -> None:
    assert not is_output(name)


def test_a_request_that_would_write_among_its_scans_is_none(tmp_path: Path) -> None:
    from medclipsam.errors import BadInput

    with pytest.raises(BadInput, match="among the scans"):
        LabelRequest(source=tmp_path, output=tmp_path, prompts=("x",))
