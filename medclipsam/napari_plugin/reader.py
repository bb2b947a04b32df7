"""Opens in napari what `medclipsam segment` reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medclipsam.io.reading import is_readable
from medclipsam.napari_plugin.layers import Layer, image_layer

Paths = str | Sequence[str]


def get_reader(path: Paths) -> Callable[[Paths], list[Layer]] | None:
    """The reader of a file or a folder of DICOM; None of what is no scan, or of several files."""
    if not isinstance(path, str) or not (Path(path).is_dir() or is_readable(path)):
        return None
    return _read


def _read(path: Paths) -> list[Layer]:
    """One image layer.

    Raises:
        BadInput: a scan that cannot be read.
    """
    return [image_layer(Path(str(path)))]
