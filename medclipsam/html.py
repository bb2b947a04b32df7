"""Builds HTML pages: one look for all of them, light or dark as the reader's screen, without server or script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faded: #888; --card: #8881 }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1680px; padding: 1.5rem }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere } h2 { font-size: 1.1rem; margin: 2.2rem 0 .8rem }
p { margin: .3rem 0; max-width: 60rem } a { color: inherit } .faded { color: var(--faded) }
.cards { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)) }
figure { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: 0; overflow: hidden }
figure img { aspect-ratio: 2; background: #111418; display: block; object-fit: contain; width: 100% }
figcaption { padding: .6rem .8rem } figcaption div { overflow-wrap: anywhere }
strong { font-size: 1.05rem } .scroll { overflow-x: auto }
table { border-collapse: collapse } td, th { padding: .25rem 1.2rem .25rem 0; text-align: left; vertical-align: top }
th { border-bottom: 1px solid var(--line); font-weight: 600 }
"""


def begin(title: str, style: str = "") -> Iterator[str]:
    """The page up to its first heading; `style` adds to the common one."""
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}{style}</style></head><body>"


def end() -> Iterator[str]:
    """What closes a page."""
    yield "</body></html>\n"


def table(title: str, rows: Sequence[Sequence[str]], name: str = "") -> Iterator[str]:
    """A heading and rows of text, of which the first names the columns; nothing where there are no rows."""
    if not rows:
        return
    anchor = f' id="{name}"' if name else ""
    yield f'<h2{anchor}>{escape(title)}</h2><div class="scroll"><table>'
    for kind, row in zip(["th", *["td"] * (len(rows) - 1)], rows, strict=True):
        yield f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in row)}</tr>"
    yield "</table></div>"


def card(picture: str, caption: str, link: str = "") -> str:
    """A picture by its address, and HTML under it."""
    image = f'<img loading="lazy" src="{escape(picture)}" alt="">' if picture else ""
    linked = f'<a href="{escape(link)}">{image}</a>' if link else image
    return f"<figure>{linked}<figcaption>{caption}</figcaption></figure>"
