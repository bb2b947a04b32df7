"""A DICOM series as one case: a zip among the scans, or a folder that a table names."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from run_folders import records_of
from series_files import series

from medclipsam.runs import Summary

Label = Callable[..., Summary]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table that names the folder of a series."""
    series(tmp_path / "in" / "study" / "ct")
    path = tmp_path / "in" / "cases.csv"
    path.write_text("file,prompt\nstudy/ct,liver\n")
    return path


def test_a_folder_that_a_table_names_is_one_case(label: Label, out: Path, table: Path) -> None:
    label(source=table)
    record = records_of(out)["ct"]
    assert (record.status, [picture.status for picture in record.pictures]) == ("done", ["not found", "done", "done"])


def test_it_is_done_again_only_when_one_of_its_slices_changed(label: Label, out: Path, table: Path) -> None:
    alone = {"source": table, "volume_mode": "slices"}
    label(**alone)
    assert label(**alone).kept == 1
    slice_path = table.parent / "study" / "ct" / "IM1"
    changed = dcmread(slice_path)
    changed.PixelData = bytes(len(changed.PixelData))
    changed.save_as(slice_path)
    assert label(**alone).kept == 0
    assert [picture.status for picture in records_of(out)["ct"].pictures] == ["not found", "not found", "done"]


def test_a_zip_among_the_scans_is_one_case(label: Label, out: Path, scans: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(scans / "mri.zip", "w") as made:
        for path in series(tmp_path / "elsewhere"):
            made.write(path, path.name)
    label("liver")
    assert len(records_of(out)["mri"].pictures) == 3


def test_settings_of_a_volume_redo_it(label: Label, out: Path, table: Path) -> None:
    label(source=table)
    assert label(source=table, volume_mode="largest").kept == 0


def test_a_hostile_zip_is_a_record_and_stops_nothing(label: Label, out: Path, scans: Path) -> None:
    with zipfile.ZipFile(scans / "ct.zip", "w") as made:
        made.writestr("../../x", b"1")
    label("liver")
    records = records_of(out)
    assert (records["ct"].status, records["a"].status) == ("refused", "done")
    assert "leaves the zip" in str(records["ct"].reason)
