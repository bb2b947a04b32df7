"""Which transfer syntaxes are decoded, and by what? pydicom drives the open decoders; here they are guarded.

native, deflated            pydicom                     length compared with the header first
RLE                         pydicom, pylibjpeg-rle
JPEG, JPEG Lossless, -LS    gdcm, Pillow, pyjpegls      codestream's own size compared with the header first
JPEG 2000, HTJ2K            gdcm, pylibjpeg-openjpeg    the same
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import get_decoder, pixel_array

from medclipsam.errors import BadInput
from medclipsam.io.codestream import codestream_size
from medclipsam.io.edge import silent_natives

MAX_INFLATED_BYTES = 2**30
"""Of a deflated data set, which has to be unpacked whole."""
_META_START = 132
_GROUP_LENGTH_BYTES = 12
_CHUNK = 2**20


def transfer_syntaxes() -> dict[str, tuple[str, ...]]:
    """Every transfer syntax that pydicom can decode, by name, with the decoders that are installed here.

    An empty tuple: none is. Native syntaxes are decoded by pydicom itself.
    """
    found: dict[str, tuple[str, ...]] = {}
    for syntax in (*uid.PrivateTransferSyntaxes, *uid.AllTransferSyntaxes):
        try:
            decoder = get_decoder(syntax)
        except NotImplementedError:
            continue
        found[syntax.name] = decoder.available_plugins if syntax.is_encapsulated else ("pydicom",)
    return found


def decode(dataset: Dataset, index: int, name: str) -> NDArray[Any]:
    """The stored samples of one frame: (height, width), or (height, width, 3) in RGB.

    Raises:
        BadInput: a compressed frame that is not what the header says.
        Exception: whatever a decoder raises on a damaged frame; `medclipsam.io.edge` ends it.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" in dataset and syntax.is_encapsulated:
        frame = _encoded_frame(dataset, index)
        _check_codestream(dataset, frame, name)
        if syntax == uid.JPEGExtended12Bit and dataset.BitsStored > 8 and dataset.SamplesPerPixel == 1:
            return _extended_jpeg(dataset, frame)
    with silent_natives():
        samples = pixel_array(dataset, index=index)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def check_decoder(syntax: uid.UID, name: str) -> None:
    """Refuse a transfer syntax that no installed decoder reads.

    Raises:
        BadInput: films, private syntaxes, or a decoder that is missing.
    """
    known = syntax.name if syntax.name != str(syntax) else "a private transfer syntax"
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise BadInput(f"{name}: {known} is not decoded here", "convert it, for example with gdcmconv --raw")


def check_inflated(path: Path, name: str) -> None:
    """Unpack a deflated data set piece by piece, keeping nothing, to learn its size before it is read.

    Raises:
        BadInput: larger than `MAX_INFLATED_BYTES`, or deflated without the meta information that says where it starts.
    """
    start = _deflated_from(path, name)
    if start is None:
        return
    with path.open("rb") as stream:
        stream.seek(start)
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        waiting = stream.read(_CHUNK)
        while waiting and not unpacker.eof:
            size += len(unpacker.decompress(waiting, _CHUNK))
            if size > MAX_INFLATED_BYTES:
                raise BadInput(f"{name}: unpacks to more than {MAX_INFLATED_BYTES:,} bytes", "save it uncompressed")
            waiting = unpacker.unconsumed_tail or stream.read(_CHUNK)


def _deflated_from(path: Path, name: str) -> int | None:
    """Where the deflated part of a file starts; None where nothing is deflated."""
    with path.open("rb") as stream:
        head = stream.read(2**16)
    if head[128:132] == b"DICM":
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return None
        if meta.get("FileMetaInformationGroupLength"):
            return _META_START + _GROUP_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength)
    elif uid.DeflatedExplicitVRLittleEndian.encode() not in head:
        return None
    raise BadInput(f"{name}: a deflated data set without group length is not read", "save it uncompressed")


def _encoded_frame(dataset: Dataset, index: int) -> bytes:
    offsets = None
    if dataset.get("ExtendedOffsetTable") and dataset.get("ExtendedOffsetTableLengths"):
        offsets = dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    frames = int(dataset.get("NumberOfFrames") or 1)
    return get_frame(dataset.PixelData, index, number_of_frames=frames, extended_offsets=offsets)


def _check_codestream(dataset: Dataset, frame: bytes, name: str) -> None:
    found = codestream_size(frame)
    expected = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    if found is not None and found != expected:
        raise BadInput(
            f"{name}: its compressed frame is {found[1]} x {found[0]} x {found[2]}, "
            f"its header says {expected[1]} x {expected[0]} x {expected[2]}",
            "the file is damaged",
        )


def _extended_jpeg(dataset: Dataset, frame: bytes) -> NDArray[Any]:
    """JPEG Extended with 12 bits by gdcm, which pydicom does not ask for it."""
    import gdcm  # noqa: PLC0415

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType(str(dataset.PhotometricInterpretation))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    stored = int(dataset.BitsStored)
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, stored, stored - 1, int(dataset.PixelRepresentation)))
    with silent_natives():
        samples = image.GetBuffer().encode("utf-8", "surrogateescape")
    kind = "<i2" if dataset.PixelRepresentation else "<u2"
    return np.frombuffer(samples, kind).reshape(int(dataset.Rows), int(dataset.Columns))
