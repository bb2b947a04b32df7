"""Does a command load only what it needs? What it loads without need is what a person waits for."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from medclipsam import cli

WATCHED = {
    *("PIL", "cv2", "filelock", "highdicom", "matplotlib", "nibabel", "numpy", "onnxruntime", "open_clip", "openvino"),
    *("pydicom", "rich"),
    *("safetensors", "scipy", "segment_anything", "skimage", "sympy", "timm", "tokenizers", "torch", "torch._dynamo"),
    *("torch._inductor", "torchvision", "transformers"),
}
"""What takes long to load, or is loaded by something that does."""
MODEL = {"torch", "safetensors", "tokenizers"}
PICTURES = {"PIL", "cv2", "numpy"}
RUNS = {"filelock"}


@pytest.fixture
def ramp(tmp_path: Path) -> str:
    """A PNG that shows something."""
    Image.fromarray(np.arange(64 * 48, dtype=np.uint32).reshape(48, 64).astype(np.uint8)).save(tmp_path / "ramp.png")
    return str(tmp_path / "ramp.png")


@pytest.fixture
def masks(tmp_path: Path) -> str:
    """A folder with one mask."""
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.eye(32, dtype=np.uint8) * 255).save(tmp_path / "masks" / "case.png")
    return str(tmp_path / "masks")


def loaded_by(*arguments: str) -> set[str]:
    """What of the watched libraries a process has loaded when the command ends."""
    code = "import sys\nfrom medclipsam.cli import main\ntry:\n    main()\nexcept SystemExit as end:\n"
    code += "    print('\\n'.join(['modules:', *sys.modules]), file=sys.stderr)\n    sys.exit(end.code)\n"
    ran = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    return set(ran.stderr.split("modules:\n")[1].splitlines()) & WATCHED


def test_help_loads_what_draws_it() -> None:
    assert loaded_by("--help") <= {"rich"}


def test_info_loads_torch_and_what_torch_loads() -> None:
    assert loaded_by("info") <= {"rich", "torch", "numpy", "cv2"}


def test_evaluate_loads_what_measures_pictures(masks: str) -> None:
    assert loaded_by("evaluate", masks, masks) <= {"rich", "scipy", *PICTURES, *RUNS}


def test_a_picture_is_segmented_by_torch_alone(ramp: str, tmp_path: Path) -> None:
    loaded = loaded_by("segment", ramp, "--prompt", "breast tumor", "-o", str(tmp_path / "out"))
    assert loaded <= {*MODEL, *PICTURES, *RUNS}


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("scan", ["ramp.png", "CT_small.dcm"])
def test_an_engine_segments_what_was_taught_without_torch_or_a_tokenizer(scan: str, ramp: str, tmp_path: Path) -> None:
    is_dicom = scan.endswith(".dcm")
    file = str(get_testdata_file(scan)) if is_dicom else ramp
    options = ("--encoder-engine", "openvino", "-o", str(tmp_path / "out"))
    loaded = loaded_by("segment", file, "--prompt", "breast tumor", *options)
    dicom = {"pydicom", "highdicom"} if is_dicom else set()
    assert loaded <= {"openvino", "safetensors", *dicom, *PICTURES, *RUNS}


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_an_engine_labels_a_folder_without_torch(ramp: str, tmp_path: Path) -> None:
    options = ("--encoder-engine", "openvino", "-o", str(tmp_path / "out"))
    loaded = loaded_by("pseudolabel", ramp, "--prompt", "breast tumor", *options)
    assert loaded <= {"openvino", "safetensors", "rich", *PICTURES, *RUNS}


@pytest.mark.parametrize(("written", "needs"), [("seg", {"highdicom"}), ("png", set())])
def test_a_dicom_file_needs_its_reader_and_a_writer_where_dicom_is_written(
    written: str, needs: set[str], tmp_path: Path
) -> None:
    scan = str(get_testdata_file("CT_small.dcm"))
    loaded = loaded_by("segment", scan, "--prompt", "liver", "--format", written, "-o", str(tmp_path / "out"))
    assert loaded <= {"pydicom", *needs, *MODEL, *PICTURES, *RUNS}


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_the_list_of_commands_says_of_each_what_its_own_help_says_first(command: str) -> None:
    module, attribute = cli.COMMANDS[command].split(":")
    found = getattr(importlib.import_module(module), attribute)
    told = found.info.help if hasattr(found, "info") else found.__doc__
    assert cli.SUMMARIES[command] == told.strip().splitlines()[0]


def test_garbage_is_collected_as_python_does_once_the_models_are_loaded() -> None:
    code = "import gc\nusual = gc.get_threshold()\nfrom medclipsam import cli\n"
    code += "cli.set_up()\npatient = gc.get_threshold()\ncli.settle()\n"
    code += "print(patient > usual, gc.get_threshold() == usual, gc.get_freeze_count() > 0)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "True", "True"]
