"""Runs exported networks on a CPU without torch: which engines there are, and how one opens a graph.

A graph is a network with its weights in a file, as arrays in and arrays out. `store` says where exports lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from medclipsam.errors import MissingExtra
from medclipsam.types import FloatArray

PACKAGES: Mapping[str, str] = MappingProxyType({"openvino": "openvino", "onnx": "onnxruntime"})
"""The package of each engine, the fastest engine first."""
EXTRAS: Mapping[str, str] = MappingProxyType({"openvino": "fast", "onnx": "onnx"})
"""What to install for each."""
SUFFIXES: Mapping[str, str] = MappingProxyType({"openvino": ".xml", "onnx": ".onnx"})
"""How the file of a graph ends."""


class Graph(Protocol):
    """A network that is ready to run."""

    def __call__(self, *inputs: Any) -> tuple[FloatArray, ...]:
        """Its outputs in their order; threads may call it at the same time."""


Open = Callable[[Path, str, int], Graph]
"""Opens a graph of `save`: its file, the precision of products (`fp32`, `bf16`), the number of threads."""


def installed(engine: str) -> bool:
    """Whether the package of an engine is here; it is not loaded."""
    return find_spec(PACKAGES[engine]) is not None


def check_installed(engine: str) -> None:
    """Refuse an engine that is not here.

    Raises:
        MissingExtra: names what to install.
    """
    if not installed(engine):
        raise MissingExtra(f"--encoder-engine {engine}", EXTRAS[engine])


def version_of(engine: str) -> str:
    """The version of an engine's package."""
    return version(PACKAGES[engine])


def opener(engine: str) -> Open:
    """What opens the graphs of an engine; its package is loaded."""
    found: Open = import_module(f"medclipsam.engines.{engine}").open_graph
    return found


def threads() -> int:
    """How many threads a graph takes: as many as `OMP_NUM_THREADS` says, else one for each core that we may use."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if said.isdigit() and int(said) > 0:
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
