"""What is a scan, a prompt or an array called on disk? Short names of safe letters that cannot collide by accident.

    /data/Müller, Ada/IM 0001.dcm   ->  IM-0001-5f1d23ab     harmless stem, hash of the path
    Ada Müller CT 19700131.dcm      ->  CT--93b0-c1fe0a7d    the rest is left out (see `safe_words`): its hash instead
    breast tumor                    ->  breast-tumor         already plain: nothing is lost, so no hash
    ../../x                         ->  x--7a3c9e01          something is lost: hash of the whole text

No DICOM tag is ever read for a name. What is harmless of the stem stays, because a person must find the scan again;
the rest and the folders above appear in the hash alone.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from pathlib import Path

from medclipsam.io.safe_words import safe_words

LONGEST_STEM = 40
HASH_DIGITS = 8
_SUFFIXES = (
    *(".nii.gz", ".nii", ".dcm", ".dicom", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff"),
    *(".bmp", ".npy", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".gz", ".zip"),
)
_PLAIN_PROMPT = re.compile(r"[a-z0-9]+(?: [a-z0-9]+)*")
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:-.*)?", re.IGNORECASE)


def case_name(path: Path, *, root: Path | None = None) -> str:
    """The case id of a file: what is harmless of its stem, and a short hash of where it lies.

    Args:
        path: the file; it need not exist.
        root: the folder of a batch; below it the hash depends on the relative path alone, so that the batch may move.

    Returns:
        At most 49 characters of ASCII letters, digits, `-` and `_`.
    """
    absolute = path.absolute()
    place = absolute.relative_to(root.absolute()) if root is not None else absolute
    return f"{_told(stem_of(path.name))}-{_short_hash(place.as_posix())}"


def prompt_slug(prompt: str) -> str:
    """A file name for a prompt; different prompts have different names.

    Returns:
        The prompt with hyphens where it is short, lower-case ASCII words; else what is left of it, `--` and a hash.
    """
    slug = prompt.replace(" ", "-")
    if _PLAIN_PROMPT.fullmatch(prompt) and len(slug) <= LONGEST_STEM and not _RESERVED.fullmatch(slug):
        return slug
    return f"{_cleaned(prompt).lower() or 'prompt'}--{_short_hash(prompt)}"


def array_name(name: str) -> str:
    """The case id of an array that a Python caller names: the name itself where it is safe, else cleaned and hashed."""
    cleaned = _cleaned(name)
    if name and name == cleaned and not _RESERVED.fullmatch(name):
        return name
    return f"{cleaned or 'array'}--{_short_hash(name)}"


def stem_of(name: str) -> str:
    """A file name without the suffix of its format."""
    for suffix in _SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _told(stem: str) -> str:
    """What is harmless of a stem; where that is not all, with a hash that files of the same stem share."""
    words, whole = safe_words(stem)
    told = _cleaned("-".join(words)) or "scan"
    return told if whole else f"{told[: LONGEST_STEM - 6]}--{_short_hash(stem)[:4]}"


def _cleaned(text: str) -> str:
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", ascii_text)[:LONGEST_STEM].strip("-_")


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
