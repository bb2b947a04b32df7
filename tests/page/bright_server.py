"""Serves the bright method of the tests: it costs nothing, and takes points as well as boxes."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bright import BrightSegmenter

from medclipsam.serve.run import Serving, serve
from medclipsam.serve.state import Running


def say(running: Running) -> None:
    """The address and token, as the command prints them with --json."""
    sys.stdout.write(json.dumps({"url": running.url, "token": running.token}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        serve(Serving(port=0), BrightSegmenter, say)
