"""The file by which a run on pseudo-labels is known: which networks were kept, and how they are asked.

RUN/ensemble.json                          backend, geometry, threshold, SHA-256 of each file, versions
    weights/epoch-0189.safetensors ...     one network each
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from medclipsam.config import EnsembleBackend, SquareFit
from medclipsam.errors import BadInput
from medclipsam.methods.run_file import RunFile
from medclipsam.weights import lookup


@dataclass(frozen=True, kw_only=True)
class EnsembleFile(RunFile):
    """What `ensemble.json` says."""

    name: ClassVar[str] = "ensemble.json"
    made_by: ClassVar[str] = "medclipsam refine"
    backend: EnsembleBackend
    prompt: str
    """What was learned."""
    side: int
    fit: SquareFit
    threshold: float
    """Probability above which a pixel is inside; another can be asked for."""
    files: Mapping[str, str]
    """SHA-256 of everything that has a say, by its path below the run."""
    weights: tuple[str, ...]
    """Those of `files` that are members."""
    network: Mapping[str, Any]
    """What else the backend needs to build it."""
    learned_from: Mapping[str, Any]
    """How many pictures, of which labels."""

    @classmethod
    def read(cls, run: Path) -> Self:
        """See `RunFile.read`; a run that trained the embedded model is told from one that holds nothing.

        Raises:
            BadInput, WrongHash: see there.
        """
        if not (run / cls.name).exists() and (run / lookup("compact").file).is_file():
            way_out = "use them by --weights of segment and pseudolabel"
            raise BadInput(f"{run} holds weights of the embedded model, no ensemble", way_out)
        return super().read(run)

    @property
    def hashes(self) -> Mapping[str, str]:
        """Those of everything that has a say."""
        return self.files
