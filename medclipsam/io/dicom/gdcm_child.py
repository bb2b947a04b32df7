"""Asks gdcm to decode without trusting it: a pydicom decoder plugin whose work is done in a child process.

    this process                              child (gdcm_worker.py, see medclipsam.io.child)
        frame, rows, columns ...   ---->      gdcm
        samples                    <----

On some damaged frames gdcm ends its process. Then the child dies, this file alone is refused, and the next frame
starts another child. In a process that is a child itself gdcm is asked directly.
"""

from __future__ import annotations

from importlib.util import find_spec

from pydicom import uid
from pydicom.pixels.decoders.base import DecodeRunner

from medclipsam.io.child import Child, ChildDied, is_child

LABEL = "gdcm-child"
DECODER_DEPENDENCIES = dict.fromkeys((uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1), ("python-gdcm",))
"""pydicom asks a plugin for this name."""
_CHILD = Child("medclipsam.io.dicom.gdcm_worker", memory_bytes=4 * 2**30, timeout_s=120)
"""The largest frames take a few seconds."""


def is_available(syntax: str) -> bool:
    """Whether this plugin decodes a transfer syntax here; pydicom asks for this name too."""
    return syntax in DECODER_DEPENDENCIES and find_spec("gdcm") is not None


def decode_frame(frame: bytes, runner: DecodeRunner) -> bytes | bytearray:
    """The samples of one encoded frame, interleaved.

    Raises:
        ValueError: the frame cannot be decoded, or the child died or ran out of time over it.
    """
    request = {
        "columns": runner.columns,
        "rows": runner.rows,
        "samples": runner.samples_per_pixel,
        "bits_allocated": runner.bits_allocated,
        "bits_stored": runner.bits_stored,
        "signed": runner.pixel_representation,
        "photometric": str(runner.photometric_interpretation),
        "syntax": str.__str__(runner.transfer_syntax),
    }
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    length = int(runner.frame_length(unit="bytes"))
    samples = _decoded(request, frame, length)
    if len(samples) != length:
        raise ValueError("the frame cannot be decoded")
    return samples


def _decoded(request: dict[str, object], frame: bytes, length: int) -> bytes | bytearray:
    if is_child():
        from medclipsam.io.dicom.gdcm_worker import decoded  # noqa: PLC0415

        return decoded(request, frame)
    try:
        return _CHILD.ask(request, frame, most_bytes=length)[1]
    except ChildDied as error:
        raise ValueError("the frame cannot be decoded") from error
