"""Decodes the transfer syntaxes that open decoders read: pydicom drives them; here they are chosen and guarded.

native, deflated             pydicom                length compared with the header first
RLE                          pydicom
JPEG (8 bits)                Pillow                 codestream's own size compared with the header first
JPEG-LS                      pyjpegls               the same
JPEG 2000, HTJ2K             pylibjpeg-openjpeg     the same
JPEG Lossless, 12-bit JPEG   gdcm                   the same, and in a child process: gdcm ends its own on some frames
                             pylibjpeg-libjpeg      (GPL) where gdcm is missing and somebody installed it
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import get_decoder, pixel_array

from medclipsam.errors import BadInput
from medclipsam.io.dicom import gdcm_child
from medclipsam.io.dicom.codestream import Codestream, read_codestream
from medclipsam.io.dicom.sample_bits import sample_bits
from medclipsam.io.limits import silent_natives
from medclipsam.io.members import FileMember, Member

MAX_INFLATED_BYTES = 2**30
"""Largest deflated data set, which has to be unpacked whole."""
_DECODERS: dict[uid.UID, tuple[str, ...]] = {
    uid.JPEGBaseline8Bit: ("pillow",),
    **dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), (gdcm_child.LABEL, "pylibjpeg")),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), ("pyjpegls",)),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), ("pylibjpeg",)),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), ("pylibjpeg",)),
    uid.RLELossless: ("pydicom",),
}
"""pydicom's plugins for each compressed syntax; the first that is installed decodes."""
_NATIVE = (
    *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian),
    uid.DeflatedExplicitVRLittleEndian,
)
_DEFLATED = uid.DeflatedExplicitVRLittleEndian.encode()
_SPOKEN = {
    "pillow": "Pillow",
    "pydicom": "pydicom",
    "pyjpegls": "pyjpegls",
    "pylibjpeg": "pylibjpeg-openjpeg",
    gdcm_child.LABEL: "gdcm, in a process of its own",
}
_GPL = "pylibjpeg-libjpeg"
_META_START = 132
_GROUP_LENGTH_BYTES = 12
_CHUNK = 2**20


@dataclass(frozen=True, kw_only=True)
class TransferSyntax:
    """One way to store pixels that is read here."""

    uid: uid.UID
    decoder: str
    """What decodes it, as a person calls it; empty where nothing that is installed does."""


def transfer_syntaxes() -> list[TransferSyntax]:
    """Every transfer syntax that is read, and by what in this installation."""
    return [TransferSyntax(uid=syntax, decoder=_spoken(syntax)) for syntax in (*_NATIVE, *_DECODERS)]


def decode(dataset: Dataset, index: int, name: str) -> NDArray[Any]:
    """The stored samples of one frame: (height, width), or (height, width, 3) in RGB.

    Raises:
        BadInput: a compressed frame that is not what the header says, or samples that may be read in two ways.
        Exception: whatever a decoder raises on a damaged frame; `medclipsam.io.limits` ends it.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    header = None
    if "PixelData" in dataset and syntax.is_encapsulated:
        header = read_codestream(_encoded_frame(dataset, index))
        _check_codestream(dataset, header, name)
    _check_word_order(dataset, name)
    bits = sample_bits(dataset, header)
    with silent_natives():
        # pydicom takes the lowest bits of native samples; of those that end higher up, all up to there are wanted.
        samples = pixel_array(dataset, index=index, decoding_plugin=_plugin(syntax) or "", bits_stored=bits.end)
    return bits.of(samples.astype(samples.dtype.newbyteorder("="), copy=False), name)


def check_decoder(syntax: uid.UID, name: str) -> None:
    """Refuse a transfer syntax that no installed decoder reads.

    Raises:
        BadInput: films, private syntaxes, or a decoder that is missing.
    """
    if syntax not in (*_NATIVE, *_DECODERS):
        known = syntax.name if syntax.name != str(syntax) else "a private transfer syntax"
        raise BadInput(f"{name}: {known} is not decoded here", "convert it, for example with gdcmconv --raw")
    if syntax not in _NATIVE and _plugin(syntax) is None:
        raise BadInput(f"{name}: the decoder of {syntax.name} is missing", "install medclipsam anew, see doctor")


def _plugin(syntax: uid.UID) -> str | None:
    """pydicom's name of the decoder that is used; None for native data and where none is installed."""
    for label in _DECODERS.get(syntax, ()):
        if label == gdcm_child.LABEL:
            if gdcm_child.is_available(syntax):
                _add_child(syntax)
                return label
        elif label in get_decoder(syntax).available_plugins:
            return label
    return None


def _spoken(syntax: uid.UID) -> str:
    if syntax in _NATIVE:
        return _SPOKEN["pydicom"]
    plugin = _plugin(syntax)
    if plugin is None:
        return ""
    return _GPL if plugin == "pylibjpeg" and gdcm_child.LABEL in _DECODERS[syntax] else _SPOKEN[plugin]


@cache
def _add_child(syntax: uid.UID) -> None:
    """Tell pydicom, once, of the decoder that works in a child process."""
    get_decoder(syntax).add_plugin(gdcm_child.LABEL, (gdcm_child.__name__, "decode_frame"))


def check_inflated(file: Member, name: str) -> None:
    """Unpack a deflated data set piece by piece, keeping nothing, to learn its size before it is read.

    Raises:
        BadInput: larger than `MAX_INFLATED_BYTES`, or deflated without the meta information that says where it starts.
    """
    start = _deflated_from(file, name)
    if start is None:
        return
    with file.open() as stream:
        stream.seek(start)
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        waiting = stream.read(_CHUNK)
        while waiting and not unpacker.eof:
            size += len(unpacker.decompress(waiting, _CHUNK))
            if size > MAX_INFLATED_BYTES:
                raise BadInput(f"{name}: unpacks to more than {MAX_INFLATED_BYTES:,} bytes", "save it uncompressed")
            waiting = unpacker.unconsumed_tail or stream.read(_CHUNK)


def _deflated_from(file: Member, name: str) -> int | None:
    """Where the deflated part of a file starts; None where nothing is deflated."""
    with file.open() as stream:
        head = stream.read(2**16)
        if not isinstance(file, FileMember):
            if _DEFLATED in head or _DEFLATED in stream.read():
                raise BadInput(f"{name}: a deflated data set within a zip is not read", "unpack the zip")
            return None
    if head[128:132] == b"DICM":
        meta = read_file_meta_info(file.path)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return None
        if meta.get("FileMetaInformationGroupLength"):
            return _META_START + _GROUP_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength)
    elif _DEFLATED not in head:
        return None
    raise BadInput(f"{name}: a deflated data set without group length is not read", "save it uncompressed")


def _encoded_frame(dataset: Dataset, index: int) -> bytes:
    offsets = None
    if dataset.get("ExtendedOffsetTable") and dataset.get("ExtendedOffsetTableLengths"):
        offsets = dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
    frames = int(dataset.get("NumberOfFrames") or 1)
    return get_frame(dataset.PixelData, index, number_of_frames=frames, extended_offsets=offsets)


def _check_codestream(dataset: Dataset, header: Codestream | None, name: str) -> None:
    expected = (int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel))
    if header is not None and header.size != expected:
        found = header.size
        raise BadInput(
            f"{name}: its compressed frame is {found[1]} x {found[0]} x {found[2]}, "
            f"its header says {expected[1]} x {expected[0]} x {expected[2]}",
            "the file is damaged",
        )


def _check_word_order(dataset: Dataset, name: str) -> None:
    """Wide samples in big-endian 16-bit words: the standard puts the low word first, and many files do not."""
    words = "PixelData" in dataset and dataset["PixelData"].VR == "OW" and int(dataset.BitsAllocated) > 16
    if words and dataset.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian:
        raise BadInput(
            f"{name}: {dataset.BitsAllocated}-bit samples in big-endian words are read in two ways",
            "convert the file to little endian with a program that knows where it comes from",
        )
