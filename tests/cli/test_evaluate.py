from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from mask_folders import folder
from PIL import Image
from typed import typed
from typer.testing import Result

BLOCK = np.zeros((16, 24), bool)
BLOCK[4:12, 6:14] = True


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return folder(tmp_path / "truth", u__a=BLOCK, u__b=BLOCK, v__c=BLOCK)


@pytest.fixture
def found(tmp_path: Path) -> Path:
    moved = np.roll(BLOCK, 2, axis=0)
    return folder(tmp_path / "found", u__a=BLOCK, u__b=moved, v__c=moved, v__extra=BLOCK)


def evaluate(*arguments: object) -> Result:
    return typed("evaluate", *arguments)


def refused(result: Result) -> str:
    """The one line on stderr of a run that ended in exit code 2."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


def test_the_table_shows_each_metric_and_the_groups_and_names_the_orphan(found: Path, truth: Path) -> None:
    result = evaluate(found, truth)
    assert result.exit_code == 0, result.output
    for shown in (
        "3 cases: 3 compared",
        "dice",
        "nsd (2 px)",
        "nsd_slab (2 px)",
        "hd95 (px)",
        "95 % interval",
        "0.8333",
    ):
        assert shown in result.stdout
    assert "means of the groups" in result.stdout
    assert "1 have no reference: v/extra" in result.stderr


def test_csv_and_json_are_written(found: Path, truth: Path, tmp_path: Path) -> None:
    result = evaluate(found, truth, "--csv", tmp_path / "o" / "c.csv", "--json", tmp_path / "o" / "r.json", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert f"written: {tmp_path / 'o' / 'c.csv'}, {tmp_path / 'o' / 'r.json'}" in result.stdout.replace("\n", "")
    with (tmp_path / "o" / "c.csv").open(newline="") as stream:
        assert [float(row["dice"]) for row in csv.DictReader(stream) if row["dice"]] == [1, 0.75, 0.75]
    record = json.loads((tmp_path / "o" / "r.json").read_text())
    assert record["summary"]["dice"]["mean"] == pytest.approx(2.5 / 3)
    assert record["settings"]["seed"] == 5
    assert set(record["groups"]) == {"u", "v"}


def test_the_same_seed_writes_the_same_file(found: Path, truth: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        evaluate(found, truth, "--json", tmp_path / f"{name}.json", "--bootstrap", 150)
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()


def test_a_second_folder_is_compared_case_by_case(found: Path, truth: Path, tmp_path: Path) -> None:
    result = evaluate(found, truth, "--compare", truth, "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    assert "truth minus found, case by case" in result.stdout
    assert "Wilcoxon p" in result.stdout
    comparison = json.loads((tmp_path / "r.json").read_text())["comparison"]["dice"]
    assert (comparison["n"], comparison["mean_difference"]) == (3, pytest.approx(0.5 / 3))


def test_tolerance_and_spacing_in_mm(found: Path, truth: Path) -> None:
    result = evaluate(found, truth, "--tolerance-mm", "0.5", "--spacing", "0.25,1")
    assert result.exit_code == 0, result.output
    assert "nsd (0.5 mm)" in result.stdout
    assert "hd95 (mm)" in result.stdout
    both = evaluate(found, truth, "--tolerance-mm", "0.5", "--spacing", "0.25")
    assert both.exit_code == 0, both.output


def test_what_a_surface_is_can_be_chosen_and_is_told(found: Path, truth: Path, tmp_path: Path) -> None:
    by_area, by_points = tmp_path / "area.json", tmp_path / "points.json"
    assert "nsd (2 px)" in evaluate(found, truth, "--json", by_area).stdout
    points = evaluate(found, truth, "--surface-method", "points", "--json", by_points)
    assert "nsd (2 px, points)" in points.stdout
    records = [json.loads(path.read_text()) for path in (by_area, by_points)]
    assert [record["settings"]["surface"] for record in records] == ["area", "points"]
    moved = folder(found.parent / "moved", u__a=BLOCK, u__b=np.roll(BLOCK, 3, axis=0), v__c=BLOCK)
    nsd = {}
    for method in ("area", "points"):
        evaluate(moved, truth, "--surface-method", method, "--json", tmp_path / "r.json")
        nsd[method] = json.loads((tmp_path / "r.json").read_text())["summary"]["nsd"]["mean"]
    assert nsd["area"] != nsd["points"]


def test_groups_may_come_from_a_table(found: Path, truth: Path, tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text("file,scanner\nu/a.png,one\nu/b.png,two\n")
    result = evaluate(found, truth, "--groups", tmp_path / "g.csv", "--group-column", "scanner")
    assert result.exit_code == 0, result.output
    assert all(name in result.stdout for name in ("one", "two", "(none)"))


def test_a_reference_without_prediction_is_named_or_counted_as_missed(found: Path, truth: Path) -> None:
    (found / "u" / "a.png").unlink()
    named = evaluate(found, truth)
    assert "1 have no prediction and are in no mean" in named.stderr
    counted = evaluate(found, truth, "--missing-is-empty")
    assert "2 compared, 1 missed" in counted.stdout
    assert "inf" in counted.stdout


def test_a_size_that_differs_is_named_and_may_be_resized(found: Path, truth: Path) -> None:
    folder(found, u__a=BLOCK[::2, ::2])
    named = evaluate(found, truth)
    assert "1 refused" in named.stdout
    assert "1 could not be measured: u/a" in named.stderr
    assert "3 compared" in evaluate(found, truth, "--resize").stdout


def test_suffixes_are_taken_off(truth: Path, tmp_path: Path) -> None:
    found = folder(tmp_path / "named", u__a_pred=BLOCK)
    assert "1 compared" in evaluate(found, truth, "--pred-suffix", "_pred").stdout


def heart(path: Path) -> Path:
    """A reference of two structures, of which `BLOCK` is the second."""
    path.mkdir()
    Image.fromarray(np.where(BLOCK, 2, np.roll(BLOCK, 10, axis=1)).astype(np.uint8)).save(path / "a.png")
    return path


def test_of_several_labels_one_is_chosen_by_value_or_by_name(tmp_path: Path) -> None:
    found, truth = folder(tmp_path / "found", a=BLOCK), heart(tmp_path / "truth")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "RV": 1, "LV": 2}}')
    named = ("--labels", tmp_path / "dataset.json")
    for chosen in (("--label", 2), ("--label", "lv", *named)):
        result = evaluate(found, truth, *chosen, "--json", tmp_path / "r.json")
        assert result.exit_code == 0, result.output
        assert json.loads((tmp_path / "r.json").read_text())["summary"]["dice"]["mean"] == 1
    assert "a.png holds several labels: 1, 2; choose one with --label N" in refused(evaluate(found, truth))
    assert "say by --label which: RV, LV" in refused(evaluate(found, truth, *named))
    assert "no label is called 'LA'; dataset.json names RV, LV" in refused(
        evaluate(found, truth, "--label", "LA", *named)
    )
    assert "'LV' is no label; give its value" in refused(evaluate(found, truth, "--label", "LV"))
    maps = evaluate(truth, truth, *named, "--json", tmp_path / "r.json")
    assert maps.exit_code == 0, maps.output
    assert set(json.loads((tmp_path / "r.json").read_text())["groups"]) == {"LV", "RV"}


def test_soft_edges_are_cut_where_it_is_asked_for(tmp_path: Path) -> None:
    soft = np.where(BLOCK, 255, 0) + np.arange(24) * ~BLOCK
    found, truth = folder(tmp_path / "found", a=BLOCK), tmp_path / "truth"
    truth.mkdir()
    Image.fromarray(soft.astype(np.uint8)).save(truth / "a.png")
    assert "take soft edges with --above 127" in refused(evaluate(found, truth))
    assert "1 compared" in evaluate(found, truth, "--above", 127).stdout


def test_how_files_were_paired_is_said_where_it_is_no_matter_of_course(tmp_path: Path) -> None:
    found = folder(tmp_path / "found", a=BLOCK)
    truth = folder(tmp_path / "truth", a_mask=BLOCK, a_mask_1=np.roll(BLOCK, 2, axis=0))
    result = evaluate(found, truth)
    assert "several masks of one image are united, in 1 of the cases: a_mask.png, a_mask_1.png of a" in result.stderr
    assert "1 compared" in result.stdout


def test_a_page_with_scans_is_written(found: Path, truth: Path, tmp_path: Path) -> None:
    result = evaluate(found, truth, "--compare", found, "--report", tmp_path / "r.html", "--scans", truth)
    assert result.exit_code == 0, result.output
    shown = (tmp_path / "r.html").read_text()
    assert shown.count("data:image/jpeg") == 3
    assert all(said in shown for said in ("reference", "u/b", "found again minus found"))


def test_the_papers_table_stands_beside_the_run(tmp_path: Path) -> None:
    truth = folder(tmp_path / "truth", breast_tumors__a=BLOCK, lung_CT__b=BLOCK)
    result = evaluate(truth, truth, "--protocol", "medclip-samv2", "--json", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert all(said in shown for said in ("Breast US", "77.76", "1 / 113", "not comparable"))
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["protocol"]["rows"][str(truth)]["Lung CT"]["dsc"]["mean"] == 100
    settings = record["settings"]
    assert (settings["foreground_above"], settings["resize"], settings["surface"]) == (200, "corners", "points")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tolerance-px", "1", "--tolerance-mm", "1"], "two units"),
        (["--tolerance-px", "-1"], "tolerance of -1.0 is not a distance"),
        (["--tolerance-px", "nan"], "tolerance of nan is not a distance"),
        (["--spacing", "1,1"], "give the tolerance in mm"),
        (["--tolerance-mm", "1", "--spacing", "wide"], "--spacing 'wide' is not ROWS,COLUMNS"),
        (["--tolerance-mm", "1", "--spacing", "0,1"], "none of 3 cases could be measured"),
        (["--tolerance-mm", "1"], "do not say how large a pixel is"),
        (["--groups", "none.csv"], "none.csv cannot be read"),
        (["--compare", "nowhere"], "there is no folder nowhere"),
        (["--ref-suffix", "_gt"], "holds no masks that end in '_gt'"),
        (["--protocol", "medclip-samv2"], "no folder names a task of the paper"),
        (["--protocol", "medclip-samv2", "--tolerance-px", "1"], "measures with 2 px"),
        (["--scans", "nowhere"], "--scans are for the page of --report"),
        (["--report", "r.html", "--scans", "nowhere"], "there is no folder nowhere"),
        (["--prompt", "liver"], "--prompt chooses among the masks of a pseudolabel run"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line_and_writes_nothing(found, truth, tmp_path, options, says) -> None:
    result = evaluate(found, truth, *options, "--json", tmp_path / "r.json")
    assert says in refused(result)
    assert not (tmp_path / "r.json").exists()


def test_an_output_that_cannot_be_written_is_told(found: Path, truth: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(evaluate(found, truth, "--csv", tmp_path / "file" / "c.csv"))
