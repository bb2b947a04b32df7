"""The tools that exports are for read them: the same pixels, no errors."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from export_scans import Exporting, Labelling, bright, write_volume
from tool_venv import installed

pytestmark = pytest.mark.slow
READ = {
    "supervision": """
import sys, numpy, supervision
for part in ("train", "val"):
    root = sys.argv[1]
    read = supervision.DetectionDataset.from_yolo(f"{root}/images/{part}", f"{root}/labels/{part}", f"{root}/data.yaml")
    for path, _, found in read:
        masks[path.split("/")[-1].split(".")[0]] = found.mask.any(axis=0)
""",
    "label-studio-sdk": """
import json, sys
from label_studio_sdk.converter import brush
for task in json.load(open(sys.argv[1] + "/tasks.json")):
    (result,) = task["predictions"][0]["result"]
    size = result["original_height"], result["original_width"], 4
    name = task["data"]["image"].split("/")[-1].split(".")[0]
    masks[name] = brush.decode_rle(result["value"]["rle"]).reshape(size)[..., 3] > 0
""",
    "labelme": """
import glob, sys
from labelme._label_file import read_label_file
from labelme.utils.shape import shapes_to_label
for path in glob.glob(sys.argv[1] + "/*.json"):
    shapes = read_label_file(path).shapes
    masks[path.split("/")[-1].split(".")[0]] = shapes_to_label((40, 60), shapes, {"tumor": 1})[0] > 0
""",
}
"""What puts the masks that a tool reads into `masks`, by the name of their image."""
NEEDED = {
    "supervision": ("supervision==0.31.2", "pydeprecate==0.13.0", "defusedxml==0.7.1"),
    "label-studio-sdk": ("label-studio-sdk==2.1.2", "ijson==3.6.0", "ujson==6.1.0"),
    "labelme": ("labelme==6.3.1", "loguru==0.7.3", "natsort==8.4.0", "imgviz==2.1.0", "pyqt5==5.15.11"),
}


Install = Callable[..., Path]


@pytest.fixture(scope="module")
def install(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Makes an environment with packages, once; gives the folder of its programs."""
    return cache(lambda *packages, **options: installed(tmp_path_factory.mktemp("tool"), *packages, **options))


def run(python: Path, code: str, *arguments: object) -> str:
    """What a program prints."""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    ran = subprocess.run(
        [python, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    "asked",
    [
        ("supervision", "yolo", "masks"),
        ("label-studio-sdk", "labelstudio", "masks"),
        ("labelme", "labelme", "masks"),
        ("labelme", "labelme", "polygons"),
    ],
    ids="-".join,
)
def test_the_tool_reads_the_same_pixels(
    labelled: Labelling, exported: Exporting, install: Install, asked: tuple[str, str, str]
) -> None:
    tool, layout, shapes = asked
    programs = install(*NEEDED[tool], alone=tool != "labelme")
    labelled("tumor")
    folder, _ = exported(layout, shapes=shapes)
    code = f"import numpy\nmasks = {{}}\n{READ[tool]}\nnumpy.savez(sys.argv[2], **masks)"
    run(programs / "python", code, folder, folder.with_suffix(".npz"))
    read = np.load(folder.with_suffix(".npz"))
    images = {path.stem: path for path in folder.rglob("*.*g")}
    assert read.files and set(read.files) == set(images)
    for name, path in images.items():
        np.testing.assert_array_equal(read[name], bright(path))


def test_bids_validator_finds_no_error(scans: Path, labelled: Labelling, exported: Exporting, install: Install) -> None:
    programs = install("bids-validator-deno==3.0.2")
    write_volume(scans / "v.nii.gz")
    labelled("breast tumor", "unicorn")
    folder, _ = exported("bids")
    ran = subprocess.run(
        [programs / "bids-validator-deno", folder, "--format", "json"], capture_output=True, text=True, check=False
    )
    issues = json.loads(ran.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert {issue["code"] for issue in issues} <= {"TOO_FEW_AUTHORS", "SIDECAR_KEY_RECOMMENDED"}


@pytest.mark.parametrize("kind", ["pictures", "volumes"])
def test_nnunet_finds_its_raw_data_sound_and_plans_on_it(
    scans: Path, labelled: Labelling, exported: Exporting, install: Install, kind: str
) -> None:
    programs = install("nnunetv2==2.8.1")
    write_volume(scans / "v.nii.gz")
    write_volume(scans / "w.mha", first=6)
    labelled("tumor", "liver", ignore_band=0.3)
    folder, _ = exported("nnunet", name="Dataset001_x", only=kind)
    places = {"nnUNet_raw": str(folder.parent)}
    places |= {f"nnUNet_{part}": str(folder.parent / part) for part in ("preprocessed", "results")}
    ran = subprocess.run(
        [
            programs / "nnUNetv2_plan_and_preprocess",
            *["-d", "1", "--verify_dataset_integrity", "-c", "2d", "-np", "1", "-npfp", "1"],
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | places,
    )
    assert ran.returncode == 0, ran.stderr
    assert "verify_dataset_integrity Done" in ran.stdout
    assert "Error" not in ran.stdout and "Warning" not in ran.stdout
