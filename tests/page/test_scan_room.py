"""The page in a real Chromium: a scan is dropped, words are typed, a box is drawn, files are downloaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest
from bright import BrightSegmenter, bright_square
from driving import (
    addresses,
    answer,
    drag,
    drop,
    errors,
    leap,
    open_page,
    painted,
    press,
    resize,
    status,
    text,
    type_words,
    wait,
)
from pydicom import examples
from series_files import series
from typed import typed

from medclipsam.runs.one_scan import ScanRequest, segment_scan

RIGHT, DOWN, PAGE_DOWN = "\ue014", "\ue015", "\ue00f"
BRIGHT = (sys.executable, Path(__file__).with_name("bright_server.py"))


@pytest.fixture
def mri() -> Path:
    """An abdominal MRI that comes with pydicom."""
    return Path(str(examples.get_path("overlay")))


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Six slices of 40 x 60 pixels that are twice as high as wide, with a bright square on the middle ones."""
    slices = [bright_square(40, 60, 8, 20, 10) if 1 <= index <= 4 else np.full((40, 60), 20) for index in range(6)]
    voxels = np.stack(slices, axis=2).transpose(1, 0, 2).astype(np.int16)
    path = tmp_path / "v.nii.gz"
    nibabel.Nifti1Image(voxels, np.diag([0.5, 1.0, 5.0, 1.0])).to_filename(path)
    return path


def mask_of(path: Path) -> np.ndarray:
    """The frames of a DICOM SEG, as another library reads it."""
    return np.asarray(highdicom.seg.segread(path).pixel_array)


def saved(browser: Any, tmp_path: Path, ending: str) -> Path:
    """The file of this ending that was downloaded."""
    (found,) = wait(browser, lambda: list((tmp_path / "browser" / "downloads").glob(f"*{ending}")))
    return Path(found)


def test_words_find_a_mask_a_box_changes_it_and_the_download_is_the_command_line_s(
    browser: Any, started: Any, mri: Path, tmp_path: Path
) -> None:
    server = started("serve")
    open_page(browser, server)
    drop(browser, mri)
    press(browser, "liver", "\n")
    wait(browser, lambda: answer(browser, 0) == "found")
    first = wait(browser, lambda: painted(browser))
    assert "found; " in text(browser, "#layers li .answer")

    browser.find_element("css selector", "#downloads [data-format=seg]").click()
    downloaded = saved(browser, tmp_path, "_seg.dcm")
    ran = typed("segment", mri, "--prompt", "liver", "-o", tmp_path / "own")
    assert ran.exit_code == 0, ran.output
    (own,) = (tmp_path / "own").glob("*_seg.dcm")
    np.testing.assert_array_equal(mask_of(downloaded), mask_of(own))
    assert mask_of(downloaded).any()

    press(browser, "\ue00c", "b", "\n")
    leap(browser, RIGHT, 6)
    leap(browser, DOWN, 6)
    press(browser, "\n")
    wait(browser, lambda: painted(browser) not in (0, first) and answer(browser, 0) == "found")
    asked = addresses(browser)
    assert len(asked) > 10
    assert set(asked) == {server["url"]}
    assert errors(browser) == []


@pytest.mark.slow
def test_a_volume_is_scrolled_asked_whole_and_downloaded_as_the_method_left_it(
    browser: Any, started: Any, volume: Path, tmp_path: Path
) -> None:
    open_page(browser, started(command=BRIGHT))
    drop(browser, volume)
    assert text(browser, "#slice-told") == "slice 2 (0 to 5)"
    press(browser, "\ue00c", PAGE_DOWN)
    assert text(browser, "#slice-told") == "slice 3 (0 to 5)"
    browser.find_element("id", "every").click()
    type_words(browser, "tumor")
    wait(browser, lambda: answer(browser, 0) == "found")
    type_words(browser, "unicorn")
    wait(browser, lambda: answer(browser, 1) == "nothing")
    assert "presence is below the threshold" in text(browser, "#layers li:last-child .answer")
    press(browser, "\ue00c", PAGE_DOWN, PAGE_DOWN)
    wait(browser, lambda: text(browser, "#slice-told") == "slice 5 (0 to 5)" and answer(browser, 0) == "nothing")

    browser.find_element("css selector", "#layers li:last-child button:last-of-type").click()
    browser.find_element("css selector", "#downloads [data-format=nifti]").click()
    downloaded = nibabel.load(saved(browser, tmp_path, "_tumor_mask.nii.gz"))
    request = ScanRequest(scan=volume, prompts=("tumor",), folder=tmp_path / "own")
    segment_scan(request, BrightSegmenter, lambda *_: None)
    (path,) = (tmp_path / "own").glob("*_mask.nii.gz")
    np.testing.assert_array_equal(np.asarray(downloaded.dataobj), np.asarray(nibabel.load(path).dataobj))
    np.testing.assert_array_equal(downloaded.affine, nibabel.load(path).affine)
    assert errors(browser) == []


@pytest.mark.slow
def test_the_window_turns_with_the_mouse_in_the_values_of_the_file(browser: Any, started: Any, volume: Path) -> None:
    open_page(browser, started(command=BRIGHT))
    drop(browser, volume)
    drag(browser, 40, -40)
    wait(
        browser, lambda: "display only" in text(browser, "#window-told") and "255" not in text(browser, "#window-told")
    )
    centre, width = (float(part.split()[1]) for part in text(browser, "#window-told").split(", "))
    press(browser, "0")
    assert text(browser, "#window-told") == ""
    # the file's own window is about 0 to 200: brighter is a lower centre, right is wider
    assert centre < 100 < width
    assert errors(browser) == []


@pytest.mark.slow
def test_points_are_drawn_sent_and_taken_away(browser: Any, started: Any, volume: Path) -> None:
    open_page(browser, started(command=BRIGHT))
    drop(browser, volume)
    type_words(browser, "tumor")
    wait(browser, lambda: answer(browser, 0) == "found")
    without = painted(browser)
    press(browser, "\ue00c", "p", RIGHT, "\n", "o", *[RIGHT] * 9, "\n")
    wait(browser, lambda: painted(browser) > without + 100 and answer(browser, 0) == "found")
    press(browser, "\ue017")
    wait(browser, lambda: painted(browser) == without)
    assert errors(browser) == []


@pytest.mark.slow
def test_the_page_fits_a_narrow_screen_and_says_what_is_wrong(browser: Any, started: Any, tmp_path: Path) -> None:
    open_page(browser, started(command=BRIGHT))
    resize(browser, 400, 900)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 400
    (tmp_path / "notes.png").write_text("no picture")
    browser.find_element("id", "file").send_keys(str(tmp_path / "notes.png"))
    wait(browser, lambda: browser.execute_script("return document.querySelector('#status.wrong') !== null"))
    assert "png" in status(browser).lower()
    press(browser, "\ue00c")
    type_words(browser, "tumor")
    wait(browser, lambda: "Open a scan first" in status(browser))


@pytest.mark.slow
def test_a_folder_of_two_series_offers_them_and_its_seg_has_every_slice(
    browser: Any, started: Any, tmp_path: Path
) -> None:
    for number in (1, 2):
        series(tmp_path / "study" / str(number), uid=f"1.2.3.{number}", SeriesNumber=number)
    open_page(browser, started(command=BRIGHT))
    browser.find_element("id", "folder").send_keys(str(tmp_path / "study"))
    options = wait(browser, lambda: browser.find_elements("css selector", "#series option:not([value=''])"))
    assert len(options) == 2
    options[1].click()
    wait(browser, lambda: "Type what" in status(browser))
    count = len(list((tmp_path / "study" / "2").iterdir()))
    assert text(browser, "#slice-told").endswith(f"(0 to {count - 1})")
    browser.find_element("id", "every").click()
    type_words(browser, "tumor")
    wait(browser, lambda: answer(browser, 0) == "found")
    browser.find_element("css selector", "#downloads [data-format=seg]").click()
    request = ScanRequest(scan=tmp_path / "study", prompts=("tumor",), folder=tmp_path / "own", series="2")
    segment_scan(request, BrightSegmenter, lambda *_: None)
    (own,) = (tmp_path / "own").glob("*_seg.dcm")
    np.testing.assert_array_equal(mask_of(saved(browser, tmp_path, "_seg.dcm")), mask_of(own))
    assert [entry for entry in errors(browser) if "422" not in entry["message"]] == []


@pytest.mark.slow
def test_a_volume_is_sliced_in_another_plane(browser: Any, started: Any, volume: Path) -> None:
    open_page(browser, started(command=BRIGHT))
    drop(browser, volume)
    browser.find_element("css selector", "#plane option[value=coronal]").click()
    wait(browser, lambda: text(browser, "#slice-told").endswith("(0 to 39)"))
    browser.find_element("css selector", "#plane option[value='']").click()
    wait(browser, lambda: text(browser, "#slice-told") == "slice 2 (0 to 5)")
    assert errors(browser) == []
