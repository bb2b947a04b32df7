"""What does a frozen part make of each image? Computed once, kept on disk in half precision, read at every step.

    bytes of the image, hashes of the frozen weights  --SHA-256-->  FOLDER/3f/3f9a...c1.npy

The name says all that the content depends on, so that runs, processes and machines may share a folder; memory holds no
more than a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medclipsam.errors import BadInput
from medclipsam.io.atomic import atomic_path


def kept_path(folder: Path, *of: str) -> Path:
    """Where the array lies that depends on all of this and on nothing else."""
    name = hashlib.sha256("\n".join(of).encode()).hexdigest()
    return folder / name[:2] / f"{name}.npy"


def keep(path: Path, array: Tensor) -> None:
    """Write an array in half precision, whole or not at all.

    Raises:
        CannotWrite: the disk is full or the folder is not writable.
    """
    with atomic_path(path) as temporary:
        np.save(temporary, array.detach().half().cpu().numpy())


def read_kept(path: Path) -> Tensor:
    """A kept array in single precision.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False)).float()
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path.name} in the folder of features cannot be read", "delete it and start again") from error


def digest_of(weights: Iterable[Tensor]) -> str:
    """SHA-256 of weights, whatever file they came from."""
    content = hashlib.sha256()
    for weight in weights:
        content.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()
