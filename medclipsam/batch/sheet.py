"""Which masks should a person look at first? One page of overlays, the least sure first, without server or script.

    index.html   doubtful and done, by confidence   |   not found, the nearest miss first   |   refused, with the reason

All text is escaped, nothing is loaded but the overlays beside the page, and the same records give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from medclipsam.batch.manifest import Record
from medclipsam.io.atomic import write_atomic
from medclipsam.notice import RESEARCH_USE_ONLY

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faded: #888; --card: #8881 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1680px; padding: 1.5rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2.2rem 0 .8rem }
p { margin: .3rem 0; max-width: 60rem } a { color: inherit } .faded { color: var(--faded) }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)) }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0; overflow: hidden }
figure img { aspect-ratio: 2; background: #111418; display: block; object-fit: contain; width: 100% }
figcaption { padding: .6rem .8rem } figcaption div { overflow-wrap: anywhere }
.bar { background: var(--line); border-radius: 3px; height: 6px; margin: .4rem 0 }
.bar i { background: hsl(var(--hue) 65% 45%); border-radius: 3px; display: block; height: 100%; width: var(--width) }
.doubtful { color: #c2410c; font-weight: 600 } strong { font-size: 1.05rem }
table { border-collapse: collapse } td, th { padding: .25rem 1.2rem .25rem 0; text-align: left; vertical-align: top }
"""
ORDER = "The least sure come first. Confidence orders masks; it is neither a probability nor an expected accuracy."


def write_sheet(path: Path, records: Sequence[Record], settings: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        path: the page; overlays are named relative to its folder.
        records: in any order.
        settings: those of `run.json`.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    found = sorted((record for record in records if record.confidence is not None), key=_least_sure)
    missed = sorted((record for record in records if record.status == "not found"), key=_nearest)
    unread = sorted((record for record in records if record.status in ("refused", "failed")), key=_by_name)
    parts = [
        *_head(records, settings),
        *_cards("found", "Masks", ORDER, found),
        *_cards("not-found", "Not found", "The nearest misses, by presence, come first.", missed),
        *_reasons(unread),
        "</body></html>\n",
    ]
    write_atomic(path, "\n".join(parts))


def _head(records: Sequence[Record], settings: Mapping[str, Any]) -> Iterator[str]:
    counts: Counter[str] = Counter(record.status for record in records)
    counted = ", ".join(f"{count:,} {status}" for status, count in sorted(counts.items()))
    preset = settings.get("preset", {}).get("name", settings.get("method", ""))
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>medclipsam pseudo-labels</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body>"
    yield f"<h1>Pseudo-labels: {len(records):,} cases</h1><p>{escape(counted)}.</p>"
    yield f'<p class="faded">Preset {escape(str(preset))}, seed {escape(str(settings["seed"]))}, masks below confidence'
    yield f"{settings['min_confidence']:.2f} are doubtful. {escape(RESEARCH_USE_ONLY)}</p>"


def _cards(name: str, title: str, hint: str, records: Sequence[Record]) -> Iterator[str]:
    if not records:
        return
    yield f'<h2 id="{name}">{title} ({len(records):,})</h2><p class="faded">{hint}</p><div class="cards">'
    for record in records:
        overlay = next((escape(file) for file in record.outputs if file.startswith("overlays/")), "")
        picture = f'<a href="{overlay}"><img loading="lazy" src="{overlay}" alt="overlay"></a>' if overlay else ""
        yield f"<figure>{picture}<figcaption>{''.join(_caption(record))}</figcaption></figure>"
    yield "</div>"


def _caption(record: Record) -> Iterator[str]:
    if record.confidence is not None:
        doubtful = ' <span class="doubtful">doubtful</span>' if record.status == "doubtful" else ""
        share = f"--width:{record.confidence:.0%};--hue:{120 * record.confidence:.0f}"
        yield f"<strong>{record.confidence:.2f}</strong>{doubtful}"
        yield f'<div class="bar" style="{share}"><i></i></div>'
    yield f"<div>{escape(record.prompt or '')}</div><div>{escape(record.case)}</div>"
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


def _reasons(records: Iterable[Record]) -> Iterator[str]:
    rows = [(record.case, record.prompt or "", record.status, record.reason or "") for record in records]
    if rows:
        yield f'<h2 id="refused">Refused ({len(rows):,})</h2><table>'
        yield "<tr><th>case</th><th>prompt</th><th>status</th><th>reason</th></tr>"
        yield from (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        yield "</table>"


def _least_sure(record: Record) -> tuple[float, str, str]:
    return record.confidence or 0.0, *_by_name(record)


def _nearest(record: Record) -> tuple[float, str, str]:
    return -(record.presence or 0.0), *_by_name(record)


def _by_name(record: Record) -> tuple[str, str]:
    return record.case, record.prompt or ""
