"""Where does what a hostile or broken file does to a parser end? Here: one line for the person, the cause kept inside.

    pydicom, nibabel, Pillow, gdcm  --any exception, any warning-->  BadInput

The parser's own words may quote the file (a name, a date), so only the kind of failure is repeated.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from medclipsam.errors import BadInput, UserError


@contextmanager
def reader_edge(name: str, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises into a BadInput, and keep its warnings off the terminal.

    Args:
        name: the case id to speak of.
        kind: the format being read, as a person calls it.

    Raises:
        BadInput: in place of every exception that is not a `UserError`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except PermissionError as error:
        raise BadInput(f"{name}: the file may not be opened", "check its permissions") from error
    except MemoryError as error:
        raise BadInput(f"{name}: reading it needs more memory than there is", "crop or shrink it") from error
    except RecursionError as error:
        raise BadInput(f"{name}: its parts are nested too deeply", "the file is damaged or hostile") from error
    except Exception as error:
        raise BadInput(
            f"{name}: cannot be read as {kind} ({type(error).__name__})", "the file is damaged, cut off or not one"
        ) from error


@contextmanager
def silent_natives() -> Iterator[None]:
    """Keep what C libraries print to the standard error stream off the terminal while a frame is decoded."""
    try:
        saved = os.dup(2)
    except OSError:
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 2)
            yield
    finally:
        with contextlib.suppress(OSError):
            os.dup2(saved, 2)
        os.close(saved)
