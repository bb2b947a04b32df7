"""How do several files appear together or not at all? In a hidden folder within, moved out at the end.

    out/.partial-1f9c4e2a/mask.png      --all done-->   out/mask.png
    out/.partial-1f9c4e2a/report.json   --last----->    out/report.json

After an error nothing of the run remains, and what an earlier run left is as it was.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medclipsam.errors import CannotWrite

REMEDY = "choose another output folder"


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
def staged(folder: Path, last: str) -> Iterator[Path]:
    """Give an empty folder to write files into; when the block ends well they are moved to `folder`, `last` the last.

    Existing files of the same names are replaced. A folder that had to be made goes again after an error.

    Raises:
        CannotWrite: a folder that cannot be made or written, a full disk, or a link or folder in a file's place.
    """
    stage = folder / f".partial-{secrets.token_hex(4)}"
    made = [place for place in (folder, *folder.absolute().parents) if not place.exists()]
    try:
        stage.mkdir(parents=True)
        yield stage
        _move_out(stage, folder, last)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotWrite(f"{folder} cannot be written ({reason})", REMEDY) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        for place in made:
            with suppress(OSError):
                place.rmdir()


def _move_out(stage: Path, folder: Path, last: str) -> None:
    files = sorted(stage.iterdir(), key=lambda file: (file.name == last, file.name))
    for file in files:
        target = folder / file.name
        if target.is_symlink() or target.is_dir():
            raise CannotWrite(f"{target} is a link or a folder and is not replaced", REMEDY)
    for file in files:
        file.replace(folder / file.name)
