"""Writes files whole or not at all, alone or several together, and hashes them.

out/mask.png     <-- os.replace --   out/.mask.partial-1f9c4e2a.png      one, written beside its place and synced

out/mask.png     <-- all done --     out/.partial-1f9c4e2a/mask.png      several, in a hidden folder within
out/report.json  <-- last --         out/.partial-1f9c4e2a/report.json

out/             <-- one rename --   .out.partial-1f9c4e2a/               a whole folder that is new

After an error nothing of the run remains, and what an earlier run left is as it was.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from medclipsam.errors import BadInput, CannotWrite

REMEDY = "choose another output folder"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def suffixed(path: Path, suffix: str) -> Path:
    """The path with a suffix at its end; what follows a dot in the name itself stays."""
    return path.with_name(path.name + suffix)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path with the same suffix; on success it becomes `path`, after any error it is gone.

    Folders above `path` are made. An existing file is replaced in one step.

    Raises:
        CannotWrite: the folder cannot be made or written, the disk is full, or `path` is a link or a folder.
    """
    temporary = path.with_name(f".{path.stem}.partial-{secrets.token_hex(4)}{path.suffix}")
    try:
        _claim(path, temporary)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written ({error.strerror or type(error).__name__})", REMEDY) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write all of `content` (text as UTF-8) to `path`, or nothing.

    Raises:
        CannotWrite: see `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def check_folder(folder: Path) -> None:
    """Say early what would fail late; nothing is made.

    Raises:
        CannotWrite: `folder` is a file, lies below one, or it (or the nearest folder above) may not be written.
    """
    existing = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not existing.is_dir():
        raise CannotWrite(f"{existing} is not a folder", REMEDY)
    if not os.access(existing, os.W_OK | os.X_OK):
        raise CannotWrite(f"{existing} may not be written", REMEDY)


@contextmanager
def staged(folder: Path, last: str, earlier: Mapping[str, str] | None = None) -> Iterator[Path]:
    """Give an empty folder to write files into; when the block ends well they are moved to `folder`, `last` the last.

    Existing files of the same names are replaced. A folder that had to be made goes again after an error.

    Args:
        folder: where the files go.
        last: the name of the one whose presence says that the others are there.
        earlier: SHA-256, by name, of files that an earlier run wrote into `folder`: those that this one does not write
            again are removed before `last` is moved, unless they are not what was written any more.

    Raises:
        CannotWrite: a folder that cannot be made or written, a full disk, or a link or folder in a file's place.
    """
    stage = folder / f".partial-{secrets.token_hex(4)}"
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    try:
        stage.mkdir(parents=True)
        yield stage
        _move_out(stage, folder, last, earlier or {})
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotWrite(f"{folder} cannot be written ({reason})", REMEDY) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for place in made:
            with suppress(OSError):
                place.rmdir()


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that would mix what is written with something else.

    Raises:
        BadInput: it holds files, or is the current folder, which cannot be replaced by another.
        CannotWrite: see `check_folder`.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not an empty folder", "choose a new folder, or empty this one")
    if folder.resolve() == Path.cwd():
        raise BadInput(f"{folder} is the current folder", "name a new folder in it")
    check_folder(folder.absolute().parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well one rename makes it `folder`, after an error it is gone.

    Args:
        folder: new, or empty; folders above it are made.

    Raises:
        BadInput, CannotWrite: see `check_new_folder`; a full disk.
    """
    check_new_folder(folder)
    target = folder.resolve()
    stage = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    made = [place for place in target.parents if not place.exists()]
    done = False
    try:
        stage.mkdir(parents=True)
        yield stage
        if target.exists():
            target.rmdir()
        stage.rename(target)
        done = True
        _sync_folder(target.parent)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotWrite(f"{folder} cannot be written ({reason})", REMEDY) from error
    finally:
        if not done:
            shutil.rmtree(stage, ignore_errors=True)
            for place in made:
                with suppress(OSError):
                    place.rmdir()


def _claim(path: Path, temporary: Path) -> None:
    if path.is_symlink():
        raise CannotWrite(f"{path} is a link and is not followed", "remove it or choose another output folder")
    if path.is_dir():
        raise CannotWrite(f"{path} is a folder", "remove it or choose another output folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.open("xb").close()


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where the system lets a folder be opened (Windows does not)."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move_out(stage: Path, folder: Path, last: str, earlier: Mapping[str, str]) -> None:
    files = sorted(stage.iterdir(), key=lambda file: (file.name == last, file.name))
    for file in files:
        target = folder / file.name
        if target.is_symlink() or target.is_dir():
            raise CannotWrite(f"{target} is a link or a folder and is not replaced", REMEDY)
    stale = {name: digest for name, digest in earlier.items() if not (stage / name).exists()}
    for file in files:
        if file.name == last:
            _remove_unchanged(folder, stale)
        file.replace(folder / file.name)


def _remove_unchanged(folder: Path, written: Mapping[str, str]) -> None:
    """Remove files that are what was once written; a file that cannot be read or removed stays."""
    for name, digest in written.items():
        path = folder / name
        with suppress(OSError):
            if path.is_file() and not path.is_symlink() and file_digest(path) == digest:
                path.unlink()
