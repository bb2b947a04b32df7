"""What became of each scan that a refined run segmented? One JSON line for each, as `medclipsam.runs.manifest` has it.

{"case": "a-1c9d6c7b", "status": "done", "pictures": [...], "outputs": {"masks/a-1c9d6c7b.png": HASH, ...}, ...}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Self

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.runs.manifest import GO_ON

SCHEMA = 1
Status = Literal["done", "not found", "refused"]
MAPS = ("probability", "entropy", "information")
OUTPUT = re.compile(rf"(?:masks|{'|'.join(MAPS)})/[A-Za-z0-9_-]+\.(?:png|nii\.gz|nrrd|mha|mgz)")
"""What a record may name."""


@dataclass(frozen=True, kw_only=True)
class PicturePrediction:
    """One slice, frame or page of a scan."""

    name: str
    area_px: int
    """0: nothing is above the threshold."""
    probability_largest: float
    entropy_mean: float
    """Bits, over all pixels."""
    boundary_entropy: float | None
    """See `medclipsam.refine.uncertainty.boundary_score`; None where the mask is empty."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What became of one scan."""

    case: str
    status: Status
    reason: str | None = None
    """Why it was refused."""
    input_sha256: str | None = None
    config_sha256: str
    pictures: tuple[PicturePrediction, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file written, by its path below the folder."""

    @property
    def prompt(self) -> None:
        """A run learned one, and its folder has no choice."""

    def __post_init__(self) -> None:
        if not all(OUTPUT.fullmatch(name) for name in self.outputs):
            raise ValueError(f"outputs {list(self.outputs)} are not those of a prediction")

    def to_line(self) -> bytes:
        """One line of UTF-8 JSON."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self | None:
        """The record of a line; None where the line is none."""
        try:
            fields = json.loads(line)
            if fields.pop("schema") != SCHEMA:
                return None
            pictures = tuple(PicturePrediction(**picture) for picture in fields.pop("pictures"))
            return cls(**fields, pictures=pictures)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def read_predictions(path: Path) -> list[Prediction]:
    """All records of a manifest, the last of a scan counts; none where there is no such file.

    Raises:
        BadInput: a manifest of something else.
        CannotWrite: it cannot be read.
    """
    try:
        lines = [line for line in path.read_bytes().split(b"\n") if line]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CannotWrite(f"{path} cannot be read ({error.strerror})", GO_ON) from error
    records = [record for record in map(Prediction.from_line, lines) if record]
    if len(lines) > 1 and not records:
        raise BadInput(f"{path.name} is not that of a prediction", "choose another output folder")
    return records
