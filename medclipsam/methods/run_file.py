"""The file by which a finished run is known: JSON that says what was learned, and names the weights by their hashes.

It is written last, and read before anything of the run is used: its version and every file that it names are checked.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

from medclipsam.errors import BadInput, WrongHash
from medclipsam.io.atomic import file_digest, write_atomic
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.report import versions

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class RunFile(ABC):
    """What the file of a run says; each kind of run adds its fields."""

    name: ClassVar[str]
    """What it is called, below the folder of the run."""
    made_by: ClassVar[str]
    """The command that makes such runs."""

    @property
    @abstractmethod
    def hashes(self) -> Mapping[str, str]:
        """SHA-256 of each file that the run cannot do without, by its path below the run."""

    def write(self, run: Path) -> None:
        """Write it; from now on the run can be used.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        facts = {"notice": RESEARCH_USE_ONLY, "schema": SCHEMA, **asdict(self), "versions": versions()}
        write_atomic(run / self.name, json.dumps(facts, indent=1) + "\n")

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read that of a finished run, its files checked.

        Raises:
            BadInput: no finished run, or one of another version.
            WrongHash: a file that is not the one that was written.
        """
        try:
            facts = json.loads((run / cls.name).read_text("utf-8"))
        except FileNotFoundError as error:
            way_out = f"give the folder of a finished {cls.made_by} run"
            raise BadInput(f"{run} holds no {cls.name}", way_out) from error
        except (OSError, ValueError) as error:
            raise BadInput(f"{run / cls.name} cannot be read", f"run {cls.made_by} --resume again") from error
        found = cls._from_facts(facts, run)
        for name, digest in found.hashes.items():
            found._check(run, name, digest)
        return found

    @classmethod
    def _from_facts(cls, facts: Any, run: Path) -> Self:
        try:
            if facts["schema"] != SCHEMA:
                raise ValueError
            known = {field.name: facts[field.name] for field in fields(cls)}
            return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{run / cls.name} is not of this version", f"run {cls.made_by} again") from error

    def _check(self, run: Path, name: str, digest: str) -> None:
        try:
            same = (run / name).resolve().is_relative_to(run.resolve()) and file_digest(run / name) == digest
        except OSError as error:
            raise BadInput(f"{name} of {run.name} cannot be read", f"run {self.made_by} --resume again") from error
        if not same:
            raise WrongHash(f"{name} of {run.name} is not the file that was written", f"run {self.made_by} again")


def hashed(run: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files of a run, by their path below it."""
    return {path.relative_to(run).as_posix(): file_digest(path) for path in paths}
