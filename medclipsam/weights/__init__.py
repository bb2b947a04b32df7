"""Which trained weights exist, where are they on this machine, and are they the real ones?

table    what is known: files, SHA-256, licence, addresses           (no torch)
store    explicit path -> MEDCLIPSAM_WEIGHTS -> cache -> package     (no torch; every file is hashed)
download pull, only when asked                                       (no torch)
loading  tensors from a file, never code                             (torch: import it by name)
"""

from __future__ import annotations

from medclipsam.weights.download import pull
from medclipsam.weights.store import Found, digest, find, import_file, locate, store_folder
from medclipsam.weights.table import WeightFile, Weights, known, lookup, write_checksums

__all__ = [
    "Found",
    "WeightFile",
    "Weights",
    "digest",
    "find",
    "import_file",
    "known",
    "locate",
    "lookup",
    "pull",
    "store_folder",
    "write_checksums",
]
