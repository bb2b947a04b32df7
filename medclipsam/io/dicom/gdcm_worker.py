"""Decodes with gdcm, out of harm's way: a program of `medclipsam.io.child`, frames in, samples out.

    request    rows, columns, ... | the frame
    answer     samples as gdcm gives them, interleaved, little endian; none where the frame could not be decoded

It imports next to nothing, so that it starts at once.
"""

from __future__ import annotations

from typing import Any

import gdcm

from medclipsam.io.child import serve


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


def answer(request: dict[str, Any], frame: bytes) -> tuple[dict[str, Any], bytes]:
    """The samples; nothing where the frame cannot be decoded."""
    try:
        return {}, decoded(request, frame)
    except Exception:
        return {}, b""


if __name__ == "__main__":
    serve(answer)
