"""Keeps arrays in a folder by hash, for other processes: bounded in size and age, safe with several at once.

    DIR/3f/3f9c...e1.safetensors      named by a hash of what it is of; no name, number or date of a patient anywhere

What is in a file was computed from pixels or words, and is as private as they are: the folder is made for its owner
alone. A file that is damaged, or taken away by another process meanwhile, is one that is not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from medclipsam.errors import CannotWrite
from medclipsam.io.atomic import check_folder, write_atomic
from medclipsam.types import FloatArray

MOST_BYTES = 2 * 2**30
"""Size from which the files that were used longest ago go: 500 images of LiteMedSAM or Segment Anything, without torch
250."""
MOST_DAYS = 30
"""Age, since its last use, from which a file goes."""
TIDY_EVERY = 64
"""Files written by a process between two looks at size and age."""
SUFFIX = ".safetensors"
Arrays = dict[str, FloatArray]
_log = logging.getLogger(__name__)


class Shelf:
    """Arrays of one kind in a folder.

    Args:
        folder: shared by all kinds and processes; made when something is put there.
        most_bytes: see `MOST_BYTES`.
        most_days: see `MOST_DAYS`.
        of: what decides the arrays beside the name: weights, engine, versions, precision.

    Raises:
        CannotWrite: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, *, most_bytes: int = MOST_BYTES, most_days: float = MOST_DAYS, of: Mapping[str, str]
    ) -> None:
        check_folder(folder)
        self._folder, self._most_bytes, self._most_days = folder, most_bytes, most_days
        self._of = json.dumps(dict(of), sort_keys=True)
        self._written = 0

    def get(self, name: str) -> Arrays | None:
        """What was kept under a name; None where nothing is."""
        from safetensors.numpy import load_file  # noqa: PLC0415  (not always needed)

        path = self._path(name)
        try:
            arrays: Arrays = load_file(path)
            path.touch()  # the time of its last use
        except FileNotFoundError:
            return None
        except Exception:  # whatever a damaged file does to its reader
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return arrays

    def put(self, name: str, arrays: Arrays) -> None:
        """Keep arrays under a name; a disk that is full is said once, and is no error."""
        from safetensors.numpy import save  # noqa: PLC0415

        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomic(self._path(name), save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
        except (OSError, CannotWrite) as error:
            _log.warning("nothing is kept in %s: %s", self._folder, error)
            return
        if self._written % TIDY_EVERY == 0:
            self.tidy()
        self._written += 1

    def tidy(self) -> None:
        """Take away what is too old, then what was used longest ago until the rest is small enough."""
        files = []
        for path in self._folder.glob(f"*/*{SUFFIX}"):
            with suppress(OSError):  # another process took it away
                state = path.stat()
                files.append((state.st_mtime, state.st_size, path))
        total, oldest = 0, time.time() - self._most_days * 86_400
        for used, size, path in sorted(files, reverse=True):
            total += size
            if total > self._most_bytes or used < oldest:
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        key = hashlib.sha256(f"{self._of}\n{name}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key}{SUFFIX}"


def on_shelf(
    shelf: Shelf | None, name: str, parts: Sequence[str], make: Callable[[], Sequence[FloatArray]]
) -> list[FloatArray]:
    """Arrays from the shelf, or made now and kept there; without a shelf made now.

    Args:
        shelf: where to look.
        name: what they are of, such as an image's digest; enters a hash.
        parts: which arrays of those that go by this name.
        make: gives the arrays, in the order of `parts`.
    """
    if shelf is None:
        return list(make())
    key = f"{' '.join(parts)} {name}"
    kept = shelf.get(key)
    if kept is not None and kept.keys() >= set(parts):
        return [kept[part] for part in parts]
    made = list(make())
    shelf.put(key, dict(zip(parts, made, strict=True)))
    return made
