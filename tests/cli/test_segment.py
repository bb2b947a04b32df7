"""Does the segment command pass on what is typed, answer in words or JSON, and refuse in one line?"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright import bright_square
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from rich.console import Console
from typed import typed
from typer.testing import Result

from medclipsam.cli.console import progress
from medclipsam.cli.options import MAX_PIXELS
from medclipsam.cli.segment import summary
from medclipsam.io.limits import DEFAULT_MAX_PIXELS
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.report import image_record, result_record
from medclipsam.types import MedImage, NothingFound, Segmentation

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, loaded: list[Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Segment a 40 x 60 scan with a bright square of 10 x 10 at row 5, column 20."""
    Image.fromarray(bright_square(40, 60, top=5, left=20, side=10)).save(tmp_path / "scan.png")
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return typed("segment", *arguments)

    return invoke


def test_the_summary_says_what_was_found_and_where_the_files_are(run: Run) -> None:
    result = run("scan.png", "--prompt", "tumor", "--prompt", "unicorn", "-o", "out")
    assert result.exit_code == 0, result.output
    first, second, *_ = result.stdout.splitlines()
    assert first == "tumor: found, 100 px (presence 0.78)"
    assert second == "unicorn: not found: presence is below the threshold (presence 0.00)"
    assert RESEARCH_USE_ONLY in result.stdout
    named = [Path(line.strip()) for line in result.stdout.splitlines() if line.startswith("  ")]
    assert len(named) == 4
    assert all(path.is_file() for path in named)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("sam_empty", "tumor: not found: Segment Anything drew no mask where it was asked (presence 0.56)"),
        ("no_region", "tumor: not found: the evidence marks no region (presence 0.56)"),
        ("below_threshold", "tumor: not found: presence is below the threshold (presence 0.56)"),
        (None, "tumor: not found (presence 0.56)"),
    ],
)
def test_the_summary_says_why_nothing_was_found(reason: NothingFound | None, line: str) -> None:
    none = np.zeros((4, 5), np.float32)
    image = MedImage(pixels=np.zeros((4, 5, 3), np.float32), name="scan")
    result = Segmentation(
        prompt="tumor", mask=none > 0, probability=none, saliency=none, found=False, presence=0.56, reason=reason
    )
    images = [image_record(image, [result_record(image, result, {})])]
    assert summary({"images": images, "notice": ""}, Path("out")).splitlines()[0] == line


def test_a_note_on_an_answer_is_told_once_and_stands_in_the_report() -> None:
    none = np.zeros((4, 5), np.float32)
    image = MedImage(pixels=np.zeros((4, 5, 3), np.float32), name="scan")
    result = Segmentation(prompt="x", mask=none > 0, probability=none, saliency=none, found=False, notes=("cut",))
    record = result_record(image, result, {})
    assert record["notes"] == ["cut"]
    told = summary({"images": [image_record(image, [record])] * 2, "notice": ""}, Path("out"))
    assert told.splitlines().count("note: cut") == 1


def test_a_side_that_cannot_be_told_is_refused_before_anything_is_loaded(run: Run, loaded: list[Any]) -> None:
    result = run("scan.png", "-p", "lungs", "-p", "left upper lobe", "-o", "out")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "cannot tell the side that 'left upper' names; say it before the structure" in result.stderr
    assert (loaded, Path("out").exists()) == ([], False)
    assert run("scan.png", "-p", "left upper lobe", "--box", "15,1,35,20", "-o", "out").exit_code == 0
    assert run("scan.png", "-p", "left upper lobe", "--preset", "medclip-samv2", "-o", "out").exit_code == 0


def test_formats_may_be_repeated_and_all_files_are_named(run: Run) -> None:
    formats = ["--format", "png", "--format", "seg"]
    result = run(str(get_testdata_file("CT_small.dcm")), "-p", "liver", "-o", "out", *formats)
    assert result.exit_code == 0, result.output
    named = [Path(line.strip()) for line in result.stdout.splitlines() if line.startswith("  ")]
    assert sorted(path.suffix for path in named) == [".dcm", ".json", ".png", ".png"]
    assert all(path.is_file() for path in named)


def test_the_type_of_a_seg_reaches_the_writer(run: Run) -> None:
    result = run(str(get_testdata_file("CT_small.dcm")), "-p", "liver", "-o", "out", "--seg-type", "fractional")
    assert result.exit_code == 0, result.output
    (seg,) = Path("out").glob("*_seg.dcm")
    assert dcmread(seg).SegmentationType == "FRACTIONAL"


def test_json_prints_the_report_and_nothing_else(run: Run) -> None:
    result = run("scan.png", "-p", "tumor", "-o", "out", "--json")
    assert json.loads(result.stdout) == json.loads(Path("out/report.json").read_text())
    assert result.stderr == ""


def test_away_from_a_terminal_nothing_goes_to_stderr(run: Run) -> None:
    assert run("scan.png", "-p", "tumor", "-o", "out").stderr == ""


def test_what_the_models_are_reaches_the_loader(run: Run, loaded: list[Any]) -> None:
    asked = ["--preset", "p", "--device", "cpu", "--precision", "bf16", "--seed", "7", "--weights", "w.bin"]
    run("scan.png", "-p", "x", *asked)
    assert loaded == [
        (
            "p",
            {
                "device": "cpu",
                "precision": "bf16",
                "seed": 7,
                "weights": Path("w.bin"),
                "sam_weights": None,
                "encoder_engine": "torch",
                "cache": None,
            },
        )
    ]


def test_boxes_and_points_are_read_from_text(run: Run) -> None:
    result = run("scan.png", "-p", "x", "--json", "--box", "22,6,25,9", "--box", "27,6,28,7", "--points", "23,7;1,2,0")
    (answer,) = json.loads(result.stdout)["images"][0]["results"]
    assert answer["boxes"] == [[22, 6, 25, 9], [27, 6, 28, 7]]
    assert answer["points"] == [{"x": 23, "y": 7, "inside": True}, {"x": 1, "y": 2, "inside": False}]
    assert answer["area_px"] == 16 + 4


def test_nothing_found_is_exit_code_zero(run: Run) -> None:
    assert run("scan.png", "-p", "unicorn", "-o", "out").exit_code == 0


def test_the_default_limit_is_the_readers(run: Run) -> None:
    assert MAX_PIXELS == DEFAULT_MAX_PIXELS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.png", "-p", "x"], "missing.png"),
        (["scan.png", "-p", ""], "empty"),
        (["scan.png", "-p", "x" * 10_000], "10,000 characters"),
        (["scan.png", "-p", "x", "--box", "1,2,3"], "four numbers"),
        (["scan.png", "-p", "x", "--box", "1,2,3,nan"], "four numbers"),
        (["scan.png", "-p", "x", "--box", "9,9,1,1"], "wrong order"),
        (["scan.png", "-p", "x", "--box", "70,0,80,9"], "outside the image"),
        (["scan.png", "-p", "x", "--points", "1"], "pairs of numbers"),
        (["scan.png", "-p", "x", "--points", "1,2,3"], "pairs of numbers"),
        (["scan.png", "-p", "x", "--points", "1,99"], "outside the image"),
        (["scan.png", "-p", "x", "--slice", "-1"], "no number or span"),
        (["scan.png", "-p", "x", "--slice", "1", "--frame", "all"], "exclude"),
        (["scan.png", "-p", "x", "--slices", "5:x"], "no number or span"),
        (["scan.png", "-p", "x", "--slices", "0:9"], "made of images"),
        (["scan.png", "-p", "x", "--frame", "3:2"], "has 1 images, none of them chosen"),
        (["scan.png", "-p", "x", "--series", "1"], "leave the series out"),
        (["scan.png", "-p", "x", "--axis", "up"], "axis 'up'"),
        (["scan.png", "-p", "x", "--window", "fog"], "window 'fog'"),
        (["scan.png", "-p", "x", "--max-pixels", "0"], "max_pixels"),
        (["scan.png", "-p", "x", "--max-pixels", "99"], "more than the limit"),
        (["scan.png", "-p", "x", "--format", "nifti"], "lies on a volume"),
        (["scan.png", "-p", "x", "--format", "seg"], "DICOM SEG lies on a DICOM image"),
        (["scan.png", "-p", "x", "--format", "png", "--format", "gif"], "format 'gif' is not known"),
        (["scan.png", "-p", "x", "--seg-type", "labelmap"], "no DICOM SEG is written"),
        (["scan.png", "-p", "x", "-o", "scan.png"], "not a folder"),
        ([".", "-p", "x"], "folder"),
    ],
)
def test_bad_input_is_one_line_exit_code_two_and_nothing_written(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert [path.name for path in Path().iterdir()] == ["scan.png"]


@pytest.mark.parametrize("arguments", [[], ["scan.png"], ["scan.png", "-p", "x", "--seed", "many"]])
def test_wrong_usage_is_exit_code_two(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_an_unknown_preset_is_refused_with_the_choices(tmp_path: Path) -> None:
    Image.fromarray(bright_square(40, 60, 5, 20, 10)).save(tmp_path / "scan.png")
    arguments = ["segment", str(tmp_path / "scan.png"), "-p", "x", "--preset", "best", "-o", str(tmp_path / "out")]
    result = typed(*arguments)
    assert result.exit_code == 2
    assert "embedded" in result.stderr
    assert not (tmp_path / "out").exists()


def test_on_a_terminal_the_stage_is_shown_and_elsewhere_nothing() -> None:
    shown, quiet = io.StringIO(), io.StringIO()
    for stream, terminal in ((shown, True), (quiet, False)):
        with progress(Console(file=stream, force_terminal=terminal, width=100)) as tell:
            tell("reading", 0, 0)
            tell('segmenting "[/red]"', 3, 12)
    assert 'segmenting "[/red]"' in shown.getvalue()
    assert "3/12" in shown.getvalue()
    assert quiet.getvalue() == ""
