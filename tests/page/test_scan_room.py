"""The page in a real Chromium: a scan is dropped, words are typed, a box is drawn, files are downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from driven import addresses, drop, open_page, painted, press, status, text, wait
from pydicom import examples
from typed import typed


@pytest.fixture
def scan() -> Path:
    """An abdominal MRI that comes with pydicom."""
    return Path(str(examples.get_path("overlay")))


def answer(browser: Any, number: int) -> str:
    """What the list says of the prompt of this number: `found`, `nothing`, `waiting` or `unasked`."""
    script = "return document.querySelectorAll('#layers li')[arguments[0]]?.dataset.answer ?? ''"
    return str(browser.execute_script(script, number))


def mask_of(path: Path) -> np.ndarray:
    """The frames of a DICOM SEG, as another library reads it."""
    return np.asarray(highdicom.seg.segread(path).pixel_array)


def test_words_find_a_mask_a_box_changes_it_and_the_download_is_the_command_line_s(
    browser: Any, started: Any, scan: Path, tmp_path: Path
) -> None:
    server = started("serve")
    open_page(browser, server)
    drop(browser, scan)
    wait(lambda: "Type what" in status(browser), browser)
    press(browser, "liver", "\n")
    wait(lambda: answer(browser, 0) == "found", browser)
    first = wait(lambda: painted(browser), browser)
    assert "found; " in text(browser, "#layers li .answer")

    browser.find_element("css selector", "#downloads [data-format=seg]").click()
    (saved,) = wait(lambda: list((tmp_path / "downloads").glob("*_seg.dcm")), browser)
    ran = typed("segment", scan, "--prompt", "liver", "-o", tmp_path / "own")
    assert ran.exit_code == 0, ran.output
    (own,) = (tmp_path / "own").glob("*_seg.dcm")
    np.testing.assert_array_equal(mask_of(saved), mask_of(own))
    assert mask_of(saved).any()

    press(browser, "b", *["\ue012"] * 30, "\n", *["\ue014"] * 60, *["\ue015"] * 60, "\n")
    wait(lambda: painted(browser) not in (0, first) and answer(browser, 0) == "found", browser)
    asked = addresses(browser)
    assert len(asked) > 10
    assert set(asked) == {server["url"]}
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
