"""A method that ends its process, as a decoder that crashes or a machine that is switched off would."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from bright import BrightSegmenter

from medclipsam.types import MedImage, Segmentation


class Deadly(BrightSegmenter):
    """Its process dies over pictures named b, as long as the file `mark` holds a byte; each death takes one."""

    def __init__(self, mark: Path) -> None:
        super().__init__()
        self.mark = mark

    def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
        result = super().segment(image, text, **options)
        left = self.mark.read_bytes()
        if image.name.startswith("b-") and left:
            self.mark.write_bytes(left[1:])
            os.kill(os.getpid(), signal.SIGKILL)
        return result
