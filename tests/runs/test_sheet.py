"""Does the page show the least sure masks first, with nothing but what lies beside it, whatever the words?"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medclipsam.drawing.thumbnail import PANEL, draw_thumbnail
from medclipsam.io.npy import image_from_array
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.runs.manifest import Picture, Record
from medclipsam.runs.sheet import write_sheet
from medclipsam.types import Box, Segmentation

SETTINGS = {"preset": {"name": "embedded"}, "seed": 3, "min_confidence": 0.4}
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'


def found(case: str, confidence: float | None, **changed: Any) -> Record:
    outputs = {f"masks/x/{case}.png": "0" * 64, f"overlays/x/{case}.jpg": "0" * 64}
    return Record(
        **{
            "case": case,
            "prompt": "x",
            "status": "done",
            "config_sha256": "0" * 64,
            "presence": 0.5,
            "confidence": confidence,
            "area_px": 10,
            "outputs": outputs,
            **changed,
        }
    )


RECORDS = [
    found("sure", 0.9, sam_scores=(0.8, 0.9), area_mm2=2.5),
    found("unsure", 0.1, status="doubtful", warnings=("spacing is unknown",)),
    found("middle", 0.5),
    found("far", None, status="not found", presence=0.01, area_px=0),
    found("near", None, status="not found", presence=0.45, area_px=0),
    Record(case="broken", prompt=None, status="refused", reason="is empty", config_sha256="0" * 64),
]


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(folder: Path, records: list[Record]) -> Page:
    write_sheet(folder / "index.html", records, SETTINGS)
    shown = Page((folder / "index.html").read_text(encoding="utf-8"))
    assert shown.open == []
    return shown


def test_the_least_sure_come_first_then_the_nearest_misses_then_what_was_refused(tmp_path: Path) -> None:
    shown = page(tmp_path, RECORDS).text
    order = [shown.index(name) for name in ("unsure", "middle", "0.90", "near", "far", "broken")]
    assert order == sorted(order)
    for said in ("6 answers", "2 done", "doubtful", "is empty", "spacing is unknown"):
        assert said in shown
    assert "SAM 0.85" in shown
    assert RESEARCH_USE_ONLY in shown


def test_every_picture_lies_beside_the_page_and_no_script_runs(tmp_path: Path) -> None:
    shown = page(tmp_path, RECORDS)
    assert set(shown.links) == {f"overlays/x/{name}.jpg" for name in ("sure", "unsure", "middle", "far", "near")}
    assert {"script", "link", "iframe", "form"}.isdisjoint(shown.tags)
    assert not re.search(r"https?:|url\(|@import", (tmp_path / "index.html").read_text())


def test_words_stay_words(tmp_path: Path) -> None:
    records = [
        found("a", 0.5, prompt=HOSTILE, warnings=(HOSTILE,)),
        Record(case="b", prompt=HOSTILE, status="refused", reason=HOSTILE, config_sha256="0" * 64),
    ]
    shown = page(tmp_path, records)
    assert shown.text.count(HOSTILE) == 4
    assert "script" not in shown.tags
    assert shown.tags.count("img") == 1


def test_several_pictures_of_a_file_are_counted(tmp_path: Path) -> None:
    pictures = [
        Picture(index=k, status="done", presence=1, confidence=sure, sam_scores=(), box=None, area_px=1, area_mm2=None)
        for k, sure in enumerate((0.5, None, 0.7))
    ]
    assert "masks in 2 of 3 pictures" in page(tmp_path, [found("v", 0.5, pictures=tuple(pictures))]).text


def test_the_order_of_the_records_changes_nothing(tmp_path: Path) -> None:
    page(tmp_path, RECORDS)
    first = (tmp_path / "index.html").read_bytes()
    page(tmp_path, RECORDS[::-1])
    assert (tmp_path / "index.html").read_bytes() == first


def test_no_cases_are_a_page_too(tmp_path: Path) -> None:
    assert "0 answers" in page(tmp_path, []).text


def answer(size: tuple[int, int], *, found: bool = True) -> Segmentation:
    mask = np.zeros(size, bool)
    mask[size[0] // 2, size[1] // 2] = found
    saliency = np.zeros(size, np.float32)
    saliency[: size[0] // 2] = 0.1
    boxes = (Box(x0=0, y0=0, x1=size[1] // 2, y1=size[0] // 2),) if found else ()
    return Segmentation(
        prompt="x", mask=mask, probability=saliency, saliency=saliency, found=found, presence=0.5, boxes=boxes
    )


@pytest.mark.parametrize("size", [(2, 2), (40, 60), (900, 1000), (3, 2000), (2000, 3), (50, 300)])
def test_a_thumbnail_fits_two_panels_whatever_the_size(size: tuple[int, int]) -> None:
    grey = np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size)
    drawn = draw_thumbnail(image_from_array(grey), answer(size))
    assert max(drawn.size) <= 2 * PANEL + 10
    assert max(drawn.size) >= PANEL


def test_a_mask_of_one_pixel_shows_in_a_huge_image_and_an_empty_one_draws_no_contour() -> None:
    image = image_from_array(np.linspace(0, 1, 10**6, dtype=np.float32).reshape(1000, 1000))
    with_mask, without = (
        np.asarray(draw_thumbnail(image, answer((1000, 1000), found=found))) for found in (True, False)
    )
    left = slice(None), slice(0, PANEL)
    coloured = [np.ptp(picture[left].astype(int), axis=2) > 60 for picture in (with_mask, without)]
    assert coloured[0][PANEL // 2 - 5 : PANEL // 2 + 6, PANEL // 2 - 5 : PANEL // 2 + 6].any()
    assert not coloured[1].any()


def test_faint_evidence_looks_faint() -> None:
    image = image_from_array(np.full((100, 100), 0.5, np.float32) + np.eye(100, dtype=np.float32) / 4)
    result = answer((100, 100), found=False)
    strong = Segmentation(**{**vars(result), "saliency": result.saliency * 9})
    faint, hot = (np.asarray(draw_thumbnail(image, each))[:100, -PANEL:].astype(int) for each in (result, strong))
    assert np.ptp(hot, axis=2).mean() > np.ptp(faint, axis=2).mean() + 20


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (SETTINGS, "Preset embedded, seed 3, masks below confidence 0.40 are doubtful."),
        ({**SETTINGS, "precision": "fp32", "min_confidence": 0.0}, "Preset embedded, seed 3."),
        ({**SETTINGS, "precision": "bf16", "min_confidence": 0.0}, "Preset embedded, bf16, seed 3."),
    ],
)
def test_the_page_says_how_the_masks_were_made(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    write_sheet(tmp_path / "index.html", RECORDS, settings)
    assert f"{told} {RESEARCH_USE_ONLY}" in (tmp_path / "index.html").read_text()
