"""Reads tables and shards into pairs of image and caption; what cannot be used is recorded.

    captions.csv | captions.jsonl | shards.tar            Pair(image, caption, group)    train    whole cases,
    image,caption,case            --detect columns-->     Pair(image, caption, group) -> val      never split
    ...                             clean, check          Skipped(row, reason)           test

The cleaning is the paper's (MedCLIP-SAMv2, section 3.4.1: special characters and space stripped, captions below 20
characters dropped; 85 % train, 15 % validation). Tables in the manner of MedPix 2.0 and ROCO are recognised.
"""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medclipsam.errors import BadInput
from medclipsam.io.tables import ListedFiles
from medclipsam.training.data.tables import Row, TarMember, read_rows

SHORTEST_CAPTION = 20
"""Characters after cleaning (paper section 3.4.1)."""
SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".dcm", ".tif", ".tiff", ".bmp", ".npy", ".nii.gz", ".nii")
"""Tried in turn for images that a table names without their ending (MedPix 2.0, ROCOv2)."""
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
CASE = re.compile(r"(PMC\d+|MPX\d+)")
"""How ROCO's and MedPix' file names begin: the article, the case."""

_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"', 0x201E: '"'}
_DASHES = {0x2013: "-", 0x2014: "-", 0x2212: "-", 0x2044: "/", 0x00D7: "x"}
_PLAIN = _QUOTES | _DASHES
"""Code points of typographic marks and their plain form."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_SPECIAL = re.compile(r"[^\w\s.,;:!?()/%+\-'\"<>=±°&]|_")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of a table's columns; those left empty are found by their usual names. Nested JSON keys join by dots."""

    image: str = ""
    caption: str = ""
    group: str = ""
    """What must stay together: the case, patient or article."""
    split: str = ""
    """train, val or test, where the table decides."""


USUAL: Mapping[str, tuple[str, ...]] = {
    "image": ("image", "filename", "file_name", "filepath", "image_path", "path", "file", "name", "image_id", "id"),
    "caption": ("caption", "text", "txt", "description", "findings", "report"),
    "group": ("group", "case", "case_id", "patient", "patient_id", "subject", "subject_id", "u_id", "uid", "pmcid"),
    "split": ("split", "subset", "partition"),
}
"""Column names that are recognised, in any case; for nested keys their last part counts."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image and what is said of it."""

    image: Path | TarMember
    caption: str
    group: str
    """Pairs of one group stay in one split."""
    split: str = ""
    """What the table says; empty where it says nothing."""
    row: str = ""
    """Where it stands: the table's name and the line or key."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A row that cannot be used."""

    row: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Captions:
    """What a table holds."""

    pairs: tuple[Pair, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Pairs for training, choosing and reporting; no group is in two of them."""

    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    test: tuple[Pair, ...] = ()


def read_captions(path: Path, images: Path | None = None, columns: Columns | None = None) -> Captions:
    """Read all pairs of a table or of shards.

    Args:
        path: `.csv`, `.tsv` or `.txt` with a header, `.jsonl`, a `.tar` shard of the webdataset layout, or a folder of
            shards.
        images: folder that the image names count from; unused for shards. None takes the table's own folder.
        columns: names that are not the usual ones.

    Raises:
        BadInput: no such file, columns that cannot be found, or not a single usable pair (with the commonest reason).
    """
    folder = images or path.parent
    if images is not None and not images.is_dir():
        raise BadInput(f"there is no folder of images {images}", "give --images DIR")
    rows = list(read_rows(path))
    if not rows:
        raise BadInput(f"{path.name} holds no rows", "give a table with a header and one row for each image")
    named = dict.fromkeys(name for row in rows for name in row.values)
    names = find_columns(named, columns or Columns(), path.name) if named else Columns()
    files = ListedFiles(folder)
    outcomes = [(row, row.problem or _read_pair(row, names, folder, files)) for row in rows]
    pairs = [outcome for _, outcome in outcomes if isinstance(outcome, Pair)]
    skipped = [Skipped(row=row.label, reason=outcome) for row, outcome in outcomes if isinstance(outcome, str)]
    if not pairs:
        raise BadInput(f"{path.name} holds no usable pair", _commonest(skipped))
    return Captions(pairs=tuple(pairs), skipped=tuple(skipped))


def clean_caption(text: str) -> str:
    """The words of a caption: no markup, no special characters, single spaces.

    Letters of any alphabet, digits and the marks that carry meaning in a report (12 %, <5 mm, T1-weighted, +/-) stay.
    """
    plain = unicodedata.normalize("NFKC", html.unescape(text)).translate(_PLAIN)
    return " ".join(_SPECIAL.sub(" ", _TAG.sub(" ", plain)).split())


def split_pairs(pairs: Sequence[Pair], *, val_share: float = 0.15, seed: int = 0) -> Splits:
    """Divide whole groups.

    Where the table has splits, they hold, and a group that stands in several goes whole to the most held-out one
    (test before val before train). Groups without one are put in the order of a seeded hash; the first `val_share` of
    them, at least one, become val.

    Raises:
        BadInput: a share outside [0, 1), or nothing left to train on.
    """
    if not 0 <= val_share < 1:
        raise BadInput(f"a validation share of {val_share} does not fit", "give 0 to below 1")
    stated: dict[str, str] = {}
    for pair in pairs:
        stated[pair.group] = max(stated.get(pair.group, ""), pair.split, key=("", "train", "val", "test").index)
    if not any(stated.values()):
        stated = dict.fromkeys(stated, "train") | dict.fromkeys(drawn_groups(stated, val_share, seed), "val")
    chosen = {
        split: tuple(pair for pair in pairs if (stated[pair.group] or "train") == split)
        for split in ("train", "val", "test")
    }
    if not chosen["train"]:
        raise BadInput("no pairs are left to train on", "lower --val-share or check the split column")
    return Splits(**chosen)


def find_columns(names: Collection[str], wanted: Columns, table: str) -> Columns:
    """The table's names for image, caption, group and split.

    Raises:
        BadInput: a wanted column that is not there, or neither image nor caption to be found.
    """
    found: dict[str, str] = {}
    for role, usual in USUAL.items():
        name = getattr(wanted, role)
        if name and name not in names:
            raise BadInput(f"{table} has no column {name!r}", f"it has {', '.join(names)}")
        found[role] = name or _usual_name(names, usual)
        if not found[role] and role in ("image", "caption"):
            raise BadInput(f"{table} has no {role} column that is recognised", f"name one of {', '.join(names)}")
    return Columns(**found)


def _usual_name(names: Iterable[str], usual: Sequence[str]) -> str:
    """The first usual name that is there, whole or as the last part of a nested one; empty if none is."""
    whole = {name.strip().lower(): name for name in names}
    last = {name.rsplit(".", 1)[-1]: original for name, original in reversed(whole.items())}
    known = last | whole
    return next((known[name] for name in usual if name in known), "")


def _read_pair(row: Row, columns: Columns, folder: Path, files: ListedFiles) -> Pair | str:
    """The pair of a row, or why there is none."""
    value = row.values.get(columns.image)
    caption = clean_caption(str(row.values.get(columns.caption) or ""))
    if not value:
        return "no image"
    if len(caption) < SHORTEST_CAPTION:
        return f"caption shorter than {SHORTEST_CAPTION} characters" if caption else "no caption"
    image = value if isinstance(value, TarMember) else _find_image(str(value).strip(), folder, files)
    if image is None:
        return "image not found"
    group = str(row.values.get(columns.group) or "").strip() or _case_of(image)
    split = str(row.values.get(columns.split) or "").strip().lower()
    return Pair(image=image, caption=caption, group=group, split=SPLITS.get(split, ""), row=row.label)


def _find_image(name: str, folder: Path, files: ListedFiles) -> Path | None:
    """A file inside the folder, by the name as it stands, without its folders, or with an ending added."""
    relative = files.find(name)
    places = [] if relative.is_absolute() or ".." in relative.parts else [folder / relative]
    for place in [*places, folder / relative.name]:
        for suffix in SUFFIXES:
            candidate = place.with_name(place.name + suffix)
            if candidate.is_file() and candidate.stat().st_size:
                return candidate
    return None


def _case_of(image: Path | TarMember) -> str:
    """The article or case that the file's name begins with, else the file itself."""
    match = CASE.match(PurePosixPath(image.name).name)
    return match[1] if match else str(image if isinstance(image, Path) else (image.shard, image.name))


def drawn_groups(groups: Iterable[str], share: float, seed: int) -> list[str]:
    """The groups that a seeded hash puts first."""
    order = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    count = max(1, round(share * len(order))) if share and len(order) > 1 else 0
    return order[:count]


def _commonest(skipped: Sequence[Skipped]) -> str:
    reason, count = Counter(row.reason for row in skipped).most_common(1)[0]
    return f"{count} of {len(skipped)} rows: {reason}"
