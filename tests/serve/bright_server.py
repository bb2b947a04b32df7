"""A program for tests: a real server on a free port, with the method that costs nothing; `slow 3` takes 3 seconds."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bright import BrightSegmenter

from medclipsam.serve.answers import Limits
from medclipsam.serve.run import Serving, serve
from medclipsam.types import Segmentation


class SlowSegmenter(BrightSegmenter):
    """Takes as many seconds as the prompt says: `slow 3`."""

    def segment(self, image: Any, text: str, *more: Any, **others: Any) -> Segmentation:
        """See the contract."""
        if text.startswith("slow "):
            time.sleep(float(text.split()[1]))
        return super().segment(image, text, *more, **others)


def told(running: Any) -> None:
    """The address and token, as `--json` prints them."""
    sys.stdout.write(json.dumps({"url": running.url, "token": running.token}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    folders = tuple(Path(text) for text in sys.argv[1:])
    serve(Serving(port=0, folders=folders, limits=Limits(queue=2)), SlowSegmenter, told)
