"""Does the page hold everything in itself, show the worst and the best, and say what it lacks?"""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from mask_folders import folder
from PIL import Image

from medclipsam.errors import BadInput, MissingExtra
from medclipsam.evaluate import Measuring, compare_runs, evaluate_folders
from medclipsam.evaluate.figures import dice_histogram, dice_pairs
from medclipsam.evaluate.pictures import MISSED, PREDICTED, REFERENCE, RIGHT, TOO_MUCH, Scans, draw_case
from medclipsam.evaluate.protocol import as_in_the_paper, standing
from medclipsam.evaluate.report import Findings, extremes, write_report
from medclipsam.notice import RESEARCH_USE_ONLY

HOSTILE = "<script>alert(1)"
BLOCK = np.zeros((20, 30), bool)
BLOCK[5:15, 5:15] = True
EMPTY = np.zeros_like(BLOCK)


@pytest.fixture
def found(tmp_path: Path) -> Findings:
    """Fifteen cases, each shifted by one pixel more, one that is empty in both, one broken and one without partner."""
    names = [f"breast__case{index:02d}" for index in range(15)]
    truth = folder(tmp_path / "truth", **dict.fromkeys(names, BLOCK), breast__calm=EMPTY, breast__lost=BLOCK)
    moved = {name: np.roll(BLOCK, index, axis=1) for index, name in enumerate(names)}
    first = folder(tmp_path / "first", **moved, breast__calm=EMPTY)
    second = folder(tmp_path / "second", **dict.fromkeys(names, BLOCK))
    (first / "breast" / f"{HOSTILE}.png").write_bytes(b"broken")
    (truth / "breast" / f"{HOSTILE}.png").write_bytes(b"broken")
    how = as_in_the_paper(Measuring())
    runs = {path.name: evaluate_folders(path, truth, how) for path in (first, second)}
    return Findings(
        runs=runs,
        compared=compare_runs(*runs.values(), resamples=100),
        paper={name: standing(run, truth) for name, run in runs.items()},
        resamples=100,
    )


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[bytes] = []
        self.outside: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "src":
                kind, _, content = (value or "").partition("base64,")
                assert kind == "data:image/jpeg;"
                self.pictures.append(b64decode(content))
            elif name in ("href", "xlink:href") and not (value or "").startswith("#"):
                self.outside.append(value or "")

    def handle_data(self, data: str) -> None:
        self.text += data


def page(found: Findings, path: Path) -> Page:
    return Page(write_report(found, path / "r.html").read_text("utf-8"))


def test_worst_and_best_cases_are_shown_in_order_and_each_once(found: Findings) -> None:
    worst, best = extremes(found.first, most=3)
    assert [case.name[-2:] for case in worst] == ["10", "11", "12"]
    assert [case.name[-2:] for case in best] == ["00", "01", "02"]
    worst, best = extremes(found.first)
    assert len({case.name for case in (*worst, *best)}) == 12
    few = [case.name for cases in extremes(found.first, most=50) for case in cases]
    assert sorted(few) == [f"breast/case{index:02d}" for index in range(15)]


def test_the_page_tells_all_tables_and_holds_its_pictures_in_itself(found: Findings, tmp_path: Path) -> None:
    shown = page(found, tmp_path)
    for said in (
        "first and second",
        "nsd_slab (2 px)",
        "second minus first, case by case",
        "Wilcoxon p",
        "77.76",
        "not comparable",
        "Worst cases",
        "Best cases",
        "no prediction",
        HOSTILE,
        RESEARCH_USE_ONLY,
    ):
        assert said in shown.text
    assert {"script", "link", "iframe", "form"}.isdisjoint(shown.tags)
    assert shown.outside == []
    assert shown.tags.count("svg") == 2
    assert len(shown.pictures) == 12
    assert all(Image.open(BytesIO(content)).width > 300 for content in shown.pictures)


def test_the_same_run_writes_the_same_page(found: Findings, tmp_path: Path) -> None:
    page(found, tmp_path)
    first = (tmp_path / "r.html").read_bytes()
    page(found, tmp_path)
    assert (tmp_path / "r.html").read_bytes() == first


def test_a_run_alone_is_a_page_without_a_comparison(found: Findings, tmp_path: Path) -> None:
    shown = page(Findings(runs={"first": found.first}, resamples=100), tmp_path)
    assert shown.tags.count("svg") == 1
    assert "minus" not in shown.text
    assert "MedCLIP" not in shown.text


def test_figures_name_the_runs_and_leave_nothing_out() -> None:
    drawn = dice_histogram({"ours": [0.0, 0.5, 1.0], "theirs": [1.0]})
    assert all(f">{name}</text>" in drawn for name in ("ours", "theirs", "Dice", "cases"))
    assert "http" not in re.sub(r'xmlns[:\w]*="[^"]*"', "", drawn)
    pairs = dice_pairs({"a": 0.1, "b": 0.9}, {"b": 0.2, "c": 1.0}, ("ours", "theirs"))
    assert "Dice of theirs" in pairs


def test_without_matplotlib_the_error_names_the_extra(
    found: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"pip install 'medclipsam\[eval\]'"):
        write_report(found, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_picture_tells_right_from_missed_and_from_too_much() -> None:
    drawn = draw_case(np.roll(BLOCK, 4, axis=1), BLOCK)
    assert drawn.slice_index is None
    colours = {colour for _, colour in drawn.picture.getcolors() or ()}
    assert colours >= {RIGHT, MISSED, TOO_MUCH}
    scale = drawn.picture.width / 30
    assert [drawn.picture.getpixel((round((x + 0.5) * scale), round(10.5 * scale))) for x in (6, 11, 17)] == [
        MISSED,
        RIGHT,
        TOO_MUCH,
    ]


def test_the_scan_lies_under_both_contours_where_its_size_is_that_of_the_masks() -> None:
    scan = np.full((20, 30, 3), 0.5, np.float32)
    with_scan = draw_case(np.roll(BLOCK, 8, axis=1), BLOCK, scan).picture
    assert with_scan.width > 600
    left = np.asarray(with_scan)[:, :320].reshape(-1, 3).astype(int)
    for colour in (REFERENCE, PREDICTED):
        assert np.abs(left - colour).sum(axis=1).min() < 12
    assert draw_case(BLOCK, BLOCK, scan[:10]).picture.width == 320


def test_a_volume_shows_the_slice_with_the_most_wrong_pixels() -> None:
    reference = np.stack([BLOCK, EMPTY, BLOCK, BLOCK])
    predicted = np.stack([BLOCK, EMPTY, np.roll(BLOCK, 1, axis=0), EMPTY])
    assert draw_case(predicted, reference).slice_index == 3
    assert draw_case(reference, reference).slice_index == 0


def test_scans_are_found_by_path_or_by_a_name_that_is_theirs_alone(tmp_path: Path) -> None:
    folder(tmp_path, u__a=BLOCK, v__a=EMPTY, v__b=BLOCK)
    (tmp_path / "broken.png").write_bytes(b"broken")
    scans = Scans(tmp_path)
    assert scans.of("v/a") is not None
    assert scans.of("v/a").max() == 0
    assert scans.of("elsewhere/b").max() == 1
    assert [scans.of(name) for name in ("a", "broken", "none")] == [None] * 3
    for wrong in ("none", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(BadInput):
            Scans(tmp_path / wrong)
