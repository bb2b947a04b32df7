from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from medclipsam.errors import CannotWrite
from medclipsam.evaluate import Case, Evaluation, Measuring, compare_runs, to_record, write_csv, write_json
from medclipsam.metrics import Scores

SCORES = Scores(dice=0.5, iou=0.25, nsd=0.75, nsd_slab=0.875, hd95=2.0, assd=1.5, predicted_px=3, reference_px=4)
LOST = Scores(dice=0.0, iou=0.0, nsd=0.0, nsd_slab=None, hd95=math.inf, assd=math.inf, predicted_px=0, reference_px=9)
RUN = Evaluation(
    measuring=Measuring(tolerance=1.0, unit="mm", spacing_mm=(0.5, 0.5)),
    cases=(
        Case(name="x/a", group="x", scores=SCORES),
        Case(name="y/b", group="y", scores=LOST),
        Case(name="y/c", group="y", problem='broken, "really"'),
    ),
    only_predicted=("ghost",),
    only_reference=("absent",),
)


def test_the_csv_has_a_row_for_every_case_and_every_orphan(tmp_path: Path) -> None:
    with write_csv(RUN, tmp_path / "deep" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["outcome"]) for row in rows] == [
        ("x/a", "compared"),
        ("y/b", "missed"),
        ("y/c", "refused"),
        ("ghost", "orphan"),
        ("absent", "orphan"),
    ]
    assert {key: float(rows[0][key]) for key in ("dice", "iou", "nsd", "nsd_slab", "hd95", "assd")} == {
        "dice": 0.5,
        "iou": 0.25,
        "nsd": 0.75,
        "nsd_slab": 0.875,
        "hd95": 2.0,
        "assd": 1.5,
    }
    assert (rows[1]["hd95"], rows[1]["nsd_slab"], rows[1]["reference_px"]) == ("inf", "", "9")
    assert rows[2]["problem"] == 'broken, "really"'
    assert [row["problem"] for row in rows[3:]] == ["no reference", "no prediction"]


def test_the_json_is_strict_and_holds_settings_counts_groups_and_orphans(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    path = write_json(RUN, tmp_path / "run.json", seed=3, resamples=200)
    record = json.loads(path.read_text(), parse_constant=refuse)
    assert record["settings"]["tolerance"] == 1.0
    assert record["settings"]["spacing_mm"] == [0.5, 0.5]
    assert (record["settings"]["seed"], record["settings"]["bootstrap_resamples"]) == (3, 200)
    assert record["counts"] == {"compared": 1, "missed": 1, "false alarm": 0, "both empty": 0, "refused": 1}
    assert record["summary"]["hd95"]["mean"] == record["cases"][1]["hd95"] == "Infinity"
    assert float(record["cases"][1]["hd95"]) == math.inf
    assert record["summary"]["dice"]["mean"] == 0.25
    assert {group: found["dice"]["mean"] for group, found in record["groups"].items()} == {"x": 0.5, "y": 0.0}
    assert record["orphans"] == {"predicted": ["ghost"], "reference": ["absent"]}
    assert "Research use only" in record["notice"]
    assert record["comparison"] is None


def test_a_run_without_groups_has_none_in_its_record() -> None:
    flat = Evaluation(measuring=Measuring(), cases=(Case(name="a", scores=SCORES),))
    assert to_record(flat)["groups"] == {}


def test_a_comparison_is_part_of_the_record() -> None:
    record = to_record(RUN, compare_runs(RUN, RUN))
    assert record["comparison"]["dice"]["mean_difference"] == 0
    assert record["comparison"]["dice"]["wilcoxon_p"] == 1
    assert record["comparison"]["hd95"]["n_infinite"] == 1


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite):
        write_csv(RUN, tmp_path / "file" / "cases.csv")
