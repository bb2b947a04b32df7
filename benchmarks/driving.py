"""Drives the page in a real Chromium as a person does: for the tests of the page, and for what is measured on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--force-device-scale-factor=1",
)
DROP = """
const [input, target] = [document.createElement('input'), document.getElementById('view')];
input.type = 'file'; input.id = 'carried';
input.onchange = () => {
  const held = new DataTransfer();
  for (const file of input.files) held.items.add(file);
  target.dispatchEvent(new DragEvent('drop', { dataTransfer: held, bubbles: true, cancelable: true }));
  input.remove();
};
document.body.append(input);
"""
PAINTED = """
const canvas = document.getElementById('view');
const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
let count = 0;
for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 2]) > 40;
return count;
"""
"""How many pixels on the screen have a colour; the scans of the tests are grey."""
WITHIN = ("data", "blob", "chrome", "chrome-untrusted")
"""Schemes of addresses that the browser answers itself, such as its own first page."""
ENDED = (0, 128 + signal.SIGINT)


def programs() -> tuple[str, str] | None:
    """The browser and its driver; None where the machine lacks one of them."""
    found = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    return (str(found[0]), str(found[1])) if all(found) else None


@contextmanager
def chromium(folder: Path, width: int = 1366, height: int = 768, *, dark: bool = False) -> Iterator[Any]:
    """A fresh browser that notes what it asks, with its profile and its `downloads` in a folder."""
    from selenium import webdriver  # noqa: PLC0415  (where there is no browser it is not needed)
    from selenium.webdriver.chrome.options import Options  # noqa: PLC0415
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

    found = programs()
    if found is None:
        raise SystemExit("Debian's packages chromium and chromium-driver are not installed")
    options = Options()
    options.binary_location = found[0]
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    (folder / "downloads").mkdir(parents=True, exist_ok=True)
    browser = webdriver.Chrome(options=options, service=Service(found[1]))
    try:
        resize(browser, width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        yield browser
    finally:
        browser.quit()


def resize(browser: Any, width: int, height: int) -> None:
    """The size of the page, also below the least width of a window."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@contextmanager
def serving(folder: Path, *command: object) -> Iterator[dict[str, str]]:
    """A server by its command; gives the address and the token that it prints, and ends it as Ctrl-C does."""
    environment = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    program = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout is not None
    try:
        yield json.loads(program.stdout.readline())
    finally:
        program.send_signal(signal.SIGINT)
        if program.wait(20) not in ENDED:
            raise RuntimeError(f"the server ended with {program.returncode}")


def medclipsam(*arguments: object) -> tuple[object, ...]:
    """The command line of a server that says its address as JSON."""
    return (sys.executable, "-m", "medclipsam", *arguments, "--port", "0", "--json")


def open_page(browser: Any, server: dict[str, str]) -> None:
    """Open the printed address and wait until the page is there."""
    browser.get(f"{server['url']}/?token={server['token']}")
    wait(browser, lambda: browser.execute_script("return document.body.dataset.ready"))


def wait(browser: Any, found: Any, seconds: float = 120) -> Any:
    """What is found, once it is there; the status line says why not."""
    until = monotonic() + seconds
    while monotonic() < until:
        there = found()
        if there:
            return there
        sleep(0.05)
    raise AssertionError(f"never came; the page says: {status(browser)!r}; {browser.get_log('browser')}")


def status(browser: Any) -> str:
    """The status line."""
    return text(browser, "#status")


def text(browser: Any, selector: str) -> str:
    """The text of the first element; empty where there is none."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def answer(browser: Any, number: int) -> str:
    """What the list says of the prompt of this number: `found`, `nothing`, `waiting` or `unasked`."""
    script = "return document.querySelectorAll('#layers li')[arguments[0]]?.dataset.answer ?? ''"
    return str(browser.execute_script(script, number))


def drop(browser: Any, path: Path) -> None:
    """Drop a file on the page, and wait until it is open."""
    browser.execute_script(DROP)
    browser.find_element("id", "carried").send_keys(str(path))
    wait(browser, lambda: "Type what" in status(browser))


def type_words(browser: Any, words: str) -> None:
    """Go to the words by key, type others and ask."""
    browser.execute_script("document.getElementById('view').focus(); document.getElementById('words').value = ''")
    press(browser, "/", words, "\n")


def press(browser: Any, *keys: str) -> None:
    """Press keys where the focus is."""
    from selenium.webdriver.common.action_chains import ActionChains  # noqa: PLC0415

    for key in keys:
        ActionChains(browser, duration=0).send_keys(key).perform()


def leap(browser: Any, key: str, times: int) -> None:
    """Press an arrow with Shift, which moves the cross by ten pixels."""
    from selenium.webdriver.common.action_chains import ActionChains  # noqa: PLC0415

    ActionChains(browser, duration=0).key_down("\ue008").send_keys(key * times).key_up("\ue008").perform()


def drag(browser: Any, across: int, down: int) -> None:
    """Drag the mouse over the image, from its middle."""
    from selenium.webdriver.common.action_chains import ActionChains  # noqa: PLC0415

    view = browser.find_element("id", "view")
    ActionChains(browser).move_to_element(view).click_and_hold().move_by_offset(across, down).release().perform()


def painted(browser: Any) -> int:
    """How many pixels of the view are coloured."""
    return int(browser.execute_script(PAINTED))


def addresses(browser: Any) -> list[str]:
    """Whom the pages asked since the last call: scheme and host of each request that leaves the browser."""
    asked = []
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            parts = urlsplit(message["params"]["request"]["url"])
            if parts.scheme not in WITHIN:
                asked.append(f"{parts.scheme}://{parts.netloc}")
    return asked


def errors(browser: Any) -> list[Any]:
    """What the browser calls an error: a script that fails, or something that the page's policy keeps out."""
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
