"""The child's side of the sandbox: a program of `medclipsam.io.child` that opens a scan and gives its images.

request    path, options, number of the opening, index (none: only open)
answer     name, format, spacing, warnings, shape | float32 pixels, one channel where three are the same;
           type and unit of values, plane         | stored values
           problem, remedy                          where the file is refused
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.io.child import serve
from medclipsam.io.reading import open_source, picture
from medclipsam.io.source import ReadOptions, Source
from medclipsam.types import MedImage


class _Reader:
    """Keeps the scan of the last opening, because its pictures are asked for one by one."""

    def __init__(self) -> None:
        self._open: tuple[int, Source] | None = None

    def answer(self, request: dict[str, Any], _body: bytes) -> tuple[dict[str, Any], Any]:
        """One picture, or why there is none."""
        try:
            source = self._opened(request)
            if request["index"] is None:
                return {}, b""
            return _told(picture(source, request["index"]))
        except BadInput as error:
            return {"problem": error.problem, "remedy": error.remedy}, b""

    def _opened(self, request: dict[str, Any]) -> Source:
        if self._open is None or self._open[0] != request["number"]:
            self._open = None
            options = request["options"]
            if isinstance(options["window"], list):
                options["window"] = tuple(options["window"])
            path, as_stored = Path(request["path"]), request["as_stored"]
            self._open = request["number"], open_source(path, ReadOptions(**options), as_stored=as_stored)
        return self._open[1]


def _told(image: MedImage) -> tuple[dict[str, Any], Any]:
    pixels = image.pixels
    if (pixels[..., :1] == pixels[..., 1:]).all():
        pixels = pixels[..., :1]
    values = b"" if image.values is None else np.ascontiguousarray(image.values).tobytes()
    head = {
        "name": image.name,
        "format": image.format,
        "spacing_mm": image.spacing_mm,
        "warnings": image.warnings,
        "shape": pixels.shape,
        "values": None if image.values is None else image.values.dtype.str,
        "values_unit": image.values_unit,
        "plane_lps": None if image.plane_lps is None else image.plane_lps.ravel().tolist(),
        "towards_left": image.towards_left,
    }
    return head, np.ascontiguousarray(pixels).tobytes() + values


if __name__ == "__main__":
    serve(_Reader().answer)
