"""The file by which the run of a supervised network is known: how it is built, what it learned, how well, from what.

RUN/network.json          settings, thresholds, what was taught, figures, SHA-256 of the weights, versions
    network.safetensors   the trained parts alone; frozen towers are named by their hashes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from medclipsam.errors import BadInput, WrongHash
from medclipsam.io.atomic import file_digest, write_atomic
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.report import versions

SCHEMA = 1
FILE, WEIGHTS = "network.json", "network.safetensors"


@dataclass(frozen=True, kw_only=True)
class NetworkFile:
    """What `network.json` says."""

    network: Mapping[str, Any]
    """Kind and settings; see `medclipsam.networks.registry.settings_from`."""
    targets: tuple[str, ...]
    """Names of the structures that were taught."""
    texts: tuple[str, ...]
    """Every text of the training rows."""
    coloured: bool
    """Whether every training image had colours."""
    presence_threshold: float
    """Presence from which on a structure is found."""
    sha256: str
    """SHA-256 of the weights."""
    frozen: Mapping[str, str]
    """SHA-256 of each frozen file that has a say."""
    figures: Mapping[str, float]
    """Figures of the validation images, with these weights."""
    learned_from: Mapping[str, Any]
    """How many images and rows, and their hash."""

    def write(self, run: Path) -> None:
        """Write it; from now on the run can be used.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        facts = {"notice": RESEARCH_USE_ONLY, "schema": SCHEMA, **asdict(self), "versions": versions()}
        write_atomic(run / FILE, json.dumps(facts, indent=1) + "\n")

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read that of a run, its weights checked.

        Raises:
            BadInput: no such run, or one of another version.
            WrongHash: weights that are not those that were written.
        """
        try:
            facts = json.loads((run / FILE).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadInput(f"{run / FILE} cannot be read", "give the folder of a medclipsam train run") from error
        found = cls._from_facts(facts, run)
        try:
            same = file_digest(run / WEIGHTS) == found.sha256
        except OSError as error:
            raise BadInput(f"{WEIGHTS} of {run.name} cannot be read", "run medclipsam train --resume again") from error
        if not same:
            raise WrongHash(f"{WEIGHTS} of {run.name} is not the file that was written", "train it again")
        return found

    @classmethod
    def _from_facts(cls, facts: Any, run: Path) -> Self:
        try:
            if facts["schema"] != SCHEMA:
                raise ValueError
            known = {field.name: facts[field.name] for field in fields(cls)}
            return cls(**{**known, "targets": tuple(known["targets"]), "texts": tuple(known["texts"])})
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{run / FILE} is not of this version", "train it again with medclipsam train") from error
