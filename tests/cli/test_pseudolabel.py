"""Does the command pass on what is typed, say in one line what became of the folder, and go on where it was?"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright import bright_square
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from rich.console import Console
from typed import typed
from typer.testing import Result

from medclipsam.cli.console import progress
from medclipsam.io.dicom.gdcm_child import is_available
from medclipsam.runs.confidence import exponent
from medclipsam.runs.request import RULES

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, loaded: list[Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Label a folder with two bright squares and a broken file."""
    (tmp_path / "scans").mkdir()
    for name, top in (("a", 5), ("b", 20)):
        Image.fromarray(bright_square(40, 60, top=top, left=20, side=10)).save(tmp_path / "scans" / f"{name}.png")
    (tmp_path / "scans" / "broken.png").write_bytes(b"broken")
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str) -> Result:
        return typed("pseudolabel", *arguments)

    return invoke


def records(folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "manifest.jsonl").read_text().splitlines()]


def test_one_line_says_what_became_of_the_folder(run: Run) -> None:
    result = run("scans", "-o", "out", "--prompt", "tumor")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    assert line.startswith("3 cases: 2 done, 1 refused; 0 min")
    assert line.endswith("see out/index.html")
    assert "2 of them by an earlier run" in run("scans", "-o", "out", "--prompt", "tumor").stdout


def test_a_file_that_ends_its_decoder_is_one_record_and_the_others_are_done(run: Run) -> None:
    if not is_available(uid.JPEGLosslessSV1):
        pytest.skip("gdcm is not installed")
    broken = bytearray(Path(str(get_testdata_file("SC_rgb_jpeg_gdcm.dcm", download=False))).read_bytes())
    frame = broken.index(b"\xff\xd8\xff")
    broken[frame + 17], broken[frame + 281] = 240, 147
    Path("scans", "broken.png").rename(Path("scans", "aa.dcm")).write_bytes(broken)
    result = run("scans", "-o", "out", "--prompt", "tumor")
    assert result.exit_code == 0, result.output
    reasons = [record["reason"] for record in records() if record["status"] == "refused"]
    assert reasons == ["the process that reads it ended by SIGABRT"]
    assert [record["status"] for record in records()].count("done") == 2


def test_json_prints_the_summary_and_nothing_else(run: Run) -> None:
    told = json.loads(run("scans", "-o", "out", "-p", "tumor", "-p", "unicorn", "--json").stdout)
    assert told.pop("seconds") > 0
    assert told == {
        "total": 6,
        "counts": {"done": 2, "not found": 2, "refused": 2},
        "kept": 0,
        "joined": True,
        "read": 4,
        "stored": None,
    }


def test_nothing_found_anywhere_is_exit_code_0(run: Run) -> None:
    assert run("scans", "-o", "out", "-p", "unicorn").exit_code == 0


def test_no_file_that_can_be_read_is_exit_code_3_with_a_record(run: Run) -> None:
    for name in ("a", "b"):
        Path("scans", f"{name}.png").write_bytes(b"broken")
    result = run("scans", "-o", "out", "-p", "tumor")
    assert result.exit_code == 3
    assert result.stdout.startswith("3 cases: 3 refused")
    assert {record["status"] for record in records()} == {"refused"}


def test_what_the_models_are_reaches_the_loader(run: Run, loaded: list[Any]) -> None:
    asked = ["--preset", "p", "--device", "cpu", "--precision", "bf16", "--seed", "7", "--weights", "w.bin"]
    run("scans", "-o", "out", "-p", "x", *asked)
    weights = Path("w.bin").absolute()
    assert loaded == [
        (
            "p",
            {
                "device": "cpu",
                "precision": "bf16",
                "seed": 7,
                "weights": weights,
                "sam_weights": None,
                "encoder_engine": "torch",
                "cache": None,
            },
        )
    ]


def test_what_is_typed_decides_what_is_written(run: Run) -> None:
    options = ["--min-confidence", "0.99", "--ignore-band", "0.1", "--format", "npy", "--window", "100,200", "--always"]
    assert run("scans", "-o", "out", "-p", "unicorn", *options).exit_code == 0
    assert {record["status"] for record in records()} == {"doubtful", "refused"}
    assert len(list(Path("out/doubtful/unicorn").glob("*.npy"))) == 2
    settings = json.loads(Path("out/run.json").read_text())
    assert settings["labels"] == {
        "schema": 1,
        "rules": RULES,
        "confidence": exponent(),
        "always": True,
        "ignore_band": 0.1,
        "reading": {"axis": None, "window": [100.0, 200.0], "max_pixels": 64 * 2**20, "series": None},
        "volume_mode": "stack",
        "formats": ["npy"],
        "seg": {"kind": "binary", "per_prompt": False, "all_slices": False},
        "structured_report": False,
        "save_stages": False,
        "safe_names": False,
    }


def test_a_side_that_cannot_be_told_is_refused_before_anything_is_written(run: Run) -> None:
    result = run("scans", "-o", "out", "-p", "right upper lobe")
    assert (result.exit_code, result.stderr.count("\n"), Path("out").exists()) == (2, 1, False)
    assert "the side that 'right upper' names" in result.stderr


def test_prompts_come_from_a_table(run: Run) -> None:
    Path("prompts.csv").write_text("file,prompt\na.png,tumor\nb.png,unicorn\n")
    result = run("scans", "-o", "out", "--prompts", "prompts.csv", "-p", "anything")
    assert result.exit_code == 0, result.output
    assert {(record["case"][0], record["prompt"]) for record in records()} == {
        ("a", "tumor"),
        ("b", "unicorn"),
    } | {("b", "anything")}


WINDOWS = "File;Prompt\r\nsub\\a.png;tumor\r\nsub\\B.PNG; unicorn\r\n"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("asked", [("scans/t.csv",), ("scans", "--prompts", "scans/t.csv")])
def test_a_table_that_a_spreadsheet_on_windows_wrote_names_the_same_files(
    run: Run, asked: tuple[str, ...], encoding: str
) -> None:
    Path("scans/sub").mkdir()
    for name in ("a", "b"):
        Path("scans", f"{name}.png").rename(Path("scans", "sub", f"{name}.png"))
    Path("scans/broken.png").unlink()
    Path("scans/t.csv").write_bytes(WINDOWS.encode(encoding))
    result = run(*asked, "-o", "out")
    assert result.exit_code == 0, result.output
    assert {(record["prompt"], record["status"]) for record in records()} == {
        ("tumor", "done"),
        ("unicorn", "not found"),
    }


@pytest.mark.parametrize("asked", [("scans/t.csv",), ("scans", "--prompts", "scans/t.csv")])
def test_a_table_of_which_most_is_refused_is_exit_code_3(run: Run, asked: tuple[str, ...]) -> None:
    Path("scans/t.csv").write_text("file,prompt\na.png,tumor\nx.png,tumor\ny.png,tumor\n")
    assert run(*asked, "-o", "out").exit_code == 3
    Path("scans/t.csv").write_text("file,prompt\na.png,tumor\nb.png,tumor\ny.png,tumor\n")
    assert run(*asked, "-o", "out").exit_code == 0


def test_files_that_a_table_does_not_name_are_not_its_fault(run: Run) -> None:
    Path("prompts.csv").write_text("file,prompt\na.png,tumor\n")
    result = run("scans", "-o", "out", "--prompts", "prompts.csv")
    assert (result.exit_code, result.stdout.split(";")[0]) == (0, "3 cases: 1 done, 2 refused")


def test_shards_say_what_is_missing_until_the_last_is_done(run: Run) -> None:
    lines = [run("scans", "-o", "out", "-p", "tumor", "--shard", f"{index}/2").stdout for index in (2, 1)]
    assert "other shards are not done" in lines[0] or "none in this shard" in lines[0]
    assert lines[1].rstrip().endswith("see out/index.html")
    assert len(records()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scans", "-o", "out"], "nothing says what to segment"),
        (["missing", "-o", "out", "-p", "x"], "there is no missing"),
        (["scans", "-o", "scans", "-p", "x"], "among the scans"),
        (["scans", "-o", "scans/a.png", "-p", "x"], "not a folder"),
        (["scans", "-o", "out", "-p", ""], "empty"),
        (["scans", "-o", "out", "-p", "x", "--shard", "3/2"], "shard"),
        (["scans", "-o", "out", "-p", "x", "--min-confidence", "2"], "min_confidence"),
        (["scans", "-o", "out", "-p", "x", "--ignore-band", "nan"], "ignore_band"),
        (["scans", "-o", "out", "-p", "x", "--axis", "up"], "axis"),
        (["scans", "-o", "out", "-p", "x", "--window", "fog"], "window"),
        (["scans", "-o", "out", "-p", "x", "--max-pixels", "0"], "max_pixels"),
        (["scans", "-o", "out", "--prompts", "scans/a.png"], "prompts are read from"),
        (["scans", "-o", "out", "-p", "x", "--batch-size", "0"], "batch_size"),
        (["scans", "-o", "out", "-p", "x", "--workers", "2"], "--engine ray"),
        (["scans", "-o", "out", "-p", "x", "--engine", "ray", "--workers", "0"], "at least 1"),
        (["scans", "-o", "out", "-p", "x", "--engine", "ray", "--device", "cuda:1"], "give cuda"),
        (["scans", "-o", "out", "-p", "x", "--engine", "ray", "--shard", "1/2"], "either --shard or"),
    ],
)
def test_bad_input_is_one_line_exit_code_two_and_nothing_written(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert {path.as_posix() for path in Path().rglob("*")} == {
        "scans",
        "scans/a.png",
        "scans/b.png",
        "scans/broken.png",
    }


def test_an_unknown_preset_is_refused_with_the_choices(tmp_path: Path) -> None:
    Image.fromarray(bright_square(40, 60, 5, 20, 10)).save(tmp_path / "scan.png")
    arguments = ["pseudolabel", str(tmp_path), "-p", "x", "--preset", "best", "-o", str(tmp_path / "out")]
    result = typed(*arguments)
    assert result.exit_code == 2
    assert "embedded" in result.stderr
    assert not (tmp_path / "out").exists()


def test_on_a_terminal_cases_rate_and_time_left_are_shown_and_elsewhere_nothing() -> None:
    shown, quiet = io.StringIO(), io.StringIO()
    for stream, terminal in ((shown, True), (quiet, False)):
        with progress(Console(file=stream, force_terminal=terminal, width=120), counting="case") as tell:
            for done in range(4):
                tell("labelling", done, 12)
    assert "labelling" in shown.getvalue()
    assert "3/12" in shown.getvalue()
    assert "cases/s" in shown.getvalue()
    assert quiet.getvalue() == ""


def test_a_stage_in_which_nothing_is_counted_shows_no_count_and_no_rate_of_the_one_before() -> None:
    shown = io.StringIO()
    with progress(Console(file=shown, force_terminal=True, width=120), counting="case") as tell:
        for done in range(4):
            tell("labelling", done, 12)
        tell("joining", 0, 0)
    counted, joining = shown.getvalue().split("joining", 1)
    assert "0/12" in counted
    assert "/" not in joining


def test_the_default_preset_labels_a_folder_to_the_bits_of_segment_in_any_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "scans").mkdir()
    for index in range(3):
        pixels = rng.normal(100, 20, (80, 100))
        pixels[20:50, 10 + 20 * index : 40 + 20 * index] -= 70
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "scans" / f"s{index}.png")
    common = ["-p", "breast tumor", "--always", "--device", "cpu"]
    labelled = typed("pseudolabel", tmp_path / "scans", "-o", tmp_path / "out", *common)
    assert labelled.exit_code == 0, labelled.output
    found = {record["case"].partition("-")[0]: record for record in records(str(tmp_path / "out"))}
    assert set(found) == {"s0", "s1", "s2"}
    typed("segment", tmp_path / "scans" / "s2.png", "-o", tmp_path / "one", *common)
    (alone,) = json.loads((tmp_path / "one" / "report.json").read_text())["images"][0]["results"]
    for field in ("presence", "sam_scores", "box", "area_px"):
        assert found["s2"][field] == alone[field]
    mask = tmp_path / "out" / "masks" / "breast-tumor" / "s2.png"
    assert mask.read_bytes() == (tmp_path / "one" / alone["files"]["mask"]).read_bytes()


def test_the_address_of_the_progress_is_printed_beside_the_outcome(run: Run) -> None:
    result = run("scans", "-p", "x", "-o", "out", "--serve", "--json")
    assert result.exit_code == 0, result.output
    assert re.search(r"progress: http://127\.0\.0\.1:\d+/\?token=\S+", result.stderr)
    assert json.loads(result.stdout)["counts"]
