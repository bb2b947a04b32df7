"""Writes one page of overlays, the least sure first, without server or script: the masks to look at first.

    index.html   doubtful and done, by confidence   |   not found, the nearest miss first   |   refused, with the reason

All text is escaped, nothing is loaded but the overlays beside the page, and the same records give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from medclipsam import html
from medclipsam.io.atomic import write_atomic
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.runs.manifest import Record

STYLE = """
.bar { background: var(--line); border-radius: 3px; height: 6px; margin: .4rem 0 }
.bar i { background: hsl(var(--hue) 65% 45%); border-radius: 3px; display: block; height: 100%; width: var(--width) }
.doubtful { color: #c2410c; font-weight: 600 }
"""
PANELS = "Two panels: the mask's contour with the box that SAM was asked with, and where the words find their evidence."
ORDER = "The least sure come first. Confidence is not the truth: look at the masks before you learn from them."


def write_sheet(path: Path, records: Sequence[Record], settings: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: the page; overlays are named relative to its folder.
        records: in any order.
        settings: those of `run.json`.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    found, missed = least_sure_first(records)
    unread = sorted((record for record in records if record.status in ("refused", "failed")), key=_by_name)
    parts = [
        *html.begin("medclipsam pseudo-labels", STYLE),
        *_head(records, settings),
        *_cards("found", "Masks", ORDER, found),
        *_cards("not-found", "Not found", "The nearest misses, by presence, come first.", missed),
        *html.table(f"Refused ({len(unread):,})", _reasons(unread), "refused"),
        *html.end(),
    ]
    write_atomic(path, "\n".join(parts))


def least_sure_first(records: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """(records with a mask, the least sure first; those where nothing was found, the nearest miss first)."""
    known = list(records)
    found = sorted((record for record in known if record.confidence is not None), key=_least_sure)
    missed = sorted((record for record in known if record.status == "not found"), key=_nearest)
    return found, missed


def _head(records: Sequence[Record], settings: Mapping[str, Any]) -> Iterator[str]:
    counts: Counter[str] = Counter(record.status for record in records)
    counted = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
    yield f"<h1>Pseudo-labels: {len(records):,} answers</h1><p>{escape(counted)}.</p>"
    yield f'<p class="faded">{escape(", ".join(_made(settings)))}. {escape(RESEARCH_USE_ONLY)}</p>'
    yield f'<p class="faded">{PANELS}</p>'


def _made(settings: Mapping[str, Any]) -> Iterator[str]:
    """How the masks came about, as far as it is not as everywhere."""
    yield f"Preset {settings.get('preset', {}).get('name', settings.get('method', ''))}"
    if settings.get("precision", "fp32") != "fp32":
        yield str(settings["precision"])
    yield f"seed {settings['seed']}"
    if settings["min_confidence"] > 0:
        yield f"masks below confidence {settings['min_confidence']:.2f} are doubtful"


def _cards(name: str, title: str, hint: str, records: Sequence[Record]) -> Iterator[str]:
    if not records:
        return
    yield f'<h2 id="{name}">{title} ({len(records):,})</h2><p class="faded">{hint}</p><div class="cards">'
    for record in records:
        overlay = next((file for file in record.outputs if file.startswith("overlays/")), "")
        yield html.card(quote(overlay), "".join(_caption(record)), link=quote(overlay))
    yield "</div>"


def _caption(record: Record) -> Iterator[str]:
    if record.confidence is not None:
        doubtful = ' <span class="doubtful">doubtful</span>' if record.status == "doubtful" else ""
        share = f"--width:{record.confidence:.0%};--hue:{120 * record.confidence:.0f}"
        yield f'<span class="faded">confidence</span> <strong>{record.confidence:.2f}</strong>{doubtful}'
        yield f'<div class="bar" style="{share}"><i></i></div>'
    yield f"<div>{escape(record.prompt or '')}</div><div>{escape(record.spoken)}</div>"
    yield f'<div class="faded">{", ".join(_facts(record))}</div>'
    yield from (f'<div class="faded">note: {escape(warning)}</div>' for warning in record.warnings)


def _facts(record: Record) -> Iterator[str]:
    if record.presence is not None:
        yield f"presence {record.presence:.2f}"
    if record.sam_scores:
        yield f"SAM {sum(record.sam_scores) / len(record.sam_scores):.2f}"
    if record.area_px:
        yield f"{record.area_px:,} px" + (f" = {record.area_mm2:,.1f} mm&sup2;" if record.area_mm2 is not None else "")
    if record.pictures:
        masks = sum(picture.confidence is not None for picture in record.pictures)
        yield f"masks in {masks} of {len(record.pictures)} pictures"


def _reasons(records: Sequence[Record]) -> list[list[str]]:
    rows = [[record.spoken, record.prompt or "", record.status, record.reason or ""] for record in records]
    return [["case", "prompt", "status", "reason"], *rows] if rows else []


def _least_sure(record: Record) -> tuple[float, str, str]:
    return record.confidence or 0.0, *_by_name(record)


def _nearest(record: Record) -> tuple[float, str, str]:
    return -(record.presence or 0.0), *_by_name(record)


def _by_name(record: Record) -> tuple[str, str]:
    return record.spoken, record.prompt or ""
