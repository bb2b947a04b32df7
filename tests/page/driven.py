"""What a person does on the page, as a browser's driver does it."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

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
"""Of addresses that the browser answers itself, such as its own first page."""


def open_page(browser: Any, server: dict[str, str]) -> None:
    """Open the printed address and wait until the page is there."""
    browser.get(f"{server['url']}/?token={server['token']}")
    wait(lambda: browser.execute_script("return document.body.dataset.ready"), browser)


def wait(found: Any, browser: Any, seconds: float = 60) -> Any:
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
    return str(browser.execute_script("return document.getElementById('status').textContent"))


def text(browser: Any, selector: str) -> str:
    """The text of the first element; empty where there is none."""
    return str(browser.execute_script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))


def drop(browser: Any, path: Path) -> None:
    """Drop a file on the page."""
    browser.execute_script(DROP)
    browser.find_element("id", "carried").send_keys(str(path))


def press(browser: Any, *keys: str) -> None:
    """Press keys where the focus is."""
    from selenium.webdriver.common.action_chains import ActionChains

    for key in keys:
        ActionChains(browser, duration=0).send_keys(key).perform()


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
