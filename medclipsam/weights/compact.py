"""Says which file is the embedded CLIP: the one that comes with the package, or a person's own."""

from __future__ import annotations

from pathlib import Path

from medclipsam.errors import MissingWeights
from medclipsam.weights.store import digest, find
from medclipsam.weights.table import lookup

TEACHER = "teacher.safetensors"
"""What a student of self-training has beside it: the model that it was trained from."""


def teacher_beside(weights: Path | None) -> Path | None:
    """The teacher that a run of self-training keeps beside its student; None where there is none."""
    file = weights / TEACHER if weights else None
    return file if file and file.is_file() else None


def compact_weights(weights: Path | None = None, key: str = "compact") -> tuple[Path, str]:
    """The file of the embedded CLIP and its SHA-256: one that comes with the package, or one's own.

    Args:
        weights: the folder of a `finetune` run, or a file of its kind; its hash is told, not compared.
        key: which of the package's, where there are none of one's own.

    Raises:
        MissingWeights: it is not there.
        WrongHash: the package's file is not the one that was released.
    """
    if weights is None:
        found = find(key)
        return found.file, found.sha256
    file = weights / lookup("compact").file if weights.is_dir() else weights
    if weights.is_dir() and not file.is_file():
        raise MissingWeights(f"{weights} holds no {file.name}", "give a run of `medclipsam finetune --preset embedded`")
    return file, digest(file)
