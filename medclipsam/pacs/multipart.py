"""Takes the one object out of an answer to WADO-RS (PS3.18 8.6.1.2): multipart/related with one part, or the object."""

from __future__ import annotations

from email.message import Message

from medclipsam.errors import BadInput


def single_part(content_type: str, body: bytes) -> bytes:
    """The object in an answer.

    Args:
        content_type: the header of the answer.
        body: the whole answer.

    Raises:
        BadInput: an answer that is cut off, or holds no object.
    """
    header = Message()
    header["Content-Type"] = content_type
    if header.get_content_type() == "application/dicom":  # not by the standard, and some servers do it
        return body
    boundary = header.get_param("boundary")
    if header.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        raise BadInput("the archive's answer holds no DICOM object")
    delimiter = b"--" + boundary.encode("latin-1")
    begin = body.find(delimiter)
    head = body.find(b"\r\n\r\n", begin)
    end = body.find(b"\r\n" + delimiter, head + 4)
    if begin < 0 or head < 0 or end < 0:
        raise BadInput("the archive's answer is cut off")
    return body[head + 4 : end]
