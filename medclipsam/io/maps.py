"""How is a map of numbers between 0 and 1 kept? As a 16-bit PNG whose scale is fixed: 65535 is 1.

Absolute values survive to within 1 / 131070, and maps of different pictures can be compared.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from medclipsam.io.atomic import write_atomic
from medclipsam.types import FloatArray

FULL = 65535


def write_map(values: FloatArray, path: Path) -> Path:
    """Write (height, width) in [0, 1] to `path`, a .png.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    stream = BytesIO()
    Image.fromarray((np.clip(values, 0, 1) * FULL).round().astype(np.uint16)).save(stream, "PNG")
    return write_atomic(path, stream.getvalue())
