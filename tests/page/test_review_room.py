"""The review room in a real Chromium: twelve pseudo-labels by keyboard alone, and what is left on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driving import addresses, drag, errors, open_page, press, status, text, wait
from label_folders import labelled
from PIL import Image

from medclipsam.review.store import ReviewStore

COUNT = 12


@pytest.fixture
def labels(tmp_path: Path) -> tuple[Path, Path]:
    """(LABELS, SCANS) of twelve pictures."""
    return labelled(tmp_path, count=COUNT)


def progress(browser: Any) -> str:
    """How far the page says that the person is."""
    return text(browser, "#progress")


def shown(browser: Any) -> str:
    """The id of the item on the screen; empty before it is drawn."""
    return str(browser.execute_script("return document.getElementById('view').dataset.item ?? ''"))


def decide(browser: Any, key: str, done: int) -> None:
    """Press a key and wait until the page has the next item."""
    before = text(browser, "#item")
    press(browser, key)
    wait(browser, lambda: progress(browser) == f"{done} of {COUNT}" and text(browser, "#item") != before)


def test_twelve_pseudo_labels_are_reviewed_by_keyboard_and_a_reload_loses_nothing(
    browser: Any, started: Any, labels: tuple[Path, Path]
) -> None:
    folder, scans = labels
    server = started("review", folder, "--images", scans)
    order = [item.id for item in ReviewStore(folder).items()]
    open_page(browser, server)
    wait(browser, lambda: progress(browser) == f"0 of {COUNT}")
    for done, key in enumerate("aararr", 1):
        decide(browser, key, done)
    decide(browser, "u", 5)
    browser.refresh()
    wait(browser, lambda: progress(browser) == f"5 of {COUNT}" and text(browser, "#item dd"))
    decide(browser, "u", 4)
    assert [item.state for item in ReviewStore(folder).items()][:6] == [
        *("accepted", "accepted", "rejected", "accepted"),
        *("waiting", "waiting"),
    ]
    for done in range(5, COUNT):
        decide(browser, "a", done)
    wait(browser, lambda: shown(browser) == order[-1])
    press(browser, "c")
    wait(browser, lambda: "Paint or erase" in status(browser))
    press(browser, "x", "\n", "d", *["\ue014"] * 3, "\n", "s")
    wait(browser, lambda: progress(browser) == f"{COUNT} of {COUNT}")

    items = ReviewStore(folder, scans).items()
    assert [item.id for item in items] == order
    assert [item.state for item in items[:4]] == ["accepted", "accepted", "rejected", "accepted"]
    assert {item.state for item in items[4:-1]} == {"accepted"}
    assert items[-1].state == "corrected"
    (written,) = items[-1].decision.masks
    (own,) = [name for name in items[-1].record.outputs if name.startswith("masks/")]
    edited, before = (np.asarray(Image.open(folder / name)) > 0 for name in (written, own))
    assert edited.shape == before.shape
    assert edited[20, 33]
    changed = np.argwhere(edited != before)
    assert len(changed)
    assert np.abs(changed - [20, 31]).max() <= 6
    assert set(addresses(browser)) == {server["url"]}
    assert errors(browser) == []


@pytest.mark.slow
def test_a_second_window_is_told_that_it_came_late_and_shows_what_was_decided(
    browsers: Any, started: Any, labels: tuple[Path, Path]
) -> None:
    folder, scans = labels
    server = started("review", folder, "--images", scans)
    first, second = browsers("first"), browsers("second")
    for browser in (first, second):
        open_page(browser, server)
        wait(browser, lambda browser=browser: shown(browser))
    decide(first, "a", 1)
    press(second, "r")
    wait(second, lambda: "another window decided" in status(second) and text(second, ".state") == "✓ accepted")
    assert progress(second) == f"1 of {COUNT}"
    assert [item.state for item in ReviewStore(folder).items()][:2] == ["accepted", "waiting"]


@pytest.mark.slow
def test_filters_outlive_a_reload_and_a_box_corrects_a_mask(
    browser: Any, started: Any, labels: tuple[Path, Path]
) -> None:
    folder, scans = labels
    store = ReviewStore(folder, scans)
    store.decide(store.items()[0], "rejected")
    open_page(browser, started("review", folder, "--images", scans))
    browser.find_element("css selector", "#by-state option[value=rejected]").click()
    wait(browser, lambda: text(browser, ".state") == "✕ rejected")
    browser.refresh()
    wait(browser, lambda: text(browser, ".state") == "✕ rejected" and shown(browser) == store.items()[0].id)
    press(browser, "c")
    wait(browser, lambda: "Paint or erase" in status(browser))
    press(browser, "b")
    drag(browser, -200, -200)
    wait(browser, lambda: status(browser).startswith("tumor: "))
    press(browser, "s")
    wait(browser, lambda: store.items()[0].state == "corrected")
    assert [entry for entry in errors(browser) if "409" not in entry["message"]] == []
