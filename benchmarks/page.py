"""Measures how long a person waits on the page, in a real Chromium, and takes the pictures of docs/.

    python benchmarks/page.py [--repeats 7] [--out benchmarks/results/page.md] [--pictures docs]

The scan is the abdominal MRI that comes with pydicom. A time is what the page itself shows: from the words, or the end
of a box, until the mask and the evidence are decoded in the browser.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from statistics import median
from subprocess import run
from typing import Any

from driving import chromium, drag, drop, medclipsam, open_page, press, serving, status, text, type_words, wait
from PIL import Image
from pydicom import examples
from setting import machine, versions

OTHER_WORDS = ("spleen", "kidneys", "lungs", "breast tumor", "polyp", "optic disc", "skin lesion", "pancreas", "aorta")
REVIEWED = ("liver", "spleen", "kidneys", "stomach")
ON_TORCH = ("--encoder-engine", "torch")
"""What the table says of itself, whatever engines the machine has."""
COLOURS = 256
"""Of a picture in docs/: half the bytes; chosen so that rare colours stay."""


def shown_s(browser: Any, begins: str) -> float:
    """The seconds that the status line shows once the answer is there."""
    found = wait(browser, lambda: re.match(rf"{re.escape(begins)}: .*\(([0-9.]+) s\)", status(browser)))
    return float(found[1])


def ask(browser: Any, words: str) -> float:
    """Type words; the seconds until the answer is on the screen."""
    type_words(browser, words)
    return shown_s(browser, words)


def measured(browser: Any, scan: Path, repeats: int) -> dict[str, list[float]]:
    """Seconds of each kind of question on one scan."""
    drop(browser, scan)
    times: dict[str, list[float]] = {"first words on a scan": [ask(browser, "liver")]}
    times["further words"] = [ask(browser, words) for words in OTHER_WORDS[:repeats]]
    browser.find_element("css selector", "#layers li .name").click()
    press(browser, "\ue00c", "b")
    boxes = []
    for number in range(repeats):
        browser.execute_script("document.getElementById('status').textContent = ''")
        drag(browser, 90 + 9 * number, 60 + 9 * number)
        boxes.append(shown_s(browser, "liver"))
    return times | {"a box": boxes}


def table(times: dict[str, list[float]]) -> str:
    """Markdown."""
    rows = [
        f"| {name} | {len(found)} | {median(found):.2f} | {min(found):.2f} to {max(found):.2f} |"
        for name, found in times.items()
    ]
    head = "| what is asked | times | median, s | range, s |\n|---|---|---|---|\n"
    told = f"{machine()}; {versions('torch', 'selenium')}; other work ran on the machine."
    return f"{head}{chr(10).join(rows)}\n\nAbdominal MRI of 484 x 300 pixels, preset embedded. {told}\n"


def keep(browser: Any, path: Path) -> None:
    """A picture of the page in few bytes."""
    browser.save_screenshot(str(path))
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE).save(path, "PNG", optimize=True)


def scan_pictures(server: dict[str, str], scan: Path, place: Path, folder: Path) -> None:
    """The room for one scan: wide, narrow, and dark with the evidence."""
    for name, width, height, dark in (
        ("wide", 1280, 720, False),
        ("narrow", 400, 900, False),
        ("dark", 1280, 720, True),
    ):
        with chromium(folder / name, width, height, dark=dark) as browser:
            open_page(browser, server)
            drop(browser, scan)
            for words in ("liver", "breast tumor"):
                ask(browser, words)
            browser.find_element("css selector", "#layers li .name").click()
            if dark:
                press(browser, "\ue00c", "e")
            settle(browser)
            keep(browser, place / f"page-{name}.png")


def review_picture(scan: Path, place: Path, folder: Path) -> None:
    """The review room, one decision taken."""
    labels, scans = folder / "labels", folder / "scans"
    scans.mkdir()
    (scans / "mri.dcm").write_bytes(scan.read_bytes())
    prompts = [part for prompt in REVIEWED for part in ("--prompt", prompt)]
    run([sys.executable, "-m", "medclipsam", "pseudolabel", scans, "-o", labels, *prompts, *ON_TORCH], check=True)
    with (
        serving(folder, *medclipsam("review", labels, "--images", scans, *ON_TORCH)) as server,
        chromium(folder / "review", 1280, 720) as browser,
    ):
        open_page(browser, server)
        wait(browser, lambda: text(browser, "#progress").startswith("0 of "))
        settle(browser)
        keep(browser, place / "page-review.png")


def settle(browser: Any) -> None:
    """Wait for two frames, after which all is drawn."""
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    browser.execute_async_script("setTimeout(arguments[0], 500)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/page.md"))
    parser.add_argument("--pictures", type=Path)
    chosen = parser.parse_args()
    scan = Path(str(examples.get_path("overlay")))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with serving(folder, *medclipsam("serve", *ON_TORCH)) as server:
            with chromium(folder / "measured") as browser:
                open_page(browser, server)
                wait(browser, lambda: browser.execute_script("return document.body.dataset.model"))
                chosen.out.write_text(table(measured(browser, scan, chosen.repeats)))
            if chosen.pictures:
                scan_pictures(server, scan, chosen.pictures, folder)
        if chosen.pictures:
            review_picture(scan, chosen.pictures, folder)


if __name__ == "__main__":
    main()
