"""A program for tests: the command line, on torch, where an image that has to be encoded is a bug."""

from __future__ import annotations

from typing import Any

from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.cli import main


def refuse(*_: Any) -> None:
    """In the place of the image encoder."""
    raise AssertionError("an image was encoded")


if __name__ == "__main__":
    setattr(PromptableSegmenter, "encode", refuse)  # noqa: B010  (a method, which mypy lets nobody assign)
    main()
