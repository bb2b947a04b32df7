"""Keeps exported graphs in the user's cache: each export whole or not at all, by the hash of all that decides it.

    ~/.cache/medclipsam/engines/KEY/   encoder.xml.compiled, ...       the graphs
                                       texts.safetensors               what they read of taught words
                                       export.json                     engine, versions, result of the check

KEY is the hash of the weights, the versions of engine and export, the precision and the processor. An export that
failed its check is kept too, so that nobody tries again with every call.
"""

from __future__ import annotations

import hashlib
import json
import platform
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medclipsam.engines import version_of
from medclipsam.errors import CannotWrite
from medclipsam.weights.store import cache_folder

EXPORT = 9
"""Raised when the graphs change: older exports are then not looked at."""
RECORD = "export.json"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What decides an export."""

    engine: str
    precision: str
    weights: Mapping[str, str]
    """SHA-256 of each file of weights, by its name."""

    @property
    def key(self) -> str:
        """Name of the export's folder."""
        told = {
            **asdict(self),
            "weights": sorted(self.weights.values()),
            "export": EXPORT,
            "version": version_of(self.engine),
            "processor": processor(),
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def folder(self) -> Path:
        """Where the export lies, or would lie."""
        return engines_folder() / self.key


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of an export."""

    passed: bool
    """Whether the engine gives torch's answers on this machine."""
    reason: str = ""
    """Why not."""
    engine: str = ""
    version: str = ""
    precision: str = ""
    measured: Mapping[str, float] = field(default_factory=dict)
    """What the check measured."""


def engines_folder() -> Path:
    """Where exports are kept."""
    return cache_folder() / "engines"


def read_record(folder: Path) -> Record | None:
    """What is known of an export; None where there is none, or a record that no version of ours wrote."""
    with suppress(OSError, ValueError, TypeError):
        return Record(**json.loads((folder / RECORD).read_text("utf-8")))
    return None


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Give an empty folder; when the block ends well it becomes `folder`. After an error nothing of it remains.

    Raises:
        CannotWrite: the cache cannot be written.
    """
    stage = folder.with_name(f".partial-{secrets.token_hex(4)}")
    try:
        stage.mkdir(parents=True)
        yield stage
        shutil.rmtree(folder, ignore_errors=True)
        stage.replace(folder)
    except OSError as error:
        raise CannotWrite(f"{folder} cannot be written ({error.strerror})", "use --encoder-engine torch") from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_record(folder: Path, record: Record) -> None:
    """Write what is known of an export into its folder."""
    told: dict[str, Any] = {**asdict(record), "measured": dict(record.measured)}
    (folder / RECORD).write_text(json.dumps(told, indent=2) + "\n", "utf-8")


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time makes exports; the others wait, and find what it made.

    Raises:
        CannotWrite: the cache cannot be written.
    """
    from filelock import FileLock  # noqa: PLC0415  (once for each machine)

    try:
        engines_folder().mkdir(parents=True, exist_ok=True)
        lock = FileLock(engines_folder() / ".lock")
        lock.acquire()
    except OSError as error:
        problem = f"{engines_folder()} cannot be written ({error.strerror})"
        raise CannotWrite(problem, "use --encoder-engine torch") from error
    try:
        yield
    finally:
        lock.release()


def processor() -> str:
    """Which kind of processor this is: what was compiled for one may be wrong on another that shares the folder."""
    told = [platform.machine(), platform.processor()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        told += [next((line for line in lines if line.startswith(name)), "") for name in ("model name", "flags")]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
