"""What does gdcm decode, out of harm's way? A program, not a module: it reads frames on stdin and answers on stdout.

    request    length of JSON (8 bytes) | JSON: rows, columns, ... , length of frame | frame
    answer     length (8 bytes; 0: could not be decoded) | samples as gdcm gives them, interleaved, little endian

It imports nothing of this package, so that it starts at once; it ends when its stdin ends.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any, BinaryIO

import gdcm


def decoded(request: dict[str, Any], frame: bytes) -> bytes:
    """The samples of one JPEG frame."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((request["columns"], request["rows"], 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(request["photometric"])
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    if request["samples"] > 1:
        image.SetPlanarConfiguration(0)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(request["syntax"])))
    stored = request["bits_stored"]
    image.SetPixelFormat(
        gdcm.PixelFormat(request["samples"], request["bits_allocated"], stored, stored - 1, request["signed"])
    )
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until the requests end; a frame that cannot be decoded is answered by nothing."""
    while size := requests.read(8):
        request = json.loads(requests.read(struct.unpack("<Q", size)[0]))
        frame = requests.read(request["length"])
        try:
            samples = decoded(request, frame)
        except Exception:
            samples = b""
        answers.write(struct.pack("<Q", len(samples)) + samples)
        answers.flush()


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, answers)
