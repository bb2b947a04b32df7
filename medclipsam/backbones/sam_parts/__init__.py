"""Finds the modules of Segment Anything's networks without starting the rest of the segment-anything package.

`import segment_anything` loads its predictor, and with it torchvision and `torch._dynamo`: longer than it takes to
segment an image. The folder of its networks is therefore this package's search path. `sam_parts.mask_decoder` is
`segment_anything/modeling/mask_decoder.py`, loaded under a name of its own, so that whoever imports the real package
in the same process gets it whole.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_spec = find_spec("segment_anything")  # of a package at the top, which this finds without running it
if _spec is None or not _spec.submodule_search_locations:
    raise ModuleNotFoundError("No module named 'segment_anything'", name="segment_anything")
__path__ = [str(Path(folder) / "modeling") for folder in _spec.submodule_search_locations]
