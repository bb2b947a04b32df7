"""Small true files of every format, and ways to damage them that a parser may trip over; all of it seeded."""

from __future__ import annotations

import random
import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel as nib
import numpy as np
from dicom_files import dicom, item
from htj2k_images import codestream, picture
from PIL import Image
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

SAMPLES = np.arange(48, dtype=np.uint16).reshape(6, 8) * 90
BUNDLED = (
    *("CT_small.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"),
    *("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmtk.dcm", "rtdose.dcm", "nested_priv_SQ.dcm", "SC_rgb_small_odd.dcm"),
)
ODD_UIDS = (
    *("../../x", "/etc/passwd", "", "\x00", "9" * 90, "1.2.3.4"),
    *("1.2.840.10008.1.2.4.999", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70"),
)
EXTREMES = (b"\xff\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x07\0\0\0")
VRS = [name.encode() for name in ("CS", "DA", "DS", "IS", "LO", "OB", "OW", "PN", "SH", "SQ", "UI", "UL", "US")]
Mutation = Callable[[bytearray, random.Random], bytes]


def corpus(folder: Path) -> list[Path]:
    """Small true files of every format, written into a folder or lying in pydicom."""
    paths = [Path(str(get_testdata_file(name, download=False))) for name in BUNDLED]
    grey = np.random.default_rng(0).integers(0, 255, (12, 17), np.uint8)
    for suffix in ("png", "tif", "jpg", "bmp"):
        Image.fromarray(grey).save(folder / f"seed.{suffix}")
        paths.append(folder / f"seed.{suffix}")
    np.save(folder / "seed.npy", grey / 255)
    for suffix in ("nii", "nii.gz"):
        nib.save(nib.Nifti1Image(np.float32(grey[:9, :8, None] * np.ones(7)), np.eye(4)), folder / f"seed.{suffix}")
        paths.append(folder / f"seed.{suffix}")
    lut = item(LUTDescriptor=[400, 0, 16], LUTData=np.arange(400, dtype="<u2").tobytes())
    paths.append(dicom(folder / "lut.dcm", SAMPLES, VOILUTSequence=[lut], PixelSpacing=[0.5, 0.5]))
    paths.append(dicom(folder / "deflated.dcm", SAMPLES, syntax=uid.DeflatedExplicitVRLittleEndian))
    coded = {"syntax": uid.HTJ2KLossless, "PixelData": encapsulate([codestream("grey8")])}
    paths.append(dicom(folder / "htj2k.dcm", picture("grey8"), **coded))
    return [*paths, folder / "seed.npy"]


def cut(raw: bytearray, rng: random.Random) -> bytes:
    """Truncated anywhere."""
    return bytes(raw[: rng.randrange(len(raw))])


def flipped(raw: bytearray, rng: random.Random) -> bytes:
    """One to five bits turned."""
    for _ in range(rng.randrange(1, 6)):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def spliced(raw: bytearray, rng: random.Random) -> bytes:
    """A piece taken out, or in twice."""
    start = rng.randrange(len(raw))
    end = min(len(raw), start + rng.randrange(1, 64))
    return bytes(raw[:start] + raw[end:]) if rng.random() < 0.5 else bytes(raw[:end] + raw[start:])


def wrong_length(raw: bytearray, rng: random.Random) -> bytes:
    """The length of a DICOM element, or four bytes of another header, made extreme."""
    at = rng.randrange(min(len(raw), 1500))
    if raw[128:132] == b"DICM":
        tags = [place for place in range(132, min(len(raw) - 12, 6000), 2) if raw[place + 4 : place + 6] in VRS]
        at = rng.choice(tags) + 6 if tags else at
    raw[at : at + 4] = rng.choice(EXTREMES)
    return bytes(raw)


def huge(raw: bytearray, rng: random.Random) -> bytes:
    """Sizes that no memory holds, where the format keeps them."""
    most = rng.choice([0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
    if raw.startswith(b"\x89PNG"):
        raw[16:24] = struct.pack(">II", most, most)
    elif raw.startswith(b"BM"):
        raw[18:26] = struct.pack("<II", most, most)
    elif raw[344:347] in (b"n+1", b"ni1"):
        raw[40:56] = struct.pack("<8H", 3, *[min(most, 0x7FFF)] * 3, *[1] * 4)
    elif raw.startswith(b"\x93NUMPY"):
        return bytes(raw).replace(b"(12, 17)", b"(9999999,9999999)"[: 8 + rng.randrange(10)])
    elif raw[128:132] == b"DICM":
        return _edited(raw, {rng.choice(["Rows", "Columns", "NumberOfFrames", "BitsAllocated"]): min(most, 0xFFFF)})
    else:
        return wrong_length(raw, rng)
    return bytes(raw)


def nested(raw: bytearray, rng: random.Random) -> bytes:
    """Sequences within sequences in a DICOM object; elsewhere the file within itself."""
    depth = rng.choice([30, 300, 3000])
    start = raw.find(b"\x28\x00\x02\x00US")
    if start < 0:
        middle = len(raw) // 2
        return bytes(raw[:middle] + raw + raw[middle:])
    opening = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * rng.choice([0, depth])
    return bytes(raw[:start]) + opening * depth + closing + bytes(raw[start:])


def odd_uid(raw: bytearray, rng: random.Random) -> bytes:
    """UIDs that are no UIDs, or those of something else."""
    if raw[128:132] != b"DICM":
        return flipped(raw, rng)
    wanted = rng.choice(["TransferSyntaxUID", "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    return _edited(raw, {wanted: rng.choice(ODD_UIDS)})


MUTATIONS: dict[str, Mutation] = {
    "truncated": cut,
    "bits turned": flipped,
    "spliced": spliced,
    "wrong lengths": wrong_length,
    "huge sizes": huge,
    "deeply nested": nested,
    "odd UIDs": odd_uid,
}


def mutated(folder: Path, count: int, seed: int) -> list[tuple[str, Path]]:
    """Write `count` damaged files into a folder: (kind of damage, file) of each, the kinds in turn."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    seeds_folder = folder.parent / "seeds"
    seeds_folder.mkdir(exist_ok=True)
    seeds = [(path.read_bytes(), "".join(path.suffixes[-2:])) for path in corpus(seeds_folder)]
    written = []
    for index in range(count):
        kind = list(MUTATIONS)[index % len(MUTATIONS)]
        raw, suffix = rng.choice(seeds)
        path = folder / f"x{index:04d}{suffix}"
        path.write_bytes(MUTATIONS[kind](bytearray(raw), rng))
        written.append((kind, path))
    return written


def _edited(raw: bytearray, values: dict[str, object]) -> bytes:
    """A DICOM object with some values replaced, however wrong they are; as it was where that cannot be written."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _saved(dcmread(BytesIO(raw)), values)
    except Exception:
        return bytes(raw)


def _saved(dataset: Dataset, values: dict[str, object]) -> bytes:
    for keyword, value in values.items():
        place = dataset.file_meta if keyword == "TransferSyntaxUID" else dataset
        place[keyword]._value = uid.UID(value, validation_mode=0) if isinstance(value, str) else value
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return stream.getvalue()
