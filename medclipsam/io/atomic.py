"""Writes files whole or not at all, and hashes them: written beside their place, synced, then renamed.

out/mask.png     <-- os.replace --   out/.mask.partial-1f9c4e2a.png   (same folder, same file system)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medclipsam.errors import CannotWrite


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
        raise CannotWrite(
            f"{path} cannot be written ({error.strerror or type(error).__name__})", "choose another output folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes | str) -> Path:
    """Write all of `content` (text as UTF-8) to `path`, or nothing.

    Raises:
        CannotWrite: see `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


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
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
