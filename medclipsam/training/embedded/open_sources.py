"""Names the sources of the data whose licence allows commercial use: `medclipsam train embedded-open` reads no others.

    open_sources.toml: folder, original, licence  -->  EMBEDDED_OPEN_DATA.only  -->  read_images(..., only=...)

No torch here: `--show-config` prints the list.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from medclipsam.training.recipes import EmbeddedData

FILE = "open_sources.toml"


@dataclass(frozen=True, kw_only=True)
class OpenSource:
    """A source that weights for work may be trained on."""

    folder: str
    """`dataset` in index.csv."""
    original: str
    """What the images are, and whose."""
    licence: str
    """As the mirror states it that the images come from."""


@cache
def open_sources() -> tuple[OpenSource, ...]:
    """All of them, in the order of the file."""
    text = files(__package__).joinpath(FILE).read_text("utf-8")
    return tuple(OpenSource(**entry) for entry in tomllib.loads(text)["source"])


EMBEDDED_OPEN_DATA = EmbeddedData(only=tuple(source.folder for source in open_sources()))
