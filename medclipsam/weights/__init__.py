"""Trained weights: which exist, where they lie on this machine, and whether they are the real ones.

table    what is known: files, SHA-256, licence, addresses           (no torch)
store    explicit path -> MEDCLIPSAM_WEIGHTS -> cache -> package     (no torch; every file is hashed)
download pull, only when asked                                       (no torch)
loading  tensors from a file, never code                             (torch: import it by name)
"""

from __future__ import annotations

from typing import Any

from medclipsam.weights.store import (
    Found,
    check_present,
    digest,
    find,
    find_beside,
    hash_ahead,
    import_file,
    locate,
    store_folder,
)
from medclipsam.weights.table import WeightFile, Weights, known, lookup, write_checksums

__all__ = [
    "Found",
    "WeightFile",
    "Weights",
    "check_present",
    "digest",
    "find",
    "find_beside",
    "hash_ahead",
    "import_file",
    "known",
    "locate",
    "lookup",
    "pull",
    "pull_beside",
    "store_folder",
    "write_checksums",
]


def __getattr__(name: str) -> Any:
    """What downloads is imported when it is asked for: it brings all of HTTP and TLS."""
    if name not in ("pull", "pull_beside"):
        raise AttributeError(f"module 'medclipsam.weights' has no attribute {name!r}")
    from medclipsam.weights import download  # noqa: PLC0415

    return getattr(download, name)
