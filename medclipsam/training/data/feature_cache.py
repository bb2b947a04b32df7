"""A folder of what frozen networks made of images: computed once, kept as safetensors, read at every step.

    bytes of the image, hashes of the frozen weights  --SHA-256-->  FOLDER/3f/3f9a...c1.safetensors

The name says all that the content depends on, so that runs, processes and machines may share a folder; memory holds no
more than a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medclipsam.errors import BadInput, MissingWeights
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.tables import TarMember
from medclipsam.weights import digest


@dataclass(frozen=True)
class FeatureCache:
    """The cache in one folder."""

    folder: Path

    def path(self, *of: str) -> Path:
        """Where the tensors lie that depend on all of this and on nothing else."""
        name = hashlib.sha256("\n".join(of).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"


def write_features(path: Path, **tensors: Tensor) -> None:
    """Write tensors as they are, all or nothing.

    Raises:
        CannotWrite: the disk is full or the folder is not writable.
    """
    save_weights(path, tensors)


def read_features(path: Path) -> Mapping[str, Tensor]:
    """What `write_features` wrote.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path.name} in the folder of features cannot be read", "delete it and start again") from error


def digest_of_weights(weights: Iterable[Tensor]) -> str:
    """SHA-256 of weights, whatever file they came from."""
    content = hashlib.sha256()
    for weight in weights:
        content.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return content.hexdigest()


def digest_of_image(image: Path | TarMember) -> str:
    """SHA-256 of a file or of a member of a shard, and how its name ends.

    Raises:
        BadInput: it cannot be read.
    """
    suffix = Path(image.name).suffix
    try:
        content = digest(image) if isinstance(image, Path) else hashlib.sha256(image.read()).hexdigest()
    except (OSError, MissingWeights) as error:
        raise BadInput(f"{Path(image.name).name} cannot be read") from error
    return content + suffix
