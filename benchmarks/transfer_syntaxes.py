"""Does every DICOM file that is read show what independent decoders give? Prints the table of transfer syntaxes.

python benchmarks/transfer_syntaxes.py --write benchmarks/results/transfer-syntaxes.md

    stored samples     dcmtk (dcmdjpeg, dcmdjpls, dcmdrle, dcmconv), else gdcmconv
    shown picture      dcmtk (dcm2pnm), with the file's VOI LUT or window, else with one window for both

The files are all that pydicom and pydicom-data hold, and copies of plain ones in syntaxes of which neither holds any.
The programs are those of Debian's dcmtk, libgdcm-tools and openjph-tools.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from setting import versions

from medclipsam.errors import BadInput
from medclipsam.io import read_images
from medclipsam.io.dicom.decoders import decode, transfer_syntaxes
from medclipsam.io.dicom.display import WINDOW_UNUSABLE
from medclipsam.io.naming import case_name
from medclipsam.types import FloatArray, MedImage

Array = NDArray[Any]
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
"""Whose inverse cosine transform right decoders round differently."""
SAMPLE_TOLERANCE = 2
"""Of stored samples: right decoders round a lossy frame and a change of colour space differently."""
SHOWN_TOLERANCE = 1.5 / 255
"""dcm2pnm rounds to 8 bits."""
SUBSAMPLED_MEAN = 4 / 255
"""Mean difference where colours are stored at half the width, which decoders spread over the picture differently."""
SUBSAMPLED = ("YBR_FULL_422", "YBR_PARTIAL_420")
REASONS = {
    "holds no picture": "hold no picture",
    "of no format that is read": "are no images",
    "is packed with gzip": "are packed with gzip",
    "is a segmentation": "are segmentations",
    "cut off": "are cut off",
    "damaged": "are damaged",
    "holds no pixel data": "hold no pixels",
    "read in two ways": "are big-endian words of 32 bits, which decoders read in two ways",
}
"""Words of refusals, and what the summary calls them."""
PROGRAMS = ("dcmconv", "dcmdjpeg", "dcmdjpls", "dcmdrle", "dcm2pnm", "gdcmconv", "dcmcjpeg", "ojph_compress")
MISSING = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K, uid.JPEGLossless)
"""Syntaxes of which the two packages hold no file."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one file."""

    syntax: str
    """The standard's name; empty where the file has none."""
    refusal: str = ""
    """Why it is not read, without the file's name."""
    judges: tuple[str, ...] = ()
    """The independent programs that read it."""
    difference: str = ""
    """What they saw differently."""


def test_files() -> dict[str, Path]:
    """Every file that pydicom and pydicom-data hold, by a short name."""
    found = {}
    for package in ("pydicom", "data_store"):
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            root = Path(spec.origin).parent / "data"
            paths = sorted(path for path in root.rglob("*") if path.is_file() and not path.suffix.startswith(".py"))
            found |= {f"{package}/{path.relative_to(root).as_posix()}": path for path in paths}
    return found


def judge(path: Path) -> Verdict:
    """Read a file with this package, and with the independent programs that can."""
    dataset = _dataset(path)
    syntax = _syntax(dataset)
    name = syntax.name if syntax else ""
    try:
        images = list(read_images(path))
    except BadInput as error:
        return Verdict(syntax=name, refusal=str(error).removeprefix(case_name(path)).lstrip(": "))
    assert dataset is not None
    with tempfile.TemporaryDirectory() as folder:
        judge, native = _native(path, syntax, Path(folder)) if syntax else ("", path)
        judges, differences = [judge] if judge else [], [_sample_difference(dataset, native)] if judge else []
        shown = _shown_difference(path, native, dataset, images)
    if shown is not None:
        judges, differences = [*judges, "dcm2pnm"], [*differences, shown]
    return Verdict(syntax=name, judges=tuple(judges), difference="; ".join(filter(None, differences)))


def twins(files: dict[str, Path]) -> dict[str, Verdict]:
    """Verdicts on lossless copies of plain pictures, whose samples are known, in syntaxes that no file has, in turn."""
    verdicts = {}
    syntaxes = cycle(MISSING)
    for name, path in files.items():
        dataset = _dataset(path)
        samples = _plain_picture(dataset)
        if dataset is not None and samples is not None:
            dataset.file_meta.TransferSyntaxUID = syntax = next(syntaxes)
            encode = _by_dcmtk if syntax == uid.JPEGLossless else _by_openjph
            judge, frame = encode(samples, dataset, path)
            dataset.PixelData = encapsulate([frame])
            difference = "" if np.array_equal(decode(dataset, 0, "file"), samples) else "samples differ"
            verdicts[f"{name} coded anew"] = Verdict(syntax=syntax.name, judges=(judge,), difference=difference)
    return verdicts


def _plain_picture(dataset: Dataset | None) -> Array | None:
    """The samples of an uncompressed picture of one frame that a PGM or PPM file can hold."""
    syntax = _syntax(dataset)
    if dataset is None or syntax is None or syntax.is_encapsulated or dataset.get("NumberOfFrames", 1) not in (1, None):
        return None
    if dataset.get("PhotometricInterpretation") not in ("MONOCHROME1", "MONOCHROME2", "RGB"):
        return None
    try:
        samples = decode(dataset, 0, "file")
    except Exception:
        return None
    fits = samples.dtype in (np.uint8, np.uint16) and int(samples.max()) < 1 << int(dataset.BitsStored)
    return samples if fits and dataset.BitsStored >= 8 else None


def _by_openjph(samples: Array, dataset: Dataset, _path: Path) -> tuple[str, bytes]:
    """A reversible HTJ2K codestream."""
    if samples.ndim == 3:
        dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "YBR_RCT", 0
    with tempfile.TemporaryDirectory() as folder:
        picture, out = Path(folder) / ("x.ppm" if samples.ndim == 3 else "x.pgm"), Path(folder) / "x.j2c"
        kind, white = "P6" if samples.ndim == 3 else "P5", 2 ** int(dataset.BitsStored) - 1
        head = f"{kind} {samples.shape[1]} {samples.shape[0]} {white}\n"
        picture.write_bytes(head.encode() + samples.astype(samples.dtype.newbyteorder(">")).tobytes())
        command = ["ojph_compress", "-i", str(picture), "-o", str(out), "-reversible", "true"]
        subprocess.run(command, check=True, capture_output=True)
        return "ojph_compress", out.read_bytes()


def _by_dcmtk(_samples: Array, dataset: Dataset, path: Path) -> tuple[str, bytes]:
    """A lossless JPEG frame by another predictor than the first."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.dcm"
        subprocess.run(["dcmcjpeg", "+el", "+sv", "6", str(path), str(out)], check=True, capture_output=True)
        made = dcmread(out)
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = made.PhotometricInterpretation, 0
    dataset.BitsAllocated = made.BitsAllocated
    return "dcmcjpeg", get_frame(made.PixelData, 0, number_of_frames=1)


def _dataset(path: Path) -> Dataset | None:
    try:
        return dcmread(path, force=True)
    except Exception:
        return None


def _syntax(dataset: Dataset | None) -> uid.UID | None:
    return getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")


def _native(path: Path, syntax: uid.UID, folder: Path) -> tuple[str, Path]:
    """(program, the native file that it made) of the first program that can; ("", the file itself) where none can."""
    for command in _converters(syntax):
        out = folder / "native.dcm"
        finished = subprocess.run([*command, str(path), str(out)], capture_output=True, check=False)
        if finished.returncode == 0 and out.exists() and "PixelData" in dcmread(out):
            return Path(command[0]).name, out
    return "", path


def _converters(syntax: uid.UID) -> list[list[str]]:
    """Programs that may turn a transfer syntax into a native one, the preferred first."""
    if syntax in JPEG:
        first = [["dcmdjpeg"]]
    elif syntax in JPEG_LS:
        first = [["dcmdjpls"]]
    elif syntax == uid.RLELossless:
        first = [["dcmdrle"]]
    else:
        first = [] if syntax.is_encapsulated else [["dcmconv", "+te"]]
    return [[place, *rest] for program, *rest in (*first, ["gdcmconv", "--raw"]) if (place := _program(program))]


def _program(name: str) -> str | None:
    """Where a program lies; Debian's before one that python-gdcm brings, whose library is the one under test."""
    return which(name, path="/usr/bin") or which(name)


def _samples(path: Path) -> Array | None:
    """(frames, height, width[, 3]) samples of a native file, in RGB; None of what is not whole bytes."""
    dataset = dcmread(path)
    bits, samples = int(dataset.BitsAllocated), int(dataset.SamplesPerPixel)
    if bits == 1 or dataset.PhotometricInterpretation == "YBR_FULL_422":
        return None
    shape = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    kind = "i" if dataset.PixelRepresentation else "u"
    flat = np.frombuffer(dataset.PixelData, f"<{kind}{bits // 8}")[: np.prod(shape) * samples]
    if samples == 1:
        return flat.reshape(shape)
    if dataset.get("PlanarConfiguration"):
        pixels = np.moveaxis(flat.reshape(shape[0], samples, *shape[1:]), 1, -1)
    else:
        pixels = flat.reshape(*shape, samples)
    return _rgb(pixels) if dataset.PhotometricInterpretation == "YBR_FULL" else pixels


def _rgb(ybr: Array) -> Array:
    """PS3.3 C.7.6.3.1.2, the inverse of YBR_FULL."""
    y, cb, cr = np.moveaxis(ybr.astype(np.float64), -1, 0) - np.array([0, 128, 128]).reshape(3, 1, 1, 1)
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _sample_difference(dataset: Dataset, native: Path) -> str:
    theirs = _samples(native)
    if theirs is None:
        return ""
    ours = np.stack([decode(dataset, index, "file") for index in range(int(dataset.get("NumberOfFrames") or 1))])
    if ours.shape != theirs.shape:
        return f"samples of {ours.shape}, not {theirs.shape}"
    used = (1 << int(dataset.BitsStored)) - 1
    difference = np.abs((ours.astype(np.int64) & used) - (theirs.astype(np.int64) & used))
    if _is_subsampled(dataset):
        return "" if difference.mean() <= SUBSAMPLED_MEAN * used else f"samples differ by {difference.mean():.1f}"
    rounds = _syntax(dataset) in LOSSY or dataset.PhotometricInterpretation == "YBR_FULL"
    allowed = SAMPLE_TOLERANCE if rounds else 0
    return "" if difference.max() <= allowed else f"samples differ by up to {difference.max()}"


def _is_subsampled(dataset: Dataset) -> bool:
    lossy_colour = _syntax(dataset) in LOSSY and dataset.SamplesPerPixel == 3
    return lossy_colour or dataset.PhotometricInterpretation in SUBSAMPLED


def _shown_difference(path: Path, native: Path, dataset: Dataset, images: list[MedImage]) -> str | None:
    """Against the pictures that dcm2pnm makes of a native file; None where it makes none."""
    options, window = _display(dataset, images[0])
    if window is not None:
        images = list(read_images(path, window=window))
    for index in sorted({0, len(images) // 2, len(images) - 1}):
        theirs = _picture(native, images[index].origin.index, options)
        if theirs is None:
            return None
        if difference := _picture_difference(images[index].pixels, theirs, dataset):
            return difference
    return ""


def _display(dataset: Dataset, image: MedImage) -> tuple[list[str], tuple[float, float] | None]:
    """How dcm2pnm is asked for the picture, and the window that both are given where the file has none of use."""
    if not str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME"):
        return [], None
    if dataset.get("VOILUTSequence"):
        return ["+Wl", "1"], None
    in_file = dataset.get("WindowCenter") not in (None, "") and "PerFrameFunctionalGroupsSequence" not in dataset
    if in_file and WINDOW_UNUSABLE not in image.warnings:
        return ["+Wi", "1"], None
    values = np.asarray(decode(dataset, 0, "file"), np.float64) * float(dataset.get("RescaleSlope") or 1)
    low, high = np.percentile(values + float(dataset.get("RescaleIntercept") or 0), (1, 99))
    window = (low + high) / 2, max(high - low, 1.0)
    return ["+Ww", f"{window[0] + 0.5:.6f}", f"{window[1] + 1:.6f}"], window


def _picture(path: Path, index: int, options: list[str]) -> FloatArray | None:
    """One frame by dcm2pnm: (height, width, 3) in [0, 1]."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shown.pnm"
        command = ["dcm2pnm", "-O", "+F", str(index + 1), *options, "+op", str(path), str(out)]
        finished = subprocess.run(command, capture_output=True, check=False)
        if finished.returncode != 0 or not out.exists():
            return None
        return np.asarray(Image.open(out).convert("RGB"), np.float32) / 255


def _picture_difference(ours: FloatArray, theirs: FloatArray, dataset: Dataset) -> str:
    if ours.shape != theirs.shape:
        return f"a picture of {ours.shape}, not {theirs.shape}"
    difference = np.abs(ours - theirs)
    if _is_subsampled(dataset):
        return "" if difference.mean() <= SUBSAMPLED_MEAN else f"the picture differs by {difference.mean():.3f}"
    rounds = str(dataset.PhotometricInterpretation).startswith("YBR")
    allowed = SHOWN_TOLERANCE + (SAMPLE_TOLERANCE / 255 if rounds else 0)
    return "" if difference.max() <= allowed else f"the picture differs by up to {difference.max():.3f}"


def table(verdicts: dict[str, Verdict]) -> str:
    """Markdown: each transfer syntax, what decodes it, how many files show the same, and who says so."""
    rows = ["| transfer syntax | decoded by | files | read alike | by |", "|---|---|---|---|---|"]
    for syntax in transfer_syntaxes():
        read = [each for each in verdicts.values() if each.syntax == syntax.uid.name and not each.refusal]
        same = [each for each in read if each.judges and not each.difference]
        copies = " copies" if syntax.uid in MISSING else ""
        programs = ", ".join(sorted({judge for each in read for judge in each.judges})) or "-"
        rows.append(f"| {syntax.uid.name} | {syntax.decoder} | {len(read)}{copies} | {len(same)} | {programs} |")
    return "\n".join(rows)


def summary(verdicts: dict[str, Verdict]) -> str:
    """What became of all files, in words."""
    read = [each for each in verdicts.values() if not each.refusal]
    same = [each for each in read if each.judges and not each.difference]
    unjudged = [name for name, each in verdicts.items() if not each.refusal and not each.judges]
    differing = [f"{name} ({each.difference})" for name, each in verdicts.items() if each.difference]
    reasons = Counter(_reason(each.refusal) for each in verdicts.values() if each.refusal)
    refused = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return (
        f"{len(verdicts)} files: {len(read)} are read, {len(same)} of them as an independent decoder reads them, "
        f"{len(differing)} otherwise{''.join(f'; {each}' for each in differing)}, "
        f"{len(unjudged)} by nobody else{''.join(f'; {each}' for each in unjudged)}. "
        f"{reasons.total()} are refused: {refused}."
    )


def _reason(refusal: str) -> str:
    for words, reason in REASONS.items():
        if words in refusal:
            return reason
    return refusal


def setting() -> str:
    """Under what conditions the table holds."""
    packages = ("pydicom", "pydicom-data", "python-gdcm", "pylibjpeg-openjpeg", "pyjpegls", "pillow")
    dcmtk, gdcm = (_first_line([program, "--version"]) for program in ("dcm2pnm", str(_program("gdcmconv"))))
    copies = "Where a syntax has no file, copies of plain files are decoded that the named program encoded without loss"
    return f"{versions(*packages)}. {copies}. Independent decoders: {dcmtk}, {gdcm.partition(' $')[0]}."


def _first_line(command: list[str]) -> str:
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return told[0].strip("$ ") if told else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    arguments = parser.parse_args()
    if missing := [program for program in PROGRAMS if which(program) is None]:
        sys.exit(f"install dcmtk, libgdcm-tools and openjph-tools: {', '.join(missing)} missing")
    warnings.simplefilter("ignore")
    files = test_files()
    verdicts = {name: judge(path) for name, path in files.items()}
    text = "\n\n".join([setting(), table(verdicts | twins(files)), summary(verdicts)]) + "\n"
    print(text)
    if arguments.write:
        arguments.write.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
